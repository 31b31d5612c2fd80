"""Our record locks and podman's (containers/storage in Go) on the same lock files."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trilby.system.locks import RecordLock
from trilby.system.mounts import unmount_tree

pytestmark = pytest.mark.skipif(not shutil.which("podman"), reason="podman is not installed")


class Podman:
    def __init__(self, top: Path) -> None:
        self.top = top
        self.argv = ["podman", "--root", f"{top}/root", "--runroot", f"{top}/run"]
        self.argv += ["--storage-driver", "vfs"]
        self.run("images")

    def run(self, *arguments: str) -> None:
        subprocess.run([*self.argv, *arguments], check=True, capture_output=True)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self.argv, *arguments], stdout=-3, stderr=-3)

    def lock(self, name: str) -> RecordLock:
        return RecordLock(self.top / "root" / name)


@pytest.fixture
def podman() -> Iterator[Podman]:
    # podman refuses run directories with paths above 50 bytes, as tmp_path's are.
    with tempfile.TemporaryDirectory(prefix="lk") as top:
        yield Podman(Path(top))
        unmount_tree(top)


def wait_until_blocked(process: subprocess.Popen[bytes]) -> None:
    """Until the kernel lists the process as waiting for a record lock."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, "it did not wait for our lock"
        with open("/proc/locks") as table:
            if any("->" in line and f" {process.pid} " in line for line in table):
                return
    pytest.fail("it neither ended nor waited")


@pytest.mark.parametrize("name", ["vfs-images/images.lock", "vfs-layers/layers.lock"])
def test_podman_waits_for_our_exclusive_lock(podman: Podman, name: str) -> None:
    with podman.lock(name).exclusive():
        process = podman.start("images")
        wait_until_blocked(process)
    assert process.wait(20) == 0


def test_we_see_what_podman_writes_and_podman_takes_our_token(
    podman: Podman, tmp_path: Path
) -> None:
    lock = podman.lock("vfs-images/images.lock")
    with lock.shared():
        before = lock.token()
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    podman.run("import", str(tmp_path / "root.tar"), "localhost/one:1")
    with lock.exclusive():
        assert lock.changed_since(before)
        assert len(lock.token()) == 64
        ours = lock.write_token()
    podman.run("tag", "localhost/one:1", "localhost/two:1")
    with lock.shared():
        assert lock.changed_since(ours)
    podman.run("image", "exists", "localhost/two:1")

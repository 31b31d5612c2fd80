"""trilby node check on the machine that the tests run on: real programs, mounts, sockets, store."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.daemon import DaemonProcess
from tests.support.pods import own_place
from tests.support.registry import available, start_registry
from tests.support.store import add_image, layer_tar

from trilby.node.catalogue import CHECKS
from trilby.storage.config import StorageConfig
from trilby.storage.store import Store
from trilby.system.mount_table import unmount

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

COMMAND = [sys.executable, "-c", "from trilby.cli.main import main; main()"]
# The interpreter may be where only root may look: all is imported before the rights are given up.
AS_NOBODY = """
import contextlib, os, sys
from trilby.cli.main import root_group, run
with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
    run(root_group(), sys.argv[1:])
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.exit(run(root_group(), sys.argv[1:]))
"""


class Found(msgspec.Struct):
    """One outcome of the report."""

    id: str
    verdict: str
    evidence: list[str]
    why: str
    mend: str
    seconds: float

    @property
    def text(self) -> str:
        return "\n".join(self.evidence)


class Report(msgspec.Struct):
    status: int
    counts: dict[str, int]
    checks: list[Found]


def node_check(
    *words: str, flags: tuple[str, ...] = (), command: list[str] = COMMAND, home: str = "/root"
) -> dict[str, Found]:
    """The report of a command of its own; its exit status is the report's."""
    done = subprocess.run(
        [*command, *flags, "node", "check", "--format", "json", *words],
        capture_output=True,
        timeout=60,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HOME": home,
        },
    )
    assert done.stdout, done.stderr.decode()
    report = msgspec.json.decode(done.stdout, type=Report)
    assert done.returncode == report.status, done.stderr.decode()
    assert sum(report.counts.values()) == len(report.checks)
    return {each.id: each for each in report.checks}


@pytest.fixture
def roots(tmp_path: Path) -> tuple[str, ...]:
    """A store of the test's own, as flags."""
    return "--root", f"{tmp_path}/s", "--runroot", f"{tmp_path}/r"


def test_every_check_copes_with_a_real_host(roots: tuple[str, ...]) -> None:
    found = node_check(flags=roots)
    assert set(found) == {check.id for check in CHECKS}
    for each in found.values():
        assert each.evidence, each.id
        assert "cannot be looked at" not in each.text, each
        assert "cannot be understood" not in each.text, each
        assert "no answer within" not in each.text, each
        assert bool(each.mend) or each.verdict in ("pass", "skip"), each
    # What every test of this project needs is here.
    for id in (
        "kernel-namespaces",
        "kernel-seccomp",
        "module-overlay",
        "cgroup-controllers",
        "devices",
    ):
        assert found[id].verdict in ("pass", "warn"), found[id]


def test_without_rights(roots: tuple[str, ...], tmp_path: Path) -> None:
    """Nobody may see less, and is told so; nothing fails for it."""
    os.chmod(tmp_path, 0o755)
    found = node_check(flags=roots, command=[sys.executable, "-c", AS_NOBODY])
    assert set(found) == {check.id for check in CHECKS}
    assert not [each for each in found.values() if "cannot be looked at" in each.text]
    assert found["kernel-version"].verdict in ("pass", "warn")


def test_it_takes_little_time(roots: tuple[str, ...]) -> None:
    """Processor time with that of all programs that are asked, since others use the machine."""
    before = os.times()
    node_check(flags=roots)
    after = os.times()
    spent = (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )
    assert spent < 1.5


def test_store(roots: tuple[str, ...], tmp_path: Path) -> None:
    only = "storage-readable,storage-driver,storage-rights,storage-entry-types"
    assert node_check("--only", only, flags=roots)["storage-readable"].verdict == "skip"
    config = StorageConfig(f"{tmp_path}/s", f"{tmp_path}/r")
    with Store.open(config) as store:
        image = add_image(store, "example.com/a:1", [layer_tar({"a": b"content"})])
        layer = image.top_layer
    os.chmod(f"{tmp_path}/s", 0o711)
    found = node_check("--only", only, flags=roots)
    assert {each.verdict for each in found.values()} == {"pass"}, found
    assert "1 images, 1 layers" in found["storage-readable"].text
    shutil.rmtree(f"{tmp_path}/s/overlay/{layer}")
    damaged = node_check("--only", only, flags=roots)["storage-readable"]
    assert damaged.verdict == "fail"
    assert f"layer {layer[:12]}: its directory is missing" in damaged.text
    assert f"image {image.id[:12]}" in damaged.text


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with little room and few inodes."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=64,noexec", "none", place], check=True
    )
    try:
        for number in range(62):
            (place / str(number)).touch()
        yield place
    finally:
        unmount(place)


def test_full_disk(full_disk: Path, tmp_path: Path) -> None:
    flags = ("--root", f"{full_disk}/s", "--runroot", f"{tmp_path}/r")
    found = node_check("--only", "storage", flags=flags)
    assert found["space-images"].verdict == "fail"
    assert "0.0 GiB of 0.0 free (100%)" in found["space-images"].text
    assert found["inodes-images"].verdict == "fail"
    assert found["storage-mount-options"].verdict == "fail"
    assert f"remount,exec {full_disk}" in found["storage-mount-options"].mend
    assert "is on tmpfs" in found["storage-file-system"].text


async def test_daemon(tmp_path: Path) -> None:
    only = "trilby-socket,trilby-answers,trilby-configuration,trilby-paths"
    with own_place(tmp_path) as place:
        daemon = DaemonProcess(place, f'[trilby.api]\nlisten = "{place.root}/cri.sock"\n')
        words = ("--only", only, "--config", str(daemon.config))
        assert node_check(*words)["trilby-answers"].verdict == "skip"
        await daemon.start()
        try:
            found = node_check(*words)
            assert {each.verdict for each in found.values()} == {"pass"}, found
            assert "HTTP/1.1 200 OK" in found["trilby-answers"].text
        finally:
            assert await daemon.stop() == 0


@pytest.mark.skipif(not available(), reason="needs docker-registry")
def test_registries(tmp_path: Path) -> None:
    only = ("--only", "registries-reachable", "--network", "--config", f"{tmp_path}/trilby.conf")
    conf = tmp_path / "registries.conf"
    (tmp_path / "trilby.conf").write_text(f'[trilby.image]\nregistries_conf = "{conf}"\n'
                                          f'registries_conf_dir = "{tmp_path}/none"\n')  # fmt: skip
    with start_registry(tmp_path / "registry", tls=True) as registry:
        conf.write_text(f'[[registry]]\nlocation = "{registry.address}"\n')
        unknown = node_check(*only)["registries-reachable"]
        assert unknown.verdict == "fail"
        assert f"{conf}:1: {registry.address} has no certificate to trust" in unknown.text
        assert registry.cert_dir is not None
        shutil.copytree(
            registry.cert_dir, tmp_path / ".config/containers/certs.d" / registry.address
        )
        found = node_check(*only, home=str(tmp_path))["registries-reachable"]
        assert found.verdict == "pass", found
        assert "answers with TLSv1." in found.text
        with conf.open("a") as file:
            file.write('[[registry.mirror]]\nlocation = "127.0.0.1:1"\n')
        assert node_check(*only, home=str(tmp_path))["registries-reachable"].verdict == "warn"
    gone = node_check(*only)["registries-reachable"]
    assert gone.verdict == "fail"
    assert "Connection refused" in gone.text


def test_a_dead_registry_takes_no_longer_than_its_time(tmp_path: Path) -> None:
    """A listener whose queue is full does not answer at all."""
    import socket

    conf = tmp_path / "registries.conf"
    (tmp_path / "trilby.conf").write_text(f'[trilby.image]\nregistries_conf = "{conf}"\n'
                                          f'registries_conf_dir = "{tmp_path}/none"\n')  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as listener:
        conf.write_text(f'[[registry]]\nlocation = "127.0.0.1:{listener.getsockname()[1]}"\n')
        begin = time.monotonic()
        found = node_check("--only", "registries-reachable", "--network",
                           "--config", f"{tmp_path}/trilby.conf")  # fmt: skip
        assert time.monotonic() - begin < 30
    assert found["registries-reachable"].verdict == "fail"
    assert found["registries-reachable"].seconds < 10


def test_facts(roots: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, *roots, "node", "facts", "--format", "json"],
        capture_output=True, check=True, timeout=60,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["host"]["kernel"] == os.uname().release
    assert found["settings"]["graph_root"] == f"{tmp_path}/s"
    assert found["versions"]["python"].startswith("3.")
    assert found["versions"]["conmon"]

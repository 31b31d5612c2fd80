"""The Containerfile, on a base of Rawhide's name that is made of the stand-in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from trilby.rpm.build_root import BuildRoot
from trilby.rpm.repo import Repository
from trilby.rpm.source import files_of
from trilby.rpm.tools import Tools
from trilby.system import process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[3]
BASE = "registry.fedoraproject.org/fedora:rawhide"
PACKAGES = ("bash", "coreutils", "dnf5", "rpm", "fedora-release", "findutils", "grep", "sed")
#: What `dnf` finds in the containers; the stand-in is mounted there.
PLACE = "/srv/rawhide"


class Buildah:
    """buildah with a store of its own, and without a network."""

    def __init__(self, work: Path) -> None:
        self._store = [
            f"--root={work}/store",
            f"--runroot={work}/run",
            "--storage-driver=vfs",
        ]

    def __call__(self, *words: str, timeout: float = 60) -> str:
        return process.run(["buildah", *self._store, *words], timeout=timeout).text


@pytest.fixture
def buildah(work: Path, tools: Tools, rawhide: Repository) -> Buildah:
    """With the base image in its store."""
    if shutil.which("buildah") is None:
        pytest.skip("buildah is not installed")
    root = BuildRoot(str(work / "base"), tools=tools, repositories=(rawhide,), release="46")
    root.fill(PACKAGES)
    repos = Path(root.path, "etc/yum.repos.d")
    repos.mkdir(exist_ok=True)
    (repos / "rawhide.repo").write_text(Repository("rawhide", PLACE).text())
    made = Buildah(work)
    container = made("from", "scratch")
    archive = work / "base.tar"
    process.run(["tar", "-C", root.path, "--exclude=./dev/*", "-cf", str(archive), "."])
    made("add", "--quiet", container, str(archive), "/")
    archive.unlink()
    made("commit", "--quiet", "--rm", container, BASE)
    return made


def test_it_builds_and_installs(buildah: Buildah, work: Path, rawhide: Repository) -> None:
    context = work / "context"
    for name in files_of(str(ROOT)):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, context / name, follow_symlinks=False)
    said = buildah(
        "build",
        "--isolation=chroot",
        "--pull-never",
        "--no-cache",
        "--build-arg=CHECK=--no-check",
        f"--volume={rawhide.directory}:{PLACE}:ro",
        "--target=test",
        "--tag=trilby-test",
        str(context),
        timeout=600,
    )
    assert "trilby 0." in said

"""A root that consists only of the stand-in's RPMs: what a freshly installed host has."""

from __future__ import annotations

from pathlib import Path

from tests.support.standin import repository
from tests.support.standin_cache import fingerprint, made_once, say
from tests.support.standin_definition import definition
from tests.support.standin_spec import RELEASE
from tests.support.standin_tree import tools

from trilby.rpm.build_root import BuildRoot
from trilby.rpm.repo import Repository

__all__ = ["host_root", "write_repository"]


def host_root() -> Path:
    """A minimal installation with systemd and dnf, and the stand-in as its only repository."""
    rawhide = repository()
    packages = definition().host

    def make(folder: Path) -> None:
        say(f"installing {len(packages)} packages and what they need into a root")
        path = folder / "root"
        root = BuildRoot(
            str(path),
            tools=tools(),
            repositories=[rawhide],
            release=RELEASE,
            log=str(folder / "log"),
        )
        root.fill(packages)
        say(f"a root of {len(root.installed())} packages")
        write_repository(path, rawhide)

    return made_once("root", fingerprint(rawhide.directory, *packages), make) / "root"


def write_repository(root: Path, repository: Repository) -> None:
    """Make a repository known to the package managers of a root."""
    folder = root / "etc/yum.repos.d"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{repository.name}.repo").write_text(repository.text())

"""Each library installs and imports without the others that it does not need; and all together."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.standin_spec import RELEASE
from tests.support.standin_tree import tools

from trilby.rpm.build_root import BuildRoot
from trilby.rpm.repo import Repository

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: A library's package, a module of it, and what has to be absent.
LIBRARIES = {
    "python3-trilby": ("trilby.oci.manifest, trilby.system.process", "trilby.storage"),
    "python3-trilby-storage": ("trilby.storage.store", "trilby.image"),
    "python3-trilby-image": ("trilby.image.service", "trilby.pods"),
}


OURS = ("rpm", "-qa", "--qf", "%{NAME}\\n", "*trilby*")
EVERYTHING = ("trilby", "trilby-rpm", "ansible-collection-trilby-node", *LIBRARIES)


@pytest.mark.parametrize("package", LIBRARIES)
def test_alone(package: str, rawhide: Repository, today: Repository, tmp_path: Path) -> None:
    modules, absent = LIBRARIES[package]
    root = _root(tmp_path, [rawhide, today], package)
    ours = root.run(OURS).text.split()
    assert package in ours and "trilby" not in ours
    root.run(["python3", "-sP", "-c", f"import {modules}"])
    missing = f"import importlib.util as u, sys; sys.exit(u.find_spec({absent!r}) is not None)"
    root.run(["python3", "-sP", "-c", missing])
    root.run(["rpm", "-V", package])


def test_all_together(rawhide: Repository, today: Repository, tmp_path: Path) -> None:
    root = _root(tmp_path, [rawhide, today], *EVERYTHING)
    assert sorted(root.run(OURS).text.split()) == sorted(EVERYTHING)
    root.run(["rpm", "-V", *EVERYTHING])
    assert "build" in root.run(["trilby", "rpm", "--help"]).text
    assert "trilby.node" in root.run(["ansible-galaxy", "collection", "list"]).text


def _root(folder: Path, repositories: list[Repository], *packages: str) -> BuildRoot:
    """A root with these packages, what they need, and rpm to ask."""
    root = BuildRoot(
        str(folder / "root"), tools=tools(), repositories=repositories, release=RELEASE
    )
    root.fill([*packages, "rpm"])
    return root

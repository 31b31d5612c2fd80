"""Each library installs and imports without the others that it does not need."""

from __future__ import annotations

from pathlib import Path

import pytest
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


@pytest.mark.parametrize("package", LIBRARIES)
def test_alone(package: str, rawhide: Repository, today: Repository, tmp_path: Path) -> None:
    modules, absent = LIBRARIES[package]
    root = BuildRoot(str(tmp_path / "root"), tools=tools(), repositories=[rawhide, today])
    root.fill([package, "rpm"])
    wanted = ["rpm", "-qa", "--qf", "%{NAME}\\n", "*trilby*"]
    ours = root.run(wanted).text.split()
    assert package in ours and "trilby" not in ours
    root.run(["python3", "-sP", "-c", f"import {modules}"])
    missing = f"import importlib.util as u, sys; sys.exit(u.find_spec({absent!r}) is not None)"
    root.run(["python3", "-sP", "-c", missing])
    root.run(["rpm", "-V", package])

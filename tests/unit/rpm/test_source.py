"""Source archives: the same files give the same bytes, and only what belongs is in."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from trilby.rpm.errors import InvalidProject
from trilby.rpm.source import files_of, pack, time_of


def make(root: Path) -> Path:
    (root / "pkg").mkdir(parents=True)
    (root / "pkg" / "__init__.py").write_text("")
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o755)
    (root / "link").symlink_to("run")
    (root / "build").mkdir()
    (root / "build" / "left").write_text("over")
    return root


def test_equal_files_give_equal_bytes(tmp_path: Path) -> None:
    archives: list[Path] = []
    for name in ("a", "b"):
        root = make(tmp_path / name)
        for path in root.rglob("*"):
            os.utime(path, (1, len(archives)), follow_symlinks=False)
        os.chmod(root / "pkg" / "__init__.py", 0o600 + 4 * len(archives))
        archives.append(Path(pack(str(root), str(tmp_path / f"{name}.tar.gz"), top="x-1", time=5)))
    assert archives[0].read_bytes() == archives[1].read_bytes()


def test_members(tmp_path: Path) -> None:
    archive = pack(str(make(tmp_path / "a")), str(tmp_path / "a.tar.gz"), top="x-1", time=5)
    with tarfile.open(archive) as tar:
        members = {each.name: each for each in tar}
    assert sorted(members) == ["x-1/link", "x-1/pkg/__init__.py", "x-1/run"]
    assert (members["x-1/run"].mode, members["x-1/pkg/__init__.py"].mode) == (0o755, 0o644)
    assert members["x-1/link"].linkname == "run"
    assert {(each.mtime, each.uid, each.uname) for each in members.values()} == {(5, 0, "")}


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_of_a_clone_what_git_tracks(tmp_path: Path) -> None:
    root = make(tmp_path / "a")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    subprocess.run(["git", "-C", str(root), "add", "run", "build/left"], check=True)
    assert files_of(str(root)) == ["build/left", "run"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_of_a_clone_without_commits(tmp_path: Path) -> None:
    root = make(tmp_path / "a")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    with pytest.raises(InvalidProject, match="no files to pack .*git add"):
        pack(str(root), str(tmp_path / "x.tar.gz"), top="x")
    subprocess.run(["git", "-C", str(root), "add", "run"], check=True)
    os.utime(root / "run", (7, 7))
    assert time_of(str(root)) == 7


def test_results_of_builds_are_left_out_and_packages_are_not(tmp_path: Path) -> None:
    root = make(tmp_path / "a")
    for name in ("results/build.log", "results/root.log", "results/x.rpm", "x-1-1.src.rpm",
                 "dist/x.whl", "pkg/build/__init__.py", "pkg/dist/a.py"):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    expected = ["link", "pkg/__init__.py", "pkg/build/__init__.py", "pkg/dist/a.py", "run"]
    assert files_of(str(root)) == expected
    (root / "build" / "__init__.py").write_text("")
    assert files_of(str(root)) == ["build/__init__.py", "build/left", *expected]


def test_nothing_to_pack(tmp_path: Path) -> None:
    with pytest.raises(InvalidProject, match="no files"):
        pack(str(tmp_path), str(tmp_path / "x.tar.gz"), top="x")

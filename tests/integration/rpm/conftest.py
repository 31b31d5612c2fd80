"""What the packaging tests share: the stand-in for Rawhide, a place for builds, a small project."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.standin import repository
from tests.support.standin_tree import tools as standin_tools

from trilby.rpm.build import Place
from trilby.rpm.repo import Repository
from trilby.rpm.tools import Tools


@pytest.fixture(scope="session", autouse=True)
def _root_only() -> None:
    if os.geteuid() != 0:
        pytest.skip("build roots take root")


@pytest.fixture(scope="session")
def tools() -> Tools:
    return standin_tools()


@pytest.fixture(scope="session")
def rawhide() -> Repository:
    return repository()


@pytest.fixture
def work() -> Iterator[Path]:
    """A directory on a fast disk: build roots are thousands of files."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="trilby-test-rpm-", dir=base))
    yield path
    left = [str(entry) for entry in path.glob("work/*")]
    shutil.rmtree(path)
    assert not left, f"builds leave nothing behind: {left}"


@pytest.fixture
def place(tools: Tools, rawhide: Repository, work: Path) -> Place:
    return Place(tools=tools, repositories=(rawhide,), release="46", work=str(work / "work"))


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    """A project with a pyproject.toml, a module, a command and a licence."""
    root = tmp_path / "hello"
    files = {
        "pyproject.toml": (
            '[build-system]\nrequires = ["setuptools>=69"]\n'
            'build-backend = "setuptools.build_meta"\n\n'
            '[project]\nname = "say-hello"\nversion = "1.2"\ndescription = "Greets people"\n'
            'license = "Apache-2.0"\nlicense-files = ["LICENSE"]\n'
            'dependencies = ["click >= 8"]\n'
            'urls = {Homepage = "https://example.org/hello"}\n\n'
            '[project.scripts]\nsay-hello = "say_hello:main"\n'
        ),
        "src/say_hello/__init__.py": (
            '"""Greets."""\n\nimport click\n\n\n@click.command()\ndef main() -> None:\n'
            '    click.echo("hello")\n'
        ),
        "LICENSE": "Apache License 2.0\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root

"""Builds with mock itself, where it is: on this host, or in the tree that TRILBY_MOCK_TREE names.

mock does not run for root: the first user of the group mock is who sudo says that we are for.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.integration.rpm.test_build import SPEC, sums, write

from trilby.rpm.build import Place, Source
from trilby.rpm.errors import BuildFailed, InvalidSpec, MissingDependency
from trilby.rpm.mock import OWN, build_with_mock
from trilby.rpm.prepare import prepare
from trilby.rpm.repo import Repository
from trilby.rpm.tools import Tools

TREE = Tools(os.environ.get("TRILBY_MOCK_TREE", "/"))

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(not TREE.has("mock"), reason="mock is not installed"),
]


@pytest.fixture
def place(rawhide: Repository, work: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    users = Path(TREE.root, "etc/passwd").read_text().splitlines()
    groups = Path(TREE.root, "etc/group").read_text().splitlines()
    members = next(line for line in groups if line.startswith("mock:")).split(":")[3].split(",")
    user = next(line for line in users if line.split(":")[0] in members)
    monkeypatch.setenv("SUDO_UID", user.split(":")[2])
    # The user has to get there.
    work.chmod(0o755)
    return Place(tools=TREE, repositories=(rawhide,), release="46")


def test_twice_the_same(hello: Path, tmp_path: Path, place: Place, work: Path) -> None:
    source = prepare(str(hello), str(tmp_path / "source"))
    built = [build_with_mock(source, place, str(work / name), config=OWN) for name in ("a", "b")]
    assert sums(built[0]) == sums(built[1])
    names = [Path(path).name for path in built[0].packages]
    assert names == ["say-hello-1.2-1.fc46.noarch.rpm"]
    assert Path(built[0].srpm).name == "say-hello-1.2-1.fc46.src.rpm"
    assert not list(Path(TREE.root, "var/lib/mock").glob("trilby-mock-*"))


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("BuildArch", "BuildArhc", InvalidSpec, r":6: Unknown tag"),
        ("%description", "BuildRequires: nothing-of-this\n%description", MissingDependency,
         r"nothing-of-this"),
        ("true first", "true first", BuildFailed, r":16: %check failed in `false second`"),
        ("false second\n%files", "%files\n/usr/bin/nothing", BuildFailed, r":17: File not found"),
    ],
)  # fmt: skip
def test_failures_name_the_line(
    tmp_path: Path,
    place: Place,
    work: Path,
    old: str,
    new: str,
    error: type[Exception],
    message: str,
) -> None:
    spec = write(tmp_path / "broken.spec", SPEC.replace(old, new, 1))
    with pytest.raises(error, match=message) as caught:
        build_with_mock(Source(str(spec)), place, str(work / "out"), config=OWN)
    assert str(spec) in str(caught.value) and "log" in str(caught.value)

"""Trilby's own packages: equal bytes from two builds, clean, and libraries that live alone."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from trilby.rpm.build import Built, Place, build_in_root
from trilby.rpm.build_root import BuildRoot
from trilby.rpm.lint import lint
from trilby.rpm.prepare import prepare
from trilby.rpm.repo import Repository, make_repository
from trilby.rpm.source import files_of
from trilby.rpm.tools import Inside, Tools

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[3]
ROOMS = {
    "python3-trilby": {"oci", "system"},
    "python3-trilby-storage": {"oci", "system", "storage"},
    "python3-trilby-image": {"oci", "system", "storage", "image"},
}
IMPORT_ALL = """
import importlib, pathlib, trilby
root = pathlib.Path(trilby.__path__[0])
for path in sorted(root.rglob("*.py")):
    name = ".".join(("trilby", *path.relative_to(root).with_suffix("").parts))
    importlib.import_module(name.removesuffix(".__init__"))
print(*sorted(path.name for path in root.iterdir() if path.is_dir()))
"""


class Pair(msgspec.Struct):
    """Two builds of the same sources."""

    first: Built
    second: Built


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, tools: Tools, rawhide: Repository
) -> Iterator[Pair]:
    """The unit tests run by themselves in the same suite, and not in these builds again."""
    base = tmp_path_factory.mktemp("trilby")
    # The tree may change while this goes on.
    for name in files_of(str(ROOT)):
        (base / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, base / "tree" / name, follow_symlinks=False)
    built = []
    for name in ("first", "second"):
        place = Place(
            tools=tools,
            repositories=(rawhide,),
            release="46",
            work=str(base / f"work-{name}"),
            check=False,
        )
        source = prepare(str(base / "tree"), str(base / f"source-{name}"))
        built.append(build_in_root(source, place, str(base / name)))
    yield Pair(*built)


@pytest.fixture(scope="module")
def own(pair: Pair, tools: Tools) -> Repository:
    return make_repository(str(Path(pair.first.packages[0]).parent), tools=tools)


def sums(built: Built) -> dict[str, str]:
    paths = [Path(path) for path in (*built.packages, built.srpm)]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_two_builds_are_equal(pair: Pair) -> None:
    assert sums(pair.first) == sums(pair.second)


def test_rpmlint_has_nothing_to_say(pair: Pair, tools: Tools) -> None:
    paths = [str(ROOT / "spec" / "trilby.spec"), pair.first.srpm, *pair.first.packages]
    found = lint(paths, config=str(ROOT / "spec" / "rpmlint.toml"), tools=tools)
    assert (found.errors, found.warnings) == (0, 0), found.findings


@pytest.mark.parametrize("package", ROOMS)
def test_a_library_is_installed_and_imported_alone(
    package: str, own: Repository, tools: Tools, rawhide: Repository, work: Path
) -> None:
    """With what it requires and nothing else: no daemon, no gRPC."""
    root = BuildRoot(str(work / "root"), tools=tools, repositories=(rawhide, own), release="46")
    root.fill([package])
    rooms = set(root.run(["python3", "-B", "-c", IMPORT_ALL]).text.split())
    assert rooms - {"__pycache__"} == ROOMS[package]
    names = {name.rsplit("-", 2)[0] for name in root.installed()}
    assert not names & {"trilby", "conmon", "python3-grpcio", "python3-protobuf"}


def test_configuration_is_kept_and_the_rest_is_not_one(pair: Pair, tools: Tools) -> None:
    (main,) = [path for path in pair.first.packages if "/trilby-0" in path]
    inside = Inside(shared=(str(Path(main).parent),))
    listed = tools.run(["rpm", "-qp", "--configfiles", main], inside).text
    assert listed == "/etc/trilby/trilby.conf"
    flags = "[%{FILENAMES} %{FILEFLAGS:fflags}\\n]"
    marked = tools.run(["rpm", "-qp", "--qf", flags, main], inside).text.splitlines()
    assert "/etc/trilby/trilby.conf cn" in marked  # config, noreplace


def test_what_the_main_package_requires(pair: Pair, tools: Tools) -> None:
    (main,) = [path for path in pair.first.packages if "/trilby-0" in path]
    inside = Inside(shared=(str(Path(main).parent),))
    wanted = set(tools.run(["rpm", "-qp", "--requires", main], inside).text.splitlines())
    assert {
        "conmon",
        "(crun or runc)",
        "containernetworking-plugins",
        "iptables-nft",
        "catatonit",
        "containers-common",
        "(container-selinux if selinux-policy)",
    } <= wanted
    assert not any("kubelet" in each for each in wanted)

"""From a spec and its sources to RPMs, in one of four places.

* build_in_root(): a fresh root with nothing but what the spec asks for, filled by dnf5 from given
  repositories, as mock does it, but without mock;
* build_here(): the root that we run in, if it is a container's that ends with the build;
* build_in_tree(): rpmbuild in a tree that has all it takes already, quick and without isolation;
* mock.build_with_mock(): mock itself.

The same sources give the same bytes, if the place gives the same tools: paths inside are always
/builddir, and the spec's changelog dates everything (see reproducible()).
"""

from __future__ import annotations

import datetime
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from trilby.rpm.build_failure import explain
from trilby.rpm.build_log import Recorder
from trilby.rpm.build_root import BUILD_PACKAGES, TOP, BuildRoot, ThisRoot, made_below
from trilby.rpm.errors import BuildFailed
from trilby.rpm.progress import Progress, silent
from trilby.rpm.repo import Repository
from trilby.rpm.tools import HOST, Inside, Tools
from trilby.system.files import remove_tree

__all__ = [
    "LOG",
    "Built",
    "Place",
    "Source",
    "build_here",
    "build_in_root",
    "build_in_tree",
    "changelog_time",
    "make_srpm",
    "reproducible",
]

LOG: Final = "build.log"
ROOT_LOG: Final = "root.log"
SRPM_LOG: Final = "srpm.log"
# rpmbuild's exit status when %generate_buildrequires asks for more.
_WANTS_MORE: Final = 11
_ROUNDS: Final = 8
_ENTRY: Final = re.compile(r"^\* \w{3} (\w{3} \d+ \d{4}) ", re.MULTILINE)


class Source(msgspec.Struct, frozen=True):
    """What is built: a spec's path, and the files that it names as sources and patches."""

    spec: str
    files: tuple[str, ...] = ()


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a build runs.

    ``tools`` has dnf5; ``repositories`` fill the root, without any those that the tools' tree is
    configured for; ``release`` is ``--releasever``, empty for the tree's own;
    ``packages`` are in every build root; ``defines`` are rpm macros for all steps; ``work`` is an
    absolute directory for roots, a temporary one if empty. ``check`` False leaves %check out.
    """

    tools: Tools = HOST
    repositories: tuple[Repository, ...] = ()
    release: str = ""
    packages: tuple[str, ...] = BUILD_PACKAGES
    defines: Mapping[str, str] = {}
    work: str = ""
    check: bool = True


class Built(msgspec.Struct, frozen=True):
    """What a build made: absolute paths, sorted; ``srpm`` is empty if none was asked for."""

    packages: tuple[str, ...]
    srpm: str
    log: str
    seconds: float


def reproducible(defines: Mapping[str, str] | None = None) -> dict[str, str]:
    """The macros that make two builds of the same sources equal, with ``defines`` over them."""
    return {
        "_topdir": TOP,
        "_buildhost": "reproducible",
        "source_date_epoch_from_changelog": "1",
        "use_source_date_epoch_as_buildtime": "1",
        "clamp_mtime_to_source_date_epoch": "1",
        "build_mtime_policy": "clamp_to_source_date_epoch",
        **(defines or {}),
    }


def make_srpm(
    source: Source, tools: Tools, results: str, *, defines: Mapping[str, str] | None = None
) -> str:
    """The source package of a spec: its path in ``results``. Raises as build_in_tree().

    The log is there as well if it fails, else not: the directory may be the project's own.
    """
    results = _directory(results)
    with _work("") as top, Recorder(results, SRPM_LOG, silent) as log:
        _in_tree(source, tools, top, log, ("-bs",), defines=defines)
        os.unlink(log.path)
        (made,) = glob.glob(os.path.join(top, "SRPMS", "*.src.rpm"))
        return shutil.copy(made, results)


def build_in_tree(
    source: Source,
    tools: Tools,
    results: str,
    *,
    topdir: str = "",
    shared: Sequence[str] = (),
    defines: Mapping[str, str] | None = None,
    srpm: bool = False,
    progress: Progress = silent,
) -> Built:
    """rpmbuild -bb in a tree of tools, as it is: no build requirements are looked at.

    ``shared`` are directories that the spec names and that the tree has to see at the same place;
    ``topdir`` is a directory for rpmbuild's work, a temporary one if empty; ``srpm`` makes a source
    package too. As build_in_root() in what it returns and raises.
    """
    results = _directory(results)
    with _work(topdir) as top, Recorder(results, LOG, progress) as log:
        log.step("rpmbuild", os.path.basename(source.spec))
        what = ("-ba" if srpm else "-bb",)
        _in_tree(source, tools, top, log, what, shared=shared, defines=defines)
        made = {path: os.path.join(results, os.path.basename(path)) for path in made_below(top)}
        for path, target in made.items():
            shutil.move(path, target)
        return _built([*made.values()], log)


def _in_tree(
    source: Source,
    tools: Tools,
    top: str,
    log: Recorder,
    what: Sequence[str],
    *,
    shared: Sequence[str] = (),
    defines: Mapping[str, str] | None = None,
) -> None:
    """rpmbuild in a tree; its directory is always at one place there, which packages tell of."""
    tools.need("rpmbuild")
    place = top if tools.root == "/" else TOP
    macros = {**reproducible(defines), "_topdir": place}
    spec = _lay_out(source, top, inside=place)
    inside = Inside(shared=tuple(shared), placed={top: place}, cwd=place)
    _succeed(log.run(tools, _rpmbuild(macros, *what, "--nodeps", spec), inside), log, source)


def build_in_root(
    source: Source, place: Place, results: str, *, progress: Progress = silent
) -> Built:
    """Build the source and binary packages in a fresh root; they and two logs are in ``results``.

    Raises:
        BuildFailed: a step failed; the message has the log's failing part, and the spec's line.
        InvalidSpec: rpm cannot parse the spec.
        MissingDependency: the repositories lack what the build needs; the message names it.
        ToolMissing, ToolRefused: no dnf5 in the tools, or no root's rights.
    """
    results = _directory(results)
    with _work(place.work) as work, Recorder(results, LOG, progress) as log:
        root = BuildRoot(
            os.path.join(work, "root"),
            tools=place.tools,
            repositories=place.repositories,
            release=place.release,
            log=os.path.join(results, ROOT_LOG),
        )
        return _build(source, place, root, log, results)


def build_here(source: Source, place: Place, results: str, *, progress: Progress = silent) -> Built:
    """The same in the root that we run in, a container's: see build_root.ThisRoot.

    Of ``place`` only packages, defines and check count. Raises as build_in_root().
    """
    results = _directory(results)
    with _work(place.work) as work, Recorder(results, LOG, progress) as log:
        root = ThisRoot(work, log=os.path.join(results, ROOT_LOG))
        return _build(source, place, root, log, results)


def _build(source: Source, place: Place, root: BuildRoot, log: Recorder, results: str) -> Built:
    log.step("build root", "dnf5 fills it")
    root.fill(place.packages)
    log.step("build root", f"{len(root.installed())} packages")
    spec = _lay_out(source, root.path.rstrip("/") + TOP, inside=TOP)
    root.give_to_builder()
    macros = reproducible(place.defines)
    _complete(source, spec, macros, root, log)
    log.step("building", os.path.basename(source.spec))
    more = () if place.check else ("--nocheck",)
    _succeed(root.build(_rpmbuild(macros, "-ba", *more, spec), log), log, source)
    made = made_below(root.path.rstrip("/") + TOP)
    return _built([shutil.copy(path, results) for path in made], log)


def _complete(
    source: Source, spec: str, macros: Mapping[str, str], root: BuildRoot, log: Recorder
) -> None:
    """Install what the spec asks for, and what %generate_buildrequires asks for in rounds."""
    _succeed(root.build(_rpmbuild(macros, "-bs", "--nodeps", spec), log), log, source)
    root.install_requirements_of(root.take_srpm(), source.spec)
    log.step("build requirements", "of the spec")
    for number in range(1, _ROUNDS + 1):
        status = root.build(_rpmbuild(macros, "-br", spec), log)
        if status != _WANTS_MORE:
            _succeed(status, log, source)
            return
        wanted = root.take_srpm()
        count = len(root.requirements_of(wanted))
        log.step("build requirements", f"round {number}: {count}")
        root.install_requirements_of(wanted, source.spec)
    raise BuildFailed(
        f"{source.spec}: %generate_buildrequires asks for more after {_ROUNDS} rounds",
        log=log.path,
        hint=f"see the end of {log.path}",
    )


def _rpmbuild(macros: Mapping[str, str], *rest: str) -> list[str]:
    command = ["rpmbuild"]
    for name, value in macros.items():
        command += ["--define", f"{name} {value}"]
    return [*command, *rest]


def _lay_out(source: Source, top: str, *, inside: str = "") -> str:
    """rpmbuild's directories with the spec and sources; the spec's path as rpmbuild sees it.

    The files get the time of the newest changelog entry: rpm puts their times in source packages.
    """
    for name in ("SPECS", "SOURCES", "BUILD", "BUILDROOT", "RPMS", "SRPMS"):
        os.makedirs(os.path.join(top, name), exist_ok=True)
    name = os.path.basename(source.spec)
    targets = [os.path.join(top, "SPECS", name)]
    shutil.copyfile(source.spec, targets[0])
    for path in source.files:
        targets.append(os.path.join(top, "SOURCES", os.path.basename(path)))
        shutil.copyfile(path, targets[-1])
    when = changelog_time(source.spec)
    for path in targets:
        os.chmod(path, 0o644)
        os.utime(path, (when, when))
    return os.path.join(inside or top, "SPECS", name)


def changelog_time(spec: str) -> int:
    """Noon of the newest changelog entry's day, as rpm has it; the file's own time without one."""
    with open(spec, encoding="utf-8", errors="replace") as file:
        text = file.read()
    match = _ENTRY.search(text)
    if match is None:
        return int(os.stat(spec).st_mtime)
    day = datetime.datetime.strptime(match[1], "%b %d %Y").replace(hour=12, tzinfo=datetime.UTC)
    return int(day.timestamp())


def _succeed(status: int, log: Recorder, source: Source) -> None:
    if status != 0:
        raise explain(log.text(), source.spec, log.path, status)


def _built(found: Sequence[str], log: Recorder) -> Built:
    sources = [path for path in found if path.endswith(".src.rpm")]
    return Built(
        packages=tuple(sorted(path for path in found if path not in sources)),
        srpm=sources[-1] if sources else "",
        log=log.path,
        seconds=log.seconds(),
    )


def _directory(path: str) -> str:
    path = os.path.abspath(path)
    os.makedirs(path, exist_ok=True)
    return path


@contextmanager
def _work(directory: str) -> Iterator[str]:
    """A directory of our own below ``directory``, or in the temporary one, gone afterwards."""
    if directory:
        os.makedirs(directory, exist_ok=True)
    work = tempfile.mkdtemp(prefix="trilby-rpm-", dir=directory or None)
    try:
        yield work
    finally:
        remove_tree(work)

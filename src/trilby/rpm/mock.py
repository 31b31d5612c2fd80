"""Builds with mock, where it is installed: Fedora's own tool for builds in fresh roots.

With a configuration of mock's own, as fedora-rawhide-x86_64, or with one that is written here, of
given repositories and nothing else. mock runs for an ordinary user: that is who calls us, or who
called sudo.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import msgspec

from trilby.rpm.build import LOG, Built, Place, Source, changelog_time, reproducible
from trilby.rpm.build_failure import explain
from trilby.rpm.build_log import Recorder
from trilby.rpm.build_root import problems
from trilby.rpm.errors import BuildFailed, MissingDependency, RpmError, ToolRefused
from trilby.rpm.progress import Progress, silent
from trilby.rpm.repo import Repository, dnf_config
from trilby.rpm.tools import Inside

__all__ = ["OWN", "build_with_mock", "config_text", "options"]

#: In place of a configuration's name: the one that is written here.
OWN: Final = "own"
_CONFIG: Final = "mock.cfg"
_STEP: Final = re.compile(rb"^Start: (installing|buildsrpm|build setup|rpmbuild [^-].*)")
_TOLD: Final = 20
_SUDO: Final = ("SUDO_UID", "SUDO_GID", "SUDO_USER")


def build_with_mock(
    source: Source, place: Place, results: str, *, config: str, progress: Progress = silent
) -> Built:
    """Build with mock's configuration ``config``, its name or a .cfg file, or OWN.

    The place's repositories are added to those of the configuration; with OWN they are all that
    there are. mock itself takes care of roots, and of root's rights (the group mock). The packages
    and mock's logs are in ``results``. Raises as build.build_in_root(), and ToolRefused for root,
    whom mock refuses.
    """
    place.tools.need("mock")
    user = _user()
    results = os.path.abspath(results)
    os.makedirs(results, exist_ok=True)
    with _laid_out(source, place.work) as folder, Recorder(results, "mock.log", progress) as log:
        log.titles = _STEP
        shared = _shared(place, folder, results)
        if config == OWN:
            config = os.path.join(results, _CONFIG)
            with open(config, "w", encoding="utf-8") as file:
                file.write(config_text(place, name=os.path.basename(folder)))
            place = msgspec.structs.replace(place, repositories=())
        _give(user, results, folder)
        before = _packages(results)
        log.step("mock", config)
        common = ["mock", *options(place, config, results)]
        inside = Inside(shared=shared, env=user)
        wanted = ["--no-cleanup-after", *([] if place.check else ["--nocheck"]), "--rebuild"]
        wanted += ["--spec", f"{folder}/{os.path.basename(source.spec)}"]
        wanted += ["--sources", f"{folder}/sources"]
        status = log.run(place.tools, [*common, *wanted], inside)
        said = log.text()
        log.run(place.tools, [*common, "--clean"], inside)
        if status != 0:
            raise _failure(said, source, log, status)
        made = sorted(_packages(results).items() - before.items())
        return Built(
            packages=tuple(path for path, _ in made if not path.endswith(".src.rpm")),
            srpm=next(path for path, _ in made if path.endswith(".src.rpm")),
            log=os.path.join(results, LOG),
            seconds=log.seconds(),
        )


def options(place: Place, config: str, results: str) -> list[str]:
    """mock's options for all of a build's calls."""
    found = [f"--root={config}", f"--resultdir={results}"]
    found += [f"--addrepo={_url(each)}" for each in place.repositories]
    for name, value in reproducible(place.defines).items():
        # Where it works is mock's business.
        if name != "_topdir":
            found.append(f"--define={name} {value}")
    return found


def config_text(place: Place, *, name: str) -> str:
    """A configuration for mock with the place's repositories and packages.

    dnf5 is that of the host, in place of one that is installed first from the repositories; roots
    are called ``name``, and no caches are kept of what nobody builds again.
    """
    arch = platform.machine()
    values: dict[str, object] = {
        "root": name,
        "target_arch": arch,
        "legal_host_arches": (arch,),
        "package_manager": "dnf5",
        "dnf.conf": dnf_config(place.repositories),
        "chroot_setup_cmd": "install " + " ".join(place.packages),
        "use_bootstrap": False,
        "use_bootstrap_image": False,
        "isolation": "simple",
    }
    if place.release:
        values |= {"releasever": place.release, "dist": f"fc{place.release}"}
    lines = [f"config_opts[{key!r}] = {value!r}" for key, value in values.items()]
    for plugin in ("root_cache", "yum_cache", "ccache"):
        lines.append(f"config_opts['plugin_conf']['{plugin}_enable'] = False")
    return "\n".join(["# Written by `trilby rpm build --mock own`.", *lines, ""])


def _url(repository: Repository) -> str:
    return f"file://{repository.directory}" if repository.directory else repository.url


def _shared(place: Place, *folders: str) -> tuple[str, ...]:
    """What mock has to see, if it is in another tree."""
    return (*folders, *(each.directory for each in place.repositories if each.directory))


def _user() -> dict[str, str]:
    """Root has to say for whom mock shall run, as sudo does; raises ToolRefused."""
    if os.geteuid() != 0:
        return {}
    if os.environ.get("SUDO_UID", "0") == "0":
        raise ToolRefused(
            "mock does not run for root",
            hint="run it as a user of the group mock, or leave --mock out, which root may",
        )
    return {name: os.environ[name] for name in _SUDO if name in os.environ}


def _give(user: Mapping[str, str], *folders: str) -> None:
    """What root made has to be the user's."""
    if user:
        for folder in folders:
            for path, _, names in os.walk(folder):
                for each in (path, *(os.path.join(path, name) for name in names)):
                    os.chown(each, int(user["SUDO_UID"]), -1)


@contextmanager
def _laid_out(source: Source, work: str) -> Iterator[str]:
    """A directory with the spec, and its sources below sources/, dated as the changelog says.

    rpm puts their times into the source package.
    """
    if work:
        os.makedirs(work, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="trilby-mock-", dir=work or None) as folder:
        os.mkdir(f"{folder}/sources")
        when = changelog_time(source.spec)
        for path in (source.spec, *source.files):
            below = "" if path == source.spec else "sources"
            target = os.path.join(folder, below, os.path.basename(path))
            shutil.copyfile(path, target)
            os.utime(target, (when, when))
        yield folder


def _packages(folder: str) -> dict[str, int]:
    """The packages in a directory, and when they were written there."""
    with os.scandir(folder) as listed:
        return {each.path: each.stat().st_ctime_ns for each in listed if each.name.endswith(".rpm")}


def _failure(said: str, source: Source, log: Recorder, status: int) -> RpmError:
    """What rpmbuild said is in mock's build.log; what dnf5 or mock itself said in its output."""
    own = os.path.join(os.path.dirname(log.path), LOG)
    if missing := [line for line in problems(said) if "match for" in line or "provides" in line]:
        return MissingDependency(
            "\n  ".join([f"{source.spec}: build requirements are missing:", *missing]),
            hint=f"the whole log is {log.path}",
        )
    with open(own, encoding="utf-8", errors="replace") as file:
        text = file.read()
    if re.search(r"^error: ", text, re.MULTILINE):
        return explain(text, source.spec, own, status)
    lines = said.splitlines()
    first = next((number for number, line in enumerate(lines) if line.startswith("ERROR: ")), 0)
    return BuildFailed(
        "\n  ".join([f"{source.spec}: mock ended with {status}:", *lines[first:][-_TOLD:]]),
        log=log.path,
        hint=f"the whole log is {log.path}",
    )

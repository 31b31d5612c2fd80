"""Builds with mock, where it is installed: Fedora's own tool for builds in fresh roots."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence

from trilby.rpm.build import LOG, Built, Source
from trilby.rpm.build_failure import explain
from trilby.rpm.build_log import Recorder
from trilby.rpm.errors import BuildFailed
from trilby.rpm.progress import Progress, silent
from trilby.rpm.repo import Repository
from trilby.rpm.tools import HOST, Inside

__all__ = ["build_with_mock"]

DEFAULT_CONFIG = "fedora-rawhide-x86_64"


def build_with_mock(
    source: Source,
    results: str,
    *,
    config: str = DEFAULT_CONFIG,
    repositories: Sequence[Repository] = (),
    defines: Mapping[str, str] | None = None,
    check: bool = True,
    progress: Progress = silent,
) -> Built:
    """Build with mock's configuration ``config``; ``repositories`` are added to those it has.

    mock itself takes care of root's rights (the group mock) and of the roots. The packages and
    mock's logs are in ``results``. Raises as build.build_in_root().
    """
    HOST.need("mock")
    results = os.path.abspath(results)
    os.makedirs(results, exist_ok=True)
    common = ["mock", "--root", config, "--resultdir", results, "--disable-plugin=tmpfs"]
    for repository in repositories:
        url = f"file://{repository.directory}" if repository.directory else repository.url
        common.append(f"--addrepo={url}")
    for name, value in (defines or {}).items():
        common.append(f"--define={name} {value}")
    with Recorder(results, "mock.log", progress) as log:
        log.step("mock", f"source package with {config}")
        sources = os.path.dirname(source.files[0]) if source.files else os.path.dirname(source.spec)
        _mock([*common, "--buildsrpm", "--spec", source.spec, "--sources", sources], log, source)
        made = glob.glob(os.path.join(results, "*.src.rpm"))
        if not made:
            raise BuildFailed(f"{source.spec}: mock wrote no source package", log=log.path)
        newest = max(made, key=os.path.getmtime)
        log.step("mock", f"packages with {config}")
        _mock([*common, *([] if check else ["--nocheck"]), "--rebuild", newest], log, source)
        found = sorted(glob.glob(os.path.join(results, "*.rpm")))
        return Built(
            packages=tuple(path for path in found if not path.endswith(".src.rpm")),
            srpm=newest,
            log=os.path.join(results, LOG),
            seconds=log.seconds(),
        )


def _mock(command: list[str], log: Recorder, source: Source) -> None:
    status = log.run(HOST, command, Inside(cwd=os.getcwd()))
    if status == 0:
        return
    # What rpmbuild said is in mock's build.log; before rpmbuild ran, mock's own output tells.
    own = os.path.join(os.path.dirname(log.path), LOG)
    text, path = log.text(), log.path
    if os.path.exists(own) and os.path.getsize(own):
        with open(own, encoding="utf-8", errors="replace") as file:
            text, path = file.read(), own
    raise explain(text, source.spec, path, status)

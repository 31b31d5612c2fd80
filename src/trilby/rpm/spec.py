"""A project's spec: its own template, or the toolkit's for any Python project, filled in.

A template gets ``project`` (see project.Project), ``changelog`` and ``release``, and functions:

* ``requires(extra="")`` the project's requirements, or an extra's, as RPM writes them;
* ``imported(*places)`` those that modules in these folders import;
* ``compilers()`` the packages of compilers that the build takes, ``shipped()`` man pages and
  completions that are not in the wheel (see beside), ``wrapped(text)`` text in lines;
* ``exists(path)`` whether a file or folder belongs to the project (see source.files_of()), and
  ``folders(path)`` the Python packages in a folder.
"""

from __future__ import annotations

import datetime
import os
import re
import textwrap
from typing import Final

import msgspec

from trilby.rpm.beside import compilers, shipped
from trilby.rpm.errors import InvalidSpec
from trilby.rpm.imports import requirements_of
from trilby.rpm.project import Project
from trilby.rpm.requirement import Requirement, normalized, rpm_version
from trilby.rpm.source import files_of, time_of
from trilby.rpm.template import render_builtin, render_file, rpmdate

__all__ = ["Options", "SPEC_FOLDER", "render_spec", "source_name", "template_of"]

SPEC_FOLDER: Final = "spec"
_BUILTIN: Final = "python.spec.in"
# rpmlint wants no line of a description longer.
_WIDTH: Final = 79
_ENTRY: Final = re.compile(r"^\* \w{3} \w{3} \d\d \d{4} .+ - (?P<version>\S+)-(?P<release>\S+)$")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller says in place of the project. Empty is the project's own.

    ``release`` is the RPM's, without the distribution's tag; ``changelog`` is text of a spec's
    changelog; ``autospec`` leaves release and changelog to Fedora's rpmautospec; ``name`` is that
    of the source package; ``date`` (``2026-11-24``, without it the day of the project's last
    change) and ``packager`` are for the changelog of a project that has none.
    """

    name: str = ""
    version: str = ""
    release: str = ""
    changelog: str = ""
    autospec: bool = False
    date: str = ""
    packager: str = "Packager <packager@example.org>"


def template_of(project: Project) -> str:
    """The path of the project's own template; empty if it has none."""
    for name in (f"{project.name}.spec.in", f"python-{project.name}.spec.in"):
        path = os.path.join(project.directory, SPEC_FOLDER, name)
        if os.path.exists(path):
            return path
    return ""


def render_spec(project: Project, options: Options | None = None, *, template: str = "") -> str:
    """The spec's text, from ``template``, the project's own one, or the toolkit's.

    The changelog is ``spec/changelog`` if the project has it: newest entry first, as in a spec; the
    newest entry gives the release, and must be of the project's version.

    Raises InvalidSpec and InvalidProject with file and line, ToolMissing without jinja2.
    """
    options = options or Options()
    version = rpm_version(options.version or project.version)
    changelog, release = _changelog(project, options, version)

    def requires(extra: str = "") -> list[str]:
        if extra and extra not in project.extras:
            raise ValueError(f"{project.source} has no extra {extra}")
        return _rpm(project.extras[extra] if extra else project.requires)

    files = files_of(project.directory)

    def exists(path: str) -> bool:
        return any(name == path or name.startswith(f"{path}/") for name in files)

    def folders(path: str) -> list[str]:
        """The packages directly below a folder."""
        inits = re.compile(rf"{re.escape(path)}/(\w+)/__init__\.py")
        return [match[1] for name in files if (match := inits.fullmatch(name))]

    def imported(*places: str) -> list[str]:
        return _rpm(requirements_of(project, *places))

    values: dict[str, object] = {
        "project": project,
        "name": options.name or source_name(project),
        "version": version,
        "release": release,
        "changelog": changelog,
        "autospec": options.autospec,
        "requires": requires,
        "imported": imported,
        "exists": exists,
        "folders": folders,
        "compilers": lambda: compilers(project, files),
        "shipped": lambda: list(shipped(files)),
        "wrapped": lambda text: textwrap.fill(text, _WIDTH),
    }
    template = template or template_of(project)
    return render_file(template, values) if template else render_builtin(_BUILTIN, values)


def _rpm(requirements: list[Requirement] | tuple[Requirement, ...]) -> list[str]:
    return [text for each in requirements if not each.marker for text in each.rpm()]


def source_name(project: Project) -> str:
    """An application has its own name, a library is python-NAME, as Fedora names them."""
    if project.scripts:
        return project.name.lower()
    name = normalized(project.name)
    return name if name.startswith("python-") else f"python-{name}"


def _changelog(project: Project, options: Options, version: str) -> tuple[str, str]:
    """The changelog's text, and the release that its newest entry is about."""
    path = os.path.join(project.directory, SPEC_FOLDER, "changelog")
    text = options.changelog
    if not text and os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            text = file.read()
    if not text:
        entry = f"* {rpmdate(options.date or _day(project))} {options.packager} - {version}"
        release = options.release or "1"
        return f"{entry}-{release}\n- Packaged.", release
    match = _ENTRY.match(text.splitlines()[0])
    if match is None:
        raise InvalidSpec(
            f"{path}:1: not the head of a changelog entry",
            hint="as in: * Tue Nov 24 2026 Name <mail> - 1.0-1",
        )
    if not options.version and not options.release and match["version"] != version:
        raise InvalidSpec(
            f"{path}:1: the newest entry is of {match['version']}, {project.source} says {version}",
            hint="write an entry for the new version",
        )
    return text.strip(), options.release or match["release"]


def _day(project: Project) -> str:
    last = datetime.datetime.fromtimestamp(time_of(project.directory), datetime.UTC)
    return last.date().isoformat()

"""What a Python project says of itself in setup.cfg or pyproject.toml, as a spec needs it.

setuptools' declarative metadata and PEP 621's ``[project]`` table are read; nothing of the project
is run. What a project computes (``dynamic``, ``attr:``) is looked up in the source text.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from trilby.rpm.errors import InvalidProject
from trilby.rpm.requirement import Requirement, parse_requirement
from trilby.system.files import read_bytes_limited
from trilby.system.positions import Data, Positions, toml_load

__all__ = ["Project", "load_project"]

_LIMIT: Final = 4 << 20


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """The facts. ``source`` is the file that has them; ``package_dir`` is where modules are.

    ``requires`` are run-time requirements, ``extras`` those of each extra; ``scripts`` are
    console scripts as name -> ``module:function``.
    """

    directory: str
    source: str
    name: str
    version: str
    summary: str
    license: str
    license_files: tuple[str, ...] = ()
    description: str = ""
    url: str = ""
    python_requires: str = ""
    requires: tuple[Requirement, ...] = ()
    extras: Mapping[str, tuple[Requirement, ...]] = {}
    scripts: Mapping[str, str] = {}
    package_dir: str = ""

    def packages(self) -> tuple[str, ...]:
        """The names that the project puts at the top of site-packages."""
        where = os.path.join(self.directory, self.package_dir)
        found = []
        for entry in sorted(os.listdir(where)) if os.path.isdir(where) else ():
            if os.path.isfile(os.path.join(where, entry, "__init__.py")):
                found.append(entry)
            elif entry.endswith(".py") and self.package_dir:
                found.append(entry.removesuffix(".py"))
        usual = ("tests", "test", "docs", "examples")
        return tuple(name for name in found if self.package_dir or name not in usual)


def load_project(directory: str | os.PathLike[str], *, version: str = "") -> Project:
    """Read a project's metadata; ``version`` is for a project that does not write its own down.

    Raises InvalidProject with file and line, and OSError.
    """
    where = os.path.abspath(os.fspath(directory))
    toml = os.path.join(where, "pyproject.toml")
    if os.path.exists(toml):
        data, positions = toml_load(toml)
        if isinstance(data.get("project"), dict):
            return _from_pyproject(where, toml, data, positions, version)
    cfg = os.path.join(where, "setup.cfg")
    if os.path.exists(cfg):
        return _from_setup_cfg(where, cfg)
    raise InvalidProject(
        f"{where} has neither a setup.cfg nor a [project] in pyproject.toml",
        hint="name the directory of a Python project",
    )


class _Facts:
    """Values of one file with the means to say where they stand."""

    def __init__(self, directory: str, path: str) -> None:
        self.directory = directory
        self.path = path

    def need(self, value: str, what: str, line: int) -> str:
        if not value:
            raise InvalidProject(f"{self.path}:{line}: the project has no {what}")
        return value

    def requirements(self, texts: list[str], line: int) -> tuple[Requirement, ...]:
        try:
            return tuple(parse_requirement(text) for text in texts)
        except ValueError as error:
            raise InvalidProject(f"{self.path}:{line}: {error}") from None

    def text_of(self, names: list[str]) -> str:
        texts = []
        for name in names:
            path = os.path.join(self.directory, name.strip())
            try:
                texts.append(read_bytes_limited(path, _LIMIT).decode(errors="replace"))
            except OSError as error:
                raise InvalidProject(f"{self.path}: {name}: {error.strerror}") from None
        return "\n".join(texts)

    def attribute(self, dotted: str, package_dir: str) -> str:
        """The string that a module assigns to a name, without running the module."""
        dotted = dotted.strip()
        module, _, name = dotted.rpartition(".")
        base = os.path.join(self.directory, package_dir, *module.split("."))
        for path in (f"{base}.py", f"{base}/__init__.py"):
            if os.path.exists(path):
                tree = ast.parse(read_bytes_limited(path, _LIMIT))
                for node in tree.body:
                    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                        names = [each.id for each in node.targets if isinstance(each, ast.Name)]
                        if name in names and isinstance(node.value.value, str):
                            return node.value.value
        raise InvalidProject(f"{self.path}: nothing assigns a plain string to {dotted}")


def _from_setup_cfg(directory: str, path: str) -> Project:
    import configparser

    facts = _Facts(directory, path)
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    text = read_bytes_limited(path, _LIMIT).decode()
    try:
        parser.read_string(text, path)
    except configparser.Error as error:
        broken: list[tuple[int, str]] = getattr(error, "errors", [])
        line = broken[0][0] if broken else getattr(error, "lineno", 1)
        raise InvalidProject(f"{path}:{line}: {' '.join(error.message.split())}") from None
    lines = text.splitlines()

    def value(section: str, key: str) -> str:
        return parser.get(section, key, fallback="").strip()

    def items(section: str, key: str) -> list[str]:
        return [line.strip() for line in value(section, key).splitlines() if line.strip()]

    def line_of(key: str) -> int:
        found = (n for n, line in enumerate(lines, 1) if re.match(rf"{re.escape(key)}\s*=", line))
        return next(found, 1)

    def looked_up(key: str) -> str:
        found = value("metadata", key)
        if found.startswith("file:"):
            return facts.text_of(found.removeprefix("file:").split(",")).strip()
        if found.startswith("attr:"):
            return facts.attribute(found.removeprefix("attr:"), package_dir)
        return found

    package_dir = _root_of(value("options", "package_dir"))
    extras = "options.extras_require"
    named = parser.options(extras) if parser.has_section(extras) else []
    scripts: dict[str, str] = {}
    for entry in items("options.entry_points", "console_scripts"):
        script, _, target = entry.partition("=")
        scripts[script.strip()] = target.strip()
    return Project(
        directory=directory,
        source=path,
        name=facts.need(value("metadata", "name"), "name", 1),
        version=facts.need(looked_up("version"), "version", line_of("version")),
        summary=facts.need(value("metadata", "description"), "description", 1),
        license=value("metadata", "license"),
        license_files=tuple(value("metadata", "license_files").replace(",", " ").split()),
        description=looked_up("long_description"),
        url=value("metadata", "url"),
        python_requires=value("options", "python_requires"),
        requires=facts.requirements(
            items("options", "install_requires"), line_of("install_requires")
        ),
        extras={name: facts.requirements(items(extras, name), line_of(name)) for name in named},
        scripts=scripts,
        package_dir=package_dir,
    )


def _root_of(package_dir: str) -> str:
    """The directory that ``package_dir`` maps the empty name to."""
    for line in re.split(r"[\n,]", package_dir):
        name, equals, place = line.partition("=")
        if equals and not name.strip():
            return place.strip()
    return ""


def _from_pyproject(
    directory: str, path: str, data: dict[str, Data], positions: Positions, known: str
) -> Project:
    facts = _Facts(directory, path)
    table = data["project"]
    assert isinstance(table, dict)

    def line(key: str) -> int:
        return positions.line(("project", key)) or 1

    def text(key: str) -> str:
        value = table.get(key)
        return value if isinstance(value, str) else ""

    def strings(value: Data) -> list[str]:
        return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []

    package_dir = "src" if os.path.isdir(os.path.join(directory, "src")) else ""
    version = text("version") or known
    version = version or _dynamic_version(facts, data, package_dir, line("dynamic"))
    extras = table.get("optional-dependencies")
    scripts = table.get("scripts")
    return Project(
        directory=directory,
        source=path,
        name=facts.need(text("name"), "name", line("name")),
        version=version,
        summary=facts.need(text("description"), "description", line("description")),
        license=_license(table.get("license")),
        license_files=tuple(strings(table.get("license-files"))),
        description=_readme(facts, table.get("readme")),
        url=_homepage(table.get("urls")),
        python_requires=text("requires-python"),
        requires=facts.requirements(strings(table.get("dependencies")), line("dependencies")),
        extras={
            name: facts.requirements(strings(texts), line("optional-dependencies"))
            for name, texts in (extras if isinstance(extras, dict) else {}).items()
        },
        scripts={
            name: target
            for name, target in (scripts if isinstance(scripts, dict) else {}).items()
            if isinstance(target, str)
        },
        package_dir=package_dir,
    )


def _dynamic_version(facts: _Facts, data: dict[str, Data], package_dir: str, line: int) -> str:
    """setuptools' ``[tool.setuptools.dynamic] version``."""
    found: Data = data
    for key in ("tool", "setuptools", "dynamic", "version"):
        found = found.get(key) if isinstance(found, dict) else None
    if isinstance(found, dict):
        if isinstance(attribute := found.get("attr"), str):
            return facts.attribute(attribute, package_dir)
        if isinstance(file := found.get("file"), str):
            return facts.text_of([file]).strip()
    raise InvalidProject(
        f"{facts.path}:{line}: the version is not written down here",
        hint="give it with --version",
    )


def _license(value: Data) -> str:
    if isinstance(value, dict):
        value = value.get("text")
    return value if isinstance(value, str) else ""


def _readme(facts: _Facts, value: Data) -> str:
    if isinstance(value, dict):
        value = value.get("file")
    return facts.text_of([value]) if isinstance(value, str) else ""


def _homepage(value: Data) -> str:
    urls = value if isinstance(value, dict) else {}
    for name in ("Homepage", "homepage", "Source", "source", "Repository", "repository"):
        if isinstance(url := urls.get(name), str):
            return url
    return next((url for url in urls.values() if isinstance(url, str)), "")

"""What a Python project says of itself in setup.cfg or pyproject.toml, as a spec needs it.

setuptools' declarative metadata and PEP 621's ``[project]`` table are read; nothing of the project
is run. What a project computes (``dynamic``, ``attr:``) is looked up in the source text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import msgspec

from trilby.rpm.errors import InvalidProject
from trilby.rpm.facts import CfgFacts, Facts, one_line
from trilby.rpm.modules import Stated, modules_of, stated_in_pyproject, stated_in_setup_cfg
from trilby.rpm.requirement import Requirement, normalized
from trilby.system.positions import Data, Positions, toml_load

__all__ = ["Project", "load_project"]


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """The facts. ``source`` is the file that has them; ``package_dir`` is where modules are.

    ``requires`` are run-time requirements, ``extras`` those of each extra; ``scripts`` are the
    commands as name -> ``module:function``; ``readme`` is the file of the description; ``backend``
    are the distributions that the build itself requires.
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
    readme: str = ""
    backend: tuple[str, ...] = ()
    stated: Stated = Stated()

    def packages(self) -> tuple[str, ...]:
        """The names that the project puts at the top of site-packages; empty if nothing tells."""
        name = normalized(self.name).replace("-", "_")
        return modules_of(self.directory, self.package_dir, name, self.stated)


def load_project(directory: str | os.PathLike[str], *, version: str = "") -> Project:
    """Read a project's metadata; ``version`` is for a project that does not write its own down.

    Raises InvalidProject with file and line, and OSError.
    """
    where = os.path.abspath(os.fspath(directory))
    toml = os.path.join(where, "pyproject.toml")
    data: dict[str, Data] = {}
    if os.path.exists(toml):
        data, positions = toml_load(toml)
        if isinstance(data.get("project"), dict):
            return _from_pyproject(where, toml, data, positions, version)
    cfg = os.path.join(where, "setup.cfg")
    if os.path.exists(cfg):
        return _from_setup_cfg(where, cfg, version, _backend(data))
    raise InvalidProject(
        f"{where} has neither a setup.cfg nor a [project] in pyproject.toml",
        hint="write a [project] table, as PEP 621 has it, or name another directory",
    )


def _from_setup_cfg(directory: str, path: str, known: str, backend: tuple[str, ...]) -> Project:
    cfg = CfgFacts(directory, path)
    package_dir = _root_of(cfg.value("options", "package_dir"))
    package_dir = package_dir or cfg.value("options.packages.find", "where").strip("./")

    def looked_up(key: str) -> str:
        """What a key says, what the files say that it names, or a module's attribute."""
        found = cfg.value("metadata", key)
        if found.startswith("file:"):
            return cfg.text_of(found.removeprefix("file:").split(","), cfg.line(key)).strip()
        if found.startswith("attr:"):
            return cfg.attribute(found.removeprefix("attr:"), package_dir, cfg.line(key))
        return found

    def needed(key: str) -> str:
        value = one_line(cfg.value("metadata", key))
        return cfg.need(value, key, 1, f"{key} = {key.upper()} below [metadata]")

    extras = "options.extras_require"
    entries = [
        entry.partition("=")
        for kind in ("console_scripts", "gui_scripts")
        for entry in cfg.lines("options.entry_points", kind)
    ]
    readme = cfg.value("metadata", "long_description")
    return Project(
        directory=directory,
        source=path,
        name=needed("name"),
        version=known or cfg.need_version(looked_up("version"), cfg.line("version")),
        summary=needed("description"),
        license=cfg.value("metadata", "license"),
        license_files=cfg.license_files(cfg.words("metadata", "license_files")),
        description=looked_up("long_description"),
        url=cfg.value("metadata", "url"),
        python_requires=cfg.value("options", "python_requires"),
        requires=cfg.required("options", "install_requires"),
        extras={name: cfg.required(extras, name) for name in cfg.keys(extras)},
        scripts={name.strip(): target.strip() for name, _, target in entries},
        package_dir=package_dir,
        readme=readme.removeprefix("file:").split(",")[0].strip() if "file:" in readme else "",
        backend=backend,
        stated=stated_in_setup_cfg(
            cfg.words("options", "packages"), cfg.words("options", "py_modules")
        ),
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
    facts = Facts(directory, path)
    table = data["project"]
    assert isinstance(table, dict)

    def line(*keys: str | int) -> int:
        return positions.line(("project", *keys)) or 1

    def text(key: str) -> str:
        return facts.text(table.get(key), f"project.{key}", line(key))

    def requirements(value: Data, *keys: str) -> tuple[Requirement, ...]:
        texts = facts.strings(value, ".".join(("project", *keys)), line(*keys))
        return facts.requirements([(line(*keys, n), each) for n, each in enumerate(texts)])

    stated = stated_in_pyproject(data)
    package_dir = stated.place or ("src" if os.path.isdir(os.path.join(directory, "src")) else "")
    version = known or text("version")
    extras = table.get("optional-dependencies")
    readme = table.get("readme")
    readme = readme.get("file") if isinstance(readme, dict) else readme
    return Project(
        directory=directory,
        source=path,
        name=facts.need(text("name"), "name", line("name"), 'name = "NAME" below [project]'),
        version=version or _dynamic_version(facts, data, package_dir, line("dynamic")),
        summary=facts.need(
            one_line(text("description")),
            "description",
            line("description"),
            'description = "TEXT" below [project]',
        ),
        license=_license(table.get("license")),
        license_files=facts.license_files(
            facts.strings(
                table.get("license-files"), "project.license-files", line("license-files")
            )
        ),
        description=facts.text_of([readme], line("readme")) if isinstance(readme, str) else "",
        url=_homepage(table.get("urls")),
        python_requires=text("requires-python"),
        requires=requirements(table.get("dependencies"), "dependencies"),
        extras={
            name: requirements(texts, "optional-dependencies", name)
            for name, texts in (extras if isinstance(extras, dict) else {}).items()
        },
        scripts=_scripts(table),
        package_dir=package_dir,
        readme=readme if isinstance(readme, str) else "",
        backend=_backend(data),
        stated=stated,
    )


def _scripts(table: dict[str, Data]) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind in ("scripts", "gui-scripts"):
        named = table.get(kind)
        for name, target in (named if isinstance(named, dict) else {}).items():
            if isinstance(target, str):
                found[name] = target
    return found


def _backend(data: dict[str, Data]) -> tuple[str, ...]:
    """The distributions that the build requires, their names normalized."""
    system = data.get("build-system")
    listed = system.get("requires") if isinstance(system, dict) else None
    texts = [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
    return tuple(normalized(re.split(r"[\s<>=!~;\[(@]", text)[0]) for text in texts)


def _dynamic_version(facts: Facts, data: dict[str, Data], package_dir: str, line: int) -> str:
    """setuptools' ``[tool.setuptools.dynamic] version``."""
    found: Data = data
    for key in ("tool", "setuptools", "dynamic", "version"):
        found = found.get(key) if isinstance(found, dict) else None
    if isinstance(found, dict):
        if isinstance(attribute := found.get("attr"), str):
            return facts.attribute(attribute, package_dir, line)
        if isinstance(file := found.get("file"), str):
            return facts.text_of([file], line).strip()
    return facts.need_version("", line)


def _license(value: Data) -> str:
    if isinstance(value, dict):
        value = value.get("text")
    return value if isinstance(value, str) else ""


def _homepage(value: Data) -> str:
    urls = value if isinstance(value, dict) else {}
    for name in ("Homepage", "homepage", "Source", "source", "Repository", "repository"):
        if isinstance(url := urls.get(name), str):
            return url
    return next((url for url in urls.values() if isinstance(url, str)), "")

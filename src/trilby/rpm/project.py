"""What a Python project says of itself in setup.cfg or pyproject.toml, as a spec needs it.

setuptools' declarative metadata and PEP 621's ``[project]`` table are read; nothing of the project
is run. What a project computes (``dynamic``, ``attr:``) is looked up in the source text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import msgspec

from trilby.rpm.computed import Computed, at, strings_of
from trilby.rpm.errors import InvalidProject
from trilby.rpm.facts import CfgFacts, TomlFacts, one_line
from trilby.rpm.legacy import as_project
from trilby.rpm.licenses import spdx
from trilby.rpm.modules import Stated, modules_of, stated_in_pyproject, stated_in_setup_cfg
from trilby.rpm.requirement import Requirement, normalized
from trilby.system.positions import Data, toml_load

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
        return modules_of(self.directory, self.package_dir, _module(self.name), self.stated)


def load_project(directory: str | os.PathLike[str], *, version: str = "") -> Project:
    """Read a project's metadata; ``version`` is for a project that does not write its own down.

    Raises InvalidProject with file and line, and OSError.
    """
    where = os.path.abspath(os.fspath(directory))
    toml = os.path.join(where, "pyproject.toml")
    data: dict[str, Data] = {}
    if os.path.exists(toml):
        data, positions = toml_load(toml)
        table = data.get("project")
        legacy, keys = as_project(data)
        if isinstance(table, dict) and ("name" in table or not legacy):
            legacy, keys = table, ("project",)
        if keys:
            return _from_pyproject(TomlFacts(where, positions, keys), data, legacy, version)
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
        license=spdx(cfg.value("metadata", "license"), cfg.lines("metadata", "classifiers")),
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
    facts: TomlFacts, data: dict[str, Data], table: dict[str, Data], known: str
) -> Project:
    """Of ``table``, in the words of PEP 621, wherever in the file it stands."""

    def text(key: str) -> str:
        return facts.text(table.get(key), key, facts.line(key))

    stated = stated_in_pyproject(data)
    source = "src" if os.path.isdir(os.path.join(facts.directory, "src")) else ""
    place = stated.place or source
    name = facts.need(text("name"), "name", facts.line("name"), 'name = "NAME" there')
    modules = modules_of(facts.directory, place, _module(name), stated)
    computed = Computed(facts, data, place, modules)
    summary = one_line(text("description")) or computed.summary()
    readme = table.get("readme")
    readme = readme.get("file") if isinstance(readme, dict) else readme
    readme = readme if isinstance(readme, str) else ""
    license_files = table.get("license-files")
    return Project(
        directory=facts.directory,
        source=facts.path,
        name=name,
        version=known or text("version") or computed.version(facts.line("dynamic")),
        summary=facts.need(
            summary, "description", facts.line("description"), 'description = "TEXT" there'
        ),
        license=spdx(
            _license(table) or computed.pkg_info("License-Expression"),
            strings_of(table.get("classifiers")),
        ),
        license_files=facts.license_files(
            facts.strings(license_files, "license-files", facts.line("license-files"))
        ),
        description=facts.text_of([readme], facts.line("readme")) if readme else "",
        url=_homepage(table.get("urls")),
        python_requires=text("requires-python"),
        requires=facts.required(table.get("dependencies"), "dependencies"),
        extras={
            extra: facts.required(texts, "optional-dependencies", extra)
            for extra, texts in _table(table, "optional-dependencies").items()
        },
        scripts={
            script: target
            for kind in ("scripts", "gui-scripts")
            for script, target in _table(table, kind).items()
            if isinstance(target, str)
        },
        package_dir=place,
        readme=readme,
        backend=_backend(data),
        stated=stated,
    )


def _module(name: str) -> str:
    """What a module of the project's name is called."""
    return normalized(name).replace("-", "_")


def _table(table: dict[str, Data], key: str) -> dict[str, Data]:
    found = table.get(key)
    return found if isinstance(found, dict) else {}


def _license(table: dict[str, Data]) -> str:
    value = table.get("license")
    if isinstance(value, dict):
        value = value.get("text")
    return value if isinstance(value, str) else ""


def _backend(data: dict[str, Data]) -> tuple[str, ...]:
    """The distributions that the build requires, their names normalized."""
    texts = strings_of(at(data, "build-system", "requires"))
    return tuple(normalized(re.split(r"[\s<>=!~;\[(@]", text)[0]) for text in texts)


def _homepage(value: Data) -> str:
    urls = value if isinstance(value, dict) else {}
    for name in ("Homepage", "homepage", "Source", "source", "Repository", "repository"):
        if isinstance(url := urls.get(name), str):
            return url
    return next((url for url in urls.values() if isinstance(url, str)), "")

"""Which modules a project puts into site-packages: what it states, else what its folders show.

A build backend decides that when it runs. Here nothing runs: the keys of setuptools, flit, hatch,
Poetry and maturin are read, and without them their common rules are followed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import msgspec

from trilby.rpm.computed import at, strings_of
from trilby.system.positions import Data

__all__ = ["Stated", "modules_of", "stated_in_pyproject", "stated_in_setup_cfg"]

# Folders beside the package that setuptools, too, takes for no part of it.
_USUAL: Final = frozenset(
    {"benchmarks", "build", "dist", "doc", "docs", "example", "examples", "scripts", "test",
     "tests", "tools"}
)  # fmt: skip


class Stated(msgspec.Struct, frozen=True):
    """What the metadata say of modules.

    ``names`` are packages and modules, dotted; ``place`` is the folder that has them; ``every``
    adds all packages that are found there, as setuptools' ``find:`` does.
    """

    names: tuple[str, ...] = ()
    place: str = ""
    every: bool = False


def modules_of(directory: str, place: str, name: str, stated: Stated) -> tuple[str, ...]:
    """The top names, sorted; ``name`` is the project's as a module's. Empty if nothing tells."""
    names = {each.partition(".")[0] for each in stated.names}
    if not names or stated.every:
        names |= _found(os.path.join(directory, place), name, stated, own=bool(place))
    return tuple(sorted(names))


def _found(folder: str, name: str, stated: Stated, *, own: bool) -> set[str]:
    """What a folder shows. All in a folder of their ``own`` are modules, not so at a project's top.

    There backends take what has the project's name, and setuptools every package as well.
    """
    entries = os.listdir(folder) if os.path.isdir(folder) else []
    modules = {each.removesuffix(".py") for each in entries if each.endswith(".py")}
    folders = {each for each in entries if each.isidentifier()}
    packages = {each for each in folders if _is_package(os.path.join(folder, each))}
    if own:
        return packages | modules | {each for each in folders if _is_namespace(f"{folder}/{each}")}
    same = {each for each in packages | modules if each.lower() == name}
    if same and not stated.every:
        return same
    return same | {each for each in packages if each not in _USUAL}


def _is_package(path: str) -> bool:
    return os.path.isfile(os.path.join(path, "__init__.py"))


def _is_namespace(path: str) -> bool:
    return any(name.endswith(".py") for _, _, names in os.walk(path) for name in names)


def stated_in_setup_cfg(packages: Sequence[str], modules: Sequence[str]) -> Stated:
    """``packages`` and ``py_modules`` of setup.cfg, as lists."""
    named = [each for each in packages if not each.startswith("find")]
    return Stated((*named, *modules), every=len(named) < len(packages))


def stated_in_pyproject(data: dict[str, Data]) -> Stated:
    """What the tables of the backends say."""
    setuptools = at(data, "tool", "setuptools")
    if isinstance(setuptools, dict):
        places = setuptools.get("package-dir")
        place = places.get("") if isinstance(places, dict) else ""
        where = strings_of(at(data, "tool", "setuptools", "packages", "find", "where"))
        names = strings_of(setuptools.get("packages")) + strings_of(setuptools.get("py-modules"))
        place = place if isinstance(place, str) and place else "".join(where[:1])
        return Stated(tuple(names), "" if place == "." else place, every=not names)
    paths = strings_of(at(data, "tool", "hatch", "build", "targets", "wheel", "packages"))
    names = [os.path.basename(path.rstrip("/")) for path in paths]
    for keys in (("flit", "module", "name"), ("maturin", "module-name")):
        name = at(data, "tool", *keys)
        names += [name] if isinstance(name, str) else []
    name = at(data, "tool", "flit", "metadata", "module")
    names += [name] if isinstance(name, str) and not names else []
    listed = at(data, "tool", "poetry", "packages")
    for each in listed if isinstance(listed, list) else ():
        include = at(each, "include")
        names += [include.split("/")[0]] if isinstance(include, str) else []
    return Stated(tuple(names))

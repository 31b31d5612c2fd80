"""The YAML of a prebuilt package: read, checked, and held against the folder of programs.

What is wrong is told with the YAML's line, before anything is built.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import msgspec

from trilby.rpm.errors import InvalidProject
from trilby.rpm.facts import decoded
from trilby.rpm.prebuilt import File, Package, Prebuilt, source_of

__all__ = ["check_folder", "load", "loads"]


def load(path: str | os.PathLike[str]) -> Prebuilt:
    """Read a package's YAML. Raises InvalidProject with file and line, and OSError."""
    name = os.fspath(path)
    return loads(decoded(name), name)


def loads(text: str, name: str) -> Prebuilt:
    """The same for text; ``name`` is for messages."""
    import yaml

    try:
        document: object = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = 1 if error.problem_mark is None else error.problem_mark.line + 1
        raise InvalidProject(f"{name}:{line}: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise InvalidProject(f"{name}:1: {' '.join(str(error).split())}") from None
    try:
        found = msgspec.convert(document, Prebuilt)
    except msgspec.ValidationError as error:
        line = _line_of(text, str(error))
        raise InvalidProject(f"{name}:{line}: {error}", hint=_hint(str(error))) from None
    if wrong := next(_wrong(found), None):
        place, reason = wrong
        raise InvalidProject(f"{name}:{_line_of(text, place)}: {reason}")
    return found


def _hint(message: str) -> str:
    """What to do about what msgspec says."""
    if "unknown field" in message:
        kind = File if ".files[" in message else Package if ".packages[" in message else Prebuilt
        names = sorted(field.name for field in msgspec.structs.fields(kind))
        return f"fields here are {', '.join(names)}"
    if re.search(r"Expected `str`, got `(float|int|bool)`", message):
        return "put it in quotes: YAML takes it for a number or a truth value"
    return "docs/PACKAGING.md has an example"


def _wrong(prebuilt: Prebuilt) -> Iterator[tuple[str, str]]:
    """What cannot become a package, with its place as msgspec writes places."""
    for fact in ("version", "summary", "license"):
        if not getattr(prebuilt, fact):
            yield "`$`", f"the package has no {fact}"
    for number, package in enumerate(prebuilt.every()):
        at = f"$.packages[{number - 1}]" if number else "$"
        if not package.under.startswith("/"):
            yield f"`{at}.under`", f"{package.under} has to begin with a slash"
        for index, file in enumerate(package.files):
            here = f"{at}.files[{index}]"
            if not file.path.startswith("/"):
                yield f"`{here}.path`", f"{file.path} has to begin with a slash"
            if file.mode and not re.fullmatch("[0-7]{3,4}", file.mode):
                yield f"`{here}.mode`", f'{file.mode} is no mode, as "0755" is'
            if (file.kind == "link") != bool(file.target):
                yield f"`{here}`", f"{file.path}: a link has a target, and nothing else has one"


def check_folder(prebuilt: Prebuilt, folder: str, name: str) -> None:
    """Raises InvalidProject with the line of ``name``, the YAML, that names what is not there."""
    there: set[str] = set()
    for number, package in enumerate(prebuilt.every()):
        at = f"$.packages[{number - 1}]" if number else "$"
        there |= set(_below(package, folder))
        for place, reason in _absent(package, folder, there):
            raise InvalidProject(
                f"{name}:{_line_of(decoded(name), f'`{at}{place}`')}: {reason}",
                hint=f"the folder is {folder}; --folder names another",
            )
        there |= {file.path for file in package.files}
        # What commands add, and lists of other programs, nobody knows yet.
        known = not prebuilt.install and not package.list_file
        lost = set(package.units) - {os.path.basename(path) for path in there}
        if known and lost:
            line = _line_of(decoded(name), f"`{at}.units`")
            unit = min(lost)
            raise InvalidProject(
                f"{name}:{line}: no file is the unit {unit}",
                hint=f"add one to the files: /usr/lib/systemd/system/{unit}",
            )


def _below(package: Package, folder: str) -> Iterator[str]:
    """The paths that a package's tree gives it."""
    tree = os.path.join(folder, package.tree)
    for path, _, names in os.walk(tree) if package.tree else ():
        below = os.path.normpath(os.path.join(package.under, os.path.relpath(path, tree)))
        yield from (os.path.join(below, each) for each in names)


def _absent(package: Package, folder: str, there: set[str]) -> Iterator[tuple[str, str]]:
    """What the folder lacks, as the place of what names it, and what to say."""
    if package.tree and not os.path.isdir(os.path.join(folder, package.tree)):
        yield ".tree", f"there is no directory {package.tree}"
    for index, file in enumerate(package.files):
        if file.kind in ("dir", "link", "ghost", "ghostdir") or file.path in there:
            continue
        if not os.path.lexists(os.path.join(folder, source_of(file))):
            key = "source" if file.source else "path"
            yield f".files[{index}].{key}", f"there is no {source_of(file)}"


def _line_of(text: str, message: str) -> int:
    """The line of what msgspec complains about, from its path ``$.packages[1].files[0].mode``."""
    import yaml

    unknown = re.search(r"unknown field `(\w+)`", message)
    place = re.search(r"`\$([^`]*)`", message)
    keys: list[str | int] = []
    if place:
        for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", place[1]):
            keys.append(name or int(index))
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = 1
    for key in [*keys, *([unknown[1]] if unknown else [])]:
        if isinstance(node, yaml.MappingNode):
            for key_node, value in node.value:
                if key_node.value == key:
                    line, node = key_node.start_mark.line + 1, value
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int):
            if key < len(node.value):
                node = node.value[key]
                line = node.start_mark.line + 1
    return line

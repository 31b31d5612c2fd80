"""Packages out of programs that are built already: a folder and a small YAML become a spec.

The YAML has the fields of Prebuilt; a package of it those of Package, a file those of File::

    name: hello
    version: "1.2"
    summary: Says hello
    license: Apache-2.0
    requires: [conmon]
    files:
      - path: /usr/bin/hello          # from the folder's usr/bin/hello
        mode: "0755"
      - path: /etc/hello.conf
        source: conf/hello.conf       # from elsewhere in the folder
        kind: config
      - path: /usr/bin/hi
        kind: link
        target: hello
    units: [hello.service]
    packages:                          # subpackages, with the same fields
      - name: hello-data
        tree: share                    # all that is below the folder's share/ ...
        under: /usr/share/hello        # ... goes there
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from trilby.rpm.errors import InvalidProject
from trilby.rpm.facts import decoded
from trilby.rpm.template import render_builtin

__all__ = ["File", "Package", "Prebuilt", "check_folder", "load", "loads", "render"]

Kind: TypeAlias = Literal["file", "dir", "link", "config", "doc", "license", "ghost", "ghostdir"]

Scriptlet: TypeAlias = Literal["pretrans", "pre", "post", "preun", "postun", "posttrans"]

_TEMPLATE: Final = "prebuilt.spec.in"


class File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One path of a package.

    ``source`` is relative to the folder; without it it is ``path`` without its first slash.
    ``mode`` is octal, as in "0755"; without it the file's own counts. ``target`` is a link's.
    """

    path: str
    source: str = ""
    kind: Kind = "file"
    mode: str = ""
    user: str = "root"
    group: str = "root"
    target: str = ""
    # of the folder's file, for directories that several packages own
    capabilities: str = ""


class Package(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One binary package. What is empty is the main package's, or left out.

    ``tree`` is a directory of the folder, all of whose content is owned, placed below ``under``.
    ``list_file`` is an absolute path of a list as rpm's ``%files -f`` takes it, for lists that
    another program wrote. Scriptlets are shell text by name; ``units`` get systemd's, which come
    first; ``extra`` is verbatim spec text (triggers).
    """

    name: str
    version: str = ""
    release: str = ""
    summary: str = ""
    description: str = ""
    arch: str = ""
    license: str = ""
    requires: tuple[str, ...] = ()
    requires_pre: tuple[str, ...] = ()
    recommends: tuple[str, ...] = ()
    suggests: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    obsoletes: tuple[str, ...] = ()
    files: tuple[File, ...] = ()
    tree: str = ""
    under: str = "/"
    list_file: str = ""
    units: tuple[str, ...] = ()
    scriptlets: dict[Scriptlet, str] = {}
    extra: str = ""
    # rpm looks at the files and adds what they need and provide
    automatic: bool = True


class Prebuilt(Package, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source package: the main package, and further ``packages``.

    ``macros`` are ``%global`` lines by name; ``build_requires`` are for %install's commands;
    ``install`` is shell text at the end of %install. ``changelog`` dates the build (an RFC date as
    "2026-11-24"), ``packager`` signs that entry.
    """

    url: str = ""
    packages: tuple[Package, ...] = ()
    macros: dict[str, str] = {}
    build_requires: tuple[str, ...] = ()
    install: str = ""
    changelog: str = "2026-11-24"
    packager: str = "Trilby packagers <packagers@example.org>"
    # rpm's own post-processing (byte-compiling, stripping, shebangs): "none" or the distribution's
    brp: Literal["none", "default"] = "default"

    def every(self) -> tuple[Package, ...]:
        """The main package and the others; the main package has no files, it may be left out."""
        return (self, *self.packages)

    def has_units(self) -> bool:
        """Whether the spec needs systemd's macros."""
        return any(package.units for package in self.every())


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
        line = line_of(text, str(error))
        raise InvalidProject(f"{name}:{line}: {error}", hint=_hint(str(error))) from None
    if wrong := next(_wrong(found), None):
        place, reason = wrong
        raise InvalidProject(f"{name}:{line_of(text, place)}: {reason}")
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
    there = set()
    for number, package in enumerate(prebuilt.every()):
        at = f"$.packages[{number - 1}]" if number else "$"
        tree = os.path.join(folder, package.tree)
        if package.tree and not os.path.isdir(tree):
            raise _absent(name, f"{at}.tree", folder, package.tree)
        for path, _, names in os.walk(tree) if package.tree else ():
            below = os.path.normpath(os.path.join(package.under, os.path.relpath(path, tree)))
            there |= {os.path.join(below, each) for each in names}
        for index, file in enumerate(package.files):
            if file.kind in ("dir", "link", "ghost", "ghostdir") or file.path in there:
                continue
            if not os.path.lexists(os.path.join(folder, _source_of(file))):
                key = "source" if file.source else "path"
                raise _absent(name, f"{at}.files[{index}].{key}", folder, _source_of(file))


def _absent(name: str, place: str, folder: str, path: str) -> InvalidProject:
    with open(name, encoding="utf-8") as file:
        line = line_of(file.read(), f"`{place}`")
    return InvalidProject(f"{name}:{line}: there is no {path} in {folder}", hint="see --folder")


def render(prebuilt: Prebuilt, *, folder: str = "", changelog: bool = True) -> str:
    """The spec's text.

    ``folder`` is the absolute path of the programs for a build that reads them in place (quick, for
    build_in_tree()); without it they are in Source0, ``%{name}-%{version}.tar.gz``, with one
    directory ``%{name}-%{version}`` at the top, as source.pack() makes it.
    """
    return render_builtin(
        _TEMPLATE,
        {
            "p": prebuilt,
            "folder": folder,
            "changelog": changelog,
            "source_of": _source_of,
            "scriptlets": get_args(Scriptlet),
        },
    )


def _source_of(file: File) -> str:
    return file.source or file.path.lstrip("/")


def line_of(text: str, message: str) -> int:
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

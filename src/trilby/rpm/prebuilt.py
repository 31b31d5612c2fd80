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
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from trilby.rpm.errors import InvalidProject
from trilby.rpm.template import render_builtin
from trilby.system.files import read_bytes_limited

__all__ = ["File", "Package", "Prebuilt", "load", "loads", "render"]

Kind: TypeAlias = Literal["file", "dir", "link", "config", "doc", "license", "ghost", "ghostdir"]

Scriptlet: TypeAlias = Literal["pretrans", "pre", "post", "preun", "postun", "posttrans"]

_TEMPLATE: Final = "prebuilt.spec.in"
_LIMIT: Final = 8 << 20


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
    return loads(read_bytes_limited(name, _LIMIT).decode(), name)


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
        return msgspec.convert(document, Prebuilt)
    except msgspec.ValidationError as error:
        line = _line_of(text, str(error))
        raise InvalidProject(f"{name}:{line}: {error}", hint="see trilby.rpm.prebuilt") from None


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


def _line_of(text: str, message: str) -> int:
    """The line of what msgspec complains about, from its path ``$.packages[1].files[0].mode``."""
    import re

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

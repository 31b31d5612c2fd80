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
      - path: /usr/lib/systemd/system/hello.service
    units: [hello.service]
    packages:                          # subpackages, with the same fields
      - name: hello-data
        tree: share                    # all that is below the folder's share/ ...
        under: /usr/share/hello        # ... goes there, but the directory itself ...
        files:
          - path: /usr/share/hello     # ... may be another package's; this one owns it
            kind: dir
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

import msgspec

from trilby.rpm.template import render_builtin

__all__ = ["File", "Package", "Prebuilt", "render", "source_of"]

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
            "source_of": source_of,
            "scriptlets": get_args(Scriptlet),
        },
    )


def source_of(file: File) -> str:
    """Where the folder has a file's content."""
    return file.source or file.path.lstrip("/")

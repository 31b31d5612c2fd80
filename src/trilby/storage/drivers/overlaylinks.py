"""The short names of overlay layers: ``link``, ``lower`` and the symbolic links in ``l/``.

Lower directories are passed to the kernel in one page, so each layer has a 26 character name.
``link`` holds the layer's own, ``lower`` the chain of its parents as ``l/NAME:l/NAME``, nearest
first; neither ends in a newline.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from trilby.storage import notes
from trilby.storage.errors import DriverFailed, LayerNotFound

MAX_DEPTH = 500


def new_link() -> str:
    """A random name of 26 letters of base32."""
    value = int.from_bytes(os.urandom(17))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    return "".join(alphabet[(value >> (5 * place)) & 31] for place in range(26))


def read_text(path: str) -> str:
    """A small file's text, "" if it is missing or empty."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


class Links:
    """The links of one overlay home, with those of additional stores to fall back on."""

    def __init__(self, home: str, other_homes: Sequence[str] = ()) -> None:
        self._homes = (home, *other_homes)
        self._home = home

    def home_of(self, layer_id: str) -> str:
        """The overlay directory that has the layer. Raises LayerNotFound."""
        for home in self._homes:
            if os.path.lexists(os.path.join(home, layer_id, "diff")):
                return home
        raise LayerNotFound(f"finding layer {layer_id[:12]} in {self._home}: no such directory")

    def make(self, layer_id: str, link: str) -> None:
        """Let ``l/<link>`` point at the layer's diff; an equal link may be there."""
        folder = os.path.join(self._home, "l")
        target = f"../{layer_id}/diff"
        path = os.path.join(folder, link)
        for _ in range(2):
            try:
                os.symlink(target, path)
                return
            except FileNotFoundError:
                os.makedirs(folder, 0o755, exist_ok=True)
            except FileExistsError:
                if os.readlink(path) == target:
                    return
                os.unlink(path)
        os.symlink(target, path)

    def remove(self, layer_id: str) -> None:
        """Remove the layer's link, if it has one."""
        link = read_text(os.path.join(self._home, layer_id, "link"))
        if link and "/" not in link:
            try:
                os.unlink(os.path.join(self._home, "l", link))
            except FileNotFoundError:
                pass

    def link_of(self, layer_id: str) -> str:
        """The layer's short name, made anew from ``l/`` if the file was lost."""
        folder = os.path.join(self.home_of(layer_id), layer_id)
        if link := read_text(os.path.join(folder, "link")):
            return link
        links = os.path.join(os.path.dirname(folder), "l")
        for entry in sorted(os.listdir(links)):
            if os.readlink(os.path.join(links, entry)) == f"../{layer_id}/diff":
                break
        else:
            entry = new_link()
            self.make(layer_id, entry)
        with open(os.path.join(folder, "link"), "w", encoding="utf-8") as file:
            file.write(entry)
        return entry

    def lower_text(self, parent: str) -> str:
        """What to write to ``lower`` of a layer on top of ``parent``. Raises DriverFailed."""
        own = f"l/{self.link_of(parent)}"
        below = read_text(os.path.join(self.home_of(parent), parent, "lower"))
        text = f"{own}:{below}" if below else own
        if text.count(":") >= MAX_DEPTH:
            raise DriverFailed(
                f"adding a layer to {parent[:12]}: more than {MAX_DEPTH} layers below it",
                hint="squash the image",
            )
        return text

    def lowers(self, layer_id: str) -> list[str]:
        """The directories below the layer, nearest first, as absolute paths of links."""
        text = read_text(os.path.join(self.home_of(layer_id), layer_id, "lower"))
        paths: list[str] = []
        for relative in text.split(":") if text else ():
            path = self._resolve(relative)
            if path is None:
                self._repair()
                path = self._resolve(relative)
            if path is None:
                raise DriverFailed(
                    f"mounting layer {layer_id[:12]}: its lower directory {relative} is gone",
                    hint="remove the image and pull it again",
                )
            paths.append(path)
            # A layer whose owners were shifted keeps its older contents beside it.
            paths += rotated(os.path.dirname(os.path.realpath(path)))
        return paths

    def _resolve(self, relative: str) -> str | None:
        for home in self._homes:
            path = os.path.join(home, relative)
            if os.path.isdir(path):
                return path
        return None

    def _repair(self) -> None:
        """Make links again that a sudden power cut took away."""
        with os.scandir(self._home) as entries:
            for entry in entries:
                if len(entry.name) == 64 and (link := read_text(f"{entry.path}/link")):
                    if "/" not in link and not os.path.lexists(f"{self._home}/l/{link}"):
                        notes.warning(
                            __name__, "making the lost link %s of layer %s again", link, entry.name
                        )
                        self.make(entry.name, link)


def rotated(folder: str) -> list[str]:
    """The older contents ``diff1``, ``diff2``… of a layer directory, nearest first."""
    found = []
    number = 1
    while os.path.isdir(path := os.path.join(folder, f"diff{number}")):
        found.append(path)
        number += 1
    return found

"""CNI's JSON documents, with the line of what is wrong in them."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from trilby.oci.codec import JsonValue
from trilby.pods.network.errors import ConflistInvalid
from trilby.system.errors import ConfigSyntaxError
from trilby.system.positions import Positions, json_loads

JsonObject: TypeAlias = "dict[str, JsonValue]"
Place: TypeAlias = "tuple[str | int, ...]"


class Document(msgspec.Struct, frozen=True):
    """A parsed file, and where its keys stand."""

    data: JsonValue
    positions: Positions

    def error(self, place: Place, problem: str, *, hint: str = "") -> ConflistInvalid:
        """An error that begins with the file and the line of ``place`` (keys and indexes)."""
        line = self.positions.line(place) or 1
        return ConflistInvalid(f"{self.positions.path}:{line}: {problem}", hint=hint)


def read_document(raw: bytes, path: str) -> Document:
    """Parse JSON; raises ``ConflistInvalid`` with the line of the mistake."""
    try:
        data, positions = json_loads(raw.decode(), path)
    except ConfigSyntaxError as error:
        raise ConflistInvalid(error.message) from None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConflistInvalid(f"{path}:{line}: is not UTF-8") from None
    return Document(data, positions)

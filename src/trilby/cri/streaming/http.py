"""As much of HTTP/1.1 as an upgrade needs: one request without a body, one answer.

Not aiohttp: its server does not give away the connection that it read a request from (only by
attributes that are private), and SPDY needs the connection; and importing it costs a daemon that
has never had a client more than 10 MiB.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from trilby.cri.streaming.errors import BadRequest

MAX_FIELDS: Final = 100
_LINE: Final = re.compile(rb"([A-Z]{1,16}) (/[!-~]{0,4096}) HTTP/1\.([01])")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Tab, and what can be seen, also outside ASCII.
_VALUE: Final = re.compile(rb"[\t -~\x80-\xff]*")


class Request(msgspec.Struct, frozen=True):
    """A request's head; names of fields are in lower case, values in the order in which they came.

    ``query`` is what follows the question mark, as it is.
    """

    method: str
    path: str
    query: str
    fields: Mapping[str, Sequence[str]]

    def get(self, name: str) -> str:
        """The first value of a field, or nothing."""
        values = self.fields.get(name.lower(), ())
        return values[0] if values else ""

    def items(self, name: str) -> list[str]:
        """The elements of a field whose value is a list, from all its lines."""
        lines = self.fields.get(name.lower(), ())
        return [item.strip() for line in lines for item in line.split(",") if item.strip()]

    def upgrades_to(self, protocol: str) -> bool:
        """Whether the client asks for another protocol on this connection."""
        wanted = {item.lower() for item in self.items("Connection")}
        return "upgrade" in wanted and protocol.lower() in {
            item.lower() for item in self.items("Upgrade")
        }


def parse(head: bytes) -> Request:
    """Raises BadRequest, also for a request with a body."""
    line, *rest = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    found = _LINE.fullmatch(line)
    if found is None:
        raise BadRequest("this is no HTTP/1.1 request")
    if found[3] != b"1":
        raise BadRequest("HTTP/1.1 is needed", status=505)
    if len(rest) > MAX_FIELDS:
        raise BadRequest("too many header fields", status=431)
    fields: dict[str, list[str]] = {}
    for text in rest:
        name, colon, value = text.partition(b":")
        if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise BadRequest("a header field is malformed")
        fields.setdefault(name.decode().lower(), []).append(value.strip(b" \t").decode("latin-1"))
    path, _, query = found[2].decode().partition("?")
    request = Request(found[1].decode(), path, query, fields)
    lengths = fields.get("content-length", ["0"])
    if "transfer-encoding" in fields or any(length != "0" for length in lengths):
        raise BadRequest("a body is not expected", status=413)
    return request


def switching(protocol: str, **fields: str) -> bytes:
    """The answer that makes this connection one of another protocol. ``X_Name`` is X-Name."""
    lines = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", f"Upgrade: {protocol}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def refusal(error: BadRequest) -> bytes:
    """The answer to a request that cannot be served; the connection is closed after it."""
    body = f"{error.message}\n".encode()
    lines = [
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
        "Content-Type: text/plain; charset=utf-8",
        "X-Content-Type-Options: nosniff",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *([error.headers] if error.headers else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


__all__ = ["Request", "parse", "refusal", "switching"]

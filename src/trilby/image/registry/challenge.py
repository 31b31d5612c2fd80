"""Reading WWW-Authenticate headers (RFC 9110, 11.6.1), of well-behaved and of careless servers."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_SCHEME = re.compile(rf"\s*({_TOKEN})")
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')
_TOKEN68 = re.compile(r"\s+[A-Za-z0-9\-._~+/]+=*\s*(?=,|$)")
_ESCAPED = re.compile(r"\\(.)")

#: Longer headers are not read: no registry needs them.
LIMIT = 16 * 1024


class Challenge(msgspec.Struct, frozen=True):
    """One way in that a server offers. ``scheme`` and the names of parameters are lower case."""

    scheme: str
    parameters: dict[str, str]

    @property
    def realm(self) -> str:
        return self.parameters.get("realm", "")

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes of a Bearer challenge, separated by blanks in the header."""
        return tuple(self.parameters.get("scope", "").split())


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Every challenge of these header values that can be made sense of, in their order.

    What cannot be read ends its header: better no challenge than a wrong one.
    """
    found: list[Challenge] = []
    for header in headers:
        if len(header) <= LIMIT:
            found += _parse_one(header)
    return found


def _parse_one(header: str) -> list[Challenge]:
    found: list[Challenge] = []
    position = 0
    while match := _SCHEME.match(header, position):
        scheme = match[1].lower()
        position = match.end()
        parameters, position = _parameters(header, position)
        found.append(Challenge(scheme, parameters))
        separator = re.compile(r"\s*,?").match(header, position)
        position = separator.end() if separator else position
    return found


def _parameters(header: str, position: int) -> tuple[dict[str, str], int]:
    """The parameters after a scheme's name, up to the next scheme or the end."""
    parameters: dict[str, str] = {}
    if blob := _TOKEN68.match(header, position):
        return parameters, blob.end()
    while match := _PARAMETER.match(header, position):
        quoted, bare = match[2], match[3]
        value = bare if quoted is None else _ESCAPED.sub(r"\1", quoted)
        parameters.setdefault(match[1].lower(), value)
        position = match.end()
        comma = re.compile(r"(\s*,)+").match(header, position)
        if comma is None:
            break
        if _PARAMETER.match(header, comma.end()) is None:
            # The comma before another scheme: leave the scheme to the caller.
            return parameters, comma.end()
        position = comma.end()
    return parameters, position

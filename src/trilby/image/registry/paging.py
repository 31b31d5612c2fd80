"""Lists that come in pages: Link headers (RFC 8288), and the tags of a repository."""

from __future__ import annotations

import re

import msgspec

from trilby.image.registry.errors import BadResponse

_LINK = re.compile(r"<([^>]*)>((?:\s*;\s*[^,;]+)*)")
_REL_NEXT = re.compile(r";\s*rel\s*=\s*\"?next\"?", re.IGNORECASE)


class _TagList(msgspec.Struct):
    tags: list[str] | None = None


def next_link(headers: list[str]) -> str | None:
    """The target of ``rel="next"`` in Link headers, None at the last page."""
    for header in headers:
        for match in _LINK.finditer(header):
            if _REL_NEXT.search(match[2]):
                return match[1]
    return None


def decode_tags(raw: bytes, content_type: str, doing: str) -> list[str]:
    """One page of ``/tags/list``; raises BadResponse."""
    try:
        return msgspec.json.decode(raw, type=_TagList).tags or []
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadResponse(f"{doing}: the answer ({content_type}) is no list of tags") from error

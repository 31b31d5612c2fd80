"""What a registry's error answers mean (distribution-spec, "Error codes")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trilby.image.registry.errors import (
    BadResponse,
    BlobUnknown,
    InvalidRequest,
    RegistryConflict,
    RegistryError,
    RegistryNotFound,
    RegistryRefused,
    RegistryUnauthorized,
    RegistryUnavailable,
    TooManyRequests,
)
from trilby.image.registry.http import read_limited
from trilby.image.registry.retry import parse_retry_after

if TYPE_CHECKING:
    import aiohttp

_DEFAULT_WORDS = {
    401: "unauthorized: authentication required",
    403: "denied: requested access to the resource is denied",
    405: "unsupported: the operation is unsupported",
    429: "toomanyrequests: too many requests",
}
_LONGEST = 300


class _RegistryFault(msgspec.Struct):
    code: str = ""
    message: str = ""


class _FaultList(msgspec.Struct):
    """``{"errors": [...]}`` of the specification, or a token server's ``{"details": ...}``."""

    errors: list[_RegistryFault] = []
    details: str = ""
    error: str = ""
    error_description: str = ""


class Failure(msgspec.Struct, frozen=True):
    """An answer that is no success: its status, the registry's codes and words."""

    status: int
    codes: tuple[str, ...]
    words: str
    reason: str = ""
    retry_after: float | None = None

    @classmethod
    async def of(
        cls, response: aiohttp.ClientResponse, *, doing: str, limit: int, now: float
    ) -> Failure:
        """Read an error answer to its end; what cannot be read is left out."""
        try:
            body = await read_limited(response, limit, doing=doing, timeout=10.0)
        except RegistryError:
            body = b""
        codes, words = _explain(body)
        return cls(
            status=response.status,
            codes=codes,
            words=words,
            reason=response.reason or "",
            retry_after=parse_retry_after(response.headers.get("Retry-After"), now),
        )

    @property
    def text(self) -> str:
        """What the registry says, or what such a status says by itself."""
        by_itself = f"HTTP status {self.status} {self.reason}".rstrip()
        return self.words or _DEFAULT_WORDS.get(self.status, by_itself)

    def error(
        self, doing: str, unknown: type[RegistryNotFound] = RegistryNotFound
    ) -> RegistryError:
        """The exception for it; ``unknown`` is what a 404 means here."""
        status = self.status
        text = f"{doing}: {self.text}"
        if "MANIFEST_BLOB_UNKNOWN" in self.codes:
            # Some registries say so with status 500, which would be tried again.
            return BlobUnknown(text, status=status)
        if status == 429 or "TOOMANYREQUESTS" in self.codes:
            return self._transient(TooManyRequests, text, "log in, or pull through a mirror")
        if status in (401, 403):
            return RegistryUnauthorized(
                text, status=status, hint="check the name and log in to the registry"
            )
        if status == 404:
            return unknown(f"{doing}: {self.words or unknown.words}", status=status)
        if status in (408, 425) or status >= 500:
            if status == 501:
                return RegistryRefused(text, status=status)
            return self._transient(RegistryUnavailable, text)
        if status == 405:
            return RegistryRefused(text, status=status)
        if status in (409, 412):
            return RegistryConflict(text, status=status)
        if 400 <= status < 500:
            return InvalidRequest(text, status=status)
        return BadResponse(f"{doing}: unexpected answer: {self.text}", status=status)

    def _transient(
        self, kind: type[RegistryUnavailable], text: str, hint: str = ""
    ) -> RegistryUnavailable:
        return kind(
            text, hint=hint, status=self.status, transient=True, retry_after=self.retry_after
        )


def _explain(body: bytes) -> tuple[tuple[str, ...], str]:
    """The codes, and one line of words, of an error's JSON body; empty for anything else."""
    try:
        faults = msgspec.json.decode(body, type=_FaultList)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return (), ""
    lines = []
    for fault in faults.errors:
        code = fault.code.lower().replace("_", " ")
        # "toomanyrequests: You have reached your limit"; not "unauthorized: unauthorized".
        same = not fault.message or fault.message.lower() == code
        lines.append(code or fault.message if same else f"{code}: {fault.message}".lstrip(": "))
    if not lines:
        lines = [
            text for text in (faults.details or faults.error_description or faults.error,) if text
        ]
    words = "; ".join(dict.fromkeys(lines))
    printable = "".join(c if c.isprintable() else " " for c in words)
    return tuple(fault.code for fault in faults.errors), printable[:_LONGEST]

"""What can be wrong with the documents and names that the OCI specifications define."""

from __future__ import annotations

from trilby.errors import Corrupt, InvalidInput, NotFound, Refused, TrilbyError


class OciError(TrilbyError):
    """The root of this room's errors."""


class InvalidDigest(OciError, InvalidInput):
    """Text is not a digest of an algorithm that we can compute."""


class InvalidPlatform(OciError, InvalidInput):
    """Text is not ``os/architecture[/variant]``."""


class MalformedDocument(OciError, Corrupt):
    """A JSON document is not what its specification says; the message names the JSON path."""


class UnsupportedManifest(OciError, Corrupt):
    """A manifest is of a type that we do not read."""


class NoMatchingPlatform(OciError, NotFound):
    """An index holds no manifest for the wanted platform."""


class NotConvertible(OciError, Refused):
    """A manifest cannot be said in the other format without losing meaning."""

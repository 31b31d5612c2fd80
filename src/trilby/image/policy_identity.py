"""signedIdentity: whether the name in a signature is the name of the image at hand."""

from __future__ import annotations

import re
from typing import Protocol

import msgspec

from trilby.image.errors import InvalidReference, PolicyRefused
from trilby.image.reference import Reference, parse

_PREFIX = re.compile(r"[A-Za-z0-9.:-]+(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")


class Identity(Protocol):
    """One of the ways to compare."""

    def matches(self, image: Reference | None, signed: str) -> bool:
        """Compare the image's name with the one in a signature.

        Raises PolicyRefused when the image has no name that could be compared.
        """
        ...


class MatchRepoDigestOrExact(msgspec.Struct, frozen=True):
    """The same tag; for an image named by digest the same repository (the digest is checked)."""

    def matches(self, image: Reference | None, signed: str) -> bool:
        return _same_or_digest(_known(image), signed)


class MatchExact(msgspec.Struct, frozen=True):
    """The very same name, with tag or digest."""

    def matches(self, image: Reference | None, signed: str) -> bool:
        return _same(_known(image), _parsed(signed))


class MatchRepository(msgspec.Struct, frozen=True):
    """The same repository, whatever the tag."""

    def matches(self, image: Reference | None, signed: str) -> bool:
        found = _parsed(signed)
        return found is not None and found.name == _known(image).name


class ExactReference(msgspec.Struct, frozen=True):
    """Always this name, whatever the image is called."""

    reference: Reference

    def matches(self, image: Reference | None, signed: str) -> bool:
        return _same(self.reference, _parsed(signed))


class ExactRepository(msgspec.Struct, frozen=True):
    """Always this repository, whatever the image is called."""

    repository: Reference

    def matches(self, image: Reference | None, signed: str) -> bool:
        found = _parsed(signed)
        return found is not None and found.name == self.repository.name


class RemapIdentity(msgspec.Struct, frozen=True):
    """The image's name with one prefix replaced by another, then MatchRepoDigestOrExact."""

    prefix: str
    signed_prefix: str

    def matches(self, image: Reference | None, signed: str) -> bool:
        known = _known(image)
        text = str(known)
        rest = text[len(self.prefix) :]
        if text.startswith(self.prefix) and rest[:1] in ("", "/", ":", "@"):
            try:
                known = parse(self.signed_prefix + rest)
            except InvalidReference as error:
                raise PolicyRefused(f"remapping identity {text}: {error.message}") from None
        return _same_or_digest(known, signed)


def is_prefix(text: str) -> bool:
    """Whether text can be a prefix of names: ``host[:port][/namespace]``."""
    return _PREFIX.fullmatch(text) is not None


def _known(image: Reference | None) -> Reference:
    if image is None:
        raise PolicyRefused("the image has no known Docker reference to compare signatures with")
    return image


def _parsed(signed: str) -> Reference | None:
    try:
        return parse(signed)
    except InvalidReference:
        return None


def _same(wanted: Reference, signed: Reference | None) -> bool:
    # No default tag here: a signature for a whole repository must not pass for :latest.
    if signed is None or signed.is_name_only or wanted.is_name_only:
        return False
    return str(signed) == str(wanted)


def _same_or_digest(wanted: Reference, text: str) -> bool:
    signed = _parsed(text)
    if signed is None or signed.is_name_only or wanted.is_name_only:
        return False
    if wanted.tag:
        return str(signed) == str(wanted)
    return signed.name == wanted.name

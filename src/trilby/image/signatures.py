"""Simple signing: OpenPGP signed statements about an image (containers-signature(5)).

A signature blob is an OpenPGP message that holds a small JSON document and a signature of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from trilby.image.errors import ConfigError, InvalidSignature
from trilby.image.signature_packets import open_message
from trilby.oci import codec
from trilby.oci.digest import Digest
from trilby.oci.errors import MalformedDocument

if TYPE_CHECKING:
    from pysequoia import Cert

    from trilby.oci.codec import JsonValue

SIGNATURE_TYPE = "atomic container signature"
# A blob that starts so is not OpenPGP but names its own format (sigstore's).
_OTHER_FORMAT = b"\0"
_ARMOR_START = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"


class Claim(msgspec.Struct, frozen=True):
    """What a verified signature says; ``fingerprint`` is the key's, ``timestamp`` Unix seconds."""

    manifest_digest: Digest
    docker_reference: str
    fingerprint: str = ""
    creator: str = ""
    timestamp: int | None = None


class _Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    digest: Digest = msgspec.field(name="docker-manifest-digest")


class _Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reference: str = msgspec.field(name="docker-reference")


class _Critical(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    image: _Image
    identity: _Identity


class _Optional(msgspec.Struct, frozen=True):
    creator: str = ""
    timestamp: int | float | None = None


class _Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    critical: _Critical
    optional: _Optional


def is_simple_signature(blob: bytes) -> bool:
    """Whether a stored signature blob is of this format (others are ignored by its policies)."""
    return not blob.startswith(_OTHER_FORMAT)


def verify_signature(signature: bytes, keys: Sequence[Cert]) -> Claim:
    """Check a signature blob against public keys; raises InvalidSignature.

    The claim still has to be compared with the image that it is said to be about.
    """
    from pysequoia import verify

    message = open_message(signature)
    try:
        verified = verify(bytes=message, store=lambda _wanted: list(keys))
    except Exception as error:  # The library raises its own plain exceptions for everything.
        raise InvalidSignature(f"the signature is not by a trusted key: {_said(error)}") from error
    content = verified.bytes
    signers = {str(valid.certificate).lower() for valid in verified.valid_sigs}
    if content is None or len(signers) != 1:
        raise InvalidSignature(f"the signature has {len(signers)} signers, not one")
    return msgspec.structs.replace(parse_payload(content), fingerprint=signers.pop())


def parse_payload(content: bytes) -> Claim:
    """Read the signed document, strictly; raises InvalidSignature."""
    try:
        plain: JsonValue = json.loads(content, object_pairs_hook=_no_duplicates)
        payload = codec.decode(_Payload, content, "signature") if plain is not None else None
    except MalformedDocument as error:
        raise InvalidSignature(error.message) from None
    except (ValueError, RecursionError) as error:
        raise InvalidSignature(f"the signed document is not acceptable: {error}") from None
    if payload is None:
        raise InvalidSignature("the signed document is null")
    critical, optional = payload.critical, payload.optional
    if critical.type != SIGNATURE_TYPE:
        raise InvalidSignature(f"the signature's type is {critical.type!r}, not an image's")
    timestamp = optional.timestamp
    if timestamp is not None and timestamp != int(timestamp):
        raise InvalidSignature(f"the signature's timestamp {timestamp} is not a whole number")
    return Claim(
        manifest_digest=critical.image.digest,
        docker_reference=critical.identity.reference,
        creator=optional.creator,
        timestamp=None if timestamp is None else int(timestamp),
    )


def make_payload(claim: Claim) -> bytes:
    """The document to sign for a claim (its fingerprint is not part of it)."""
    optional: dict[str, JsonValue] = {"creator": claim.creator}
    if claim.timestamp is not None:
        optional["timestamp"] = claim.timestamp
    critical: dict[str, JsonValue] = {
        "identity": {"docker-reference": claim.docker_reference},
        "image": {"docker-manifest-digest": str(claim.manifest_digest)},
        "type": SIGNATURE_TYPE,
    }
    return codec.encode({"critical": critical, "optional": optional})


def sign(claim: Claim, secret_key: bytes, passphrase: str | None = None) -> bytes:
    """A signature blob for a claim by an OpenPGP secret key; raises InvalidSignature."""
    from pysequoia import Tsk
    from pysequoia import sign as sign_message

    try:
        signer = Tsk.from_bytes(secret_key).signer(passphrase)
        return sign_message(signer, make_payload(claim), armor=False)
    except Exception as error:  # As in verify_signature().
        raise InvalidSignature(f"cannot sign: {_said(error)}") from error


def read_keys(data: bytes, source: str) -> list[Cert]:
    """All public keys of a keyring, binary or armored; ``source`` names it in ConfigError."""
    from pysequoia import Cert

    blocks = [data]
    if _ARMOR_START in data:
        # Keys are often simply written one after the other.
        blocks = [_ARMOR_START + part for part in data.split(_ARMOR_START)[1:]]
    try:
        keys = [key for block in blocks for key in Cert.split_bytes(block)]
    except Exception as error:  # As in verify_signature().
        raise ConfigError(f"{source}: cannot read public keys: {_said(error)}") from error
    if not keys:
        raise ConfigError(f"{source}: no public keys in it")
    return keys


def _said(error: Exception) -> str:
    """The library's reason in one line, without the stack of native functions that may follow."""
    return " ".join(str(error).partition("Stack backtrace:")[0].split())


def _no_duplicates(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found

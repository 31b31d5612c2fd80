"""JSON as the container world writes it: decoding into Structs, encoding as Go's encoder does."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

import msgspec

from trilby.oci.digest import Digest
from trilby.oci.errors import InvalidDigest, MalformedDocument

if TYPE_CHECKING:
    from collections.abc import Mapping

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
T = TypeVar("T")

# To Go, null is the zero value. A member of one of these maps that is null is there, but empty.
_ZERO_IN_MAP: Mapping[str, JsonValue] = {
    "Volumes": {},
    "ExposedPorts": {},
    "Labels": "",
    "annotations": "",
}


def _to_json(value: object) -> object:
    if isinstance(value, Digest):
        return str(value)
    raise NotImplementedError(f"cannot encode {type(value).__name__} as JSON")


def _from_json(wanted: type, value: object) -> object:
    if wanted is Digest and isinstance(value, str):
        try:
            return Digest(value)
        except InvalidDigest as error:
            raise ValueError(error.message) from None
    raise ValueError(f"Expected `{wanted.__name__}`, got `{type(value).__name__}`")


_encoder = msgspec.json.Encoder(enc_hook=_to_json, order="deterministic")
_plain_encoder = msgspec.json.Encoder(enc_hook=_to_json)


_decoders: dict[object, msgspec.json.Decoder[object]] = {}


def _decoder(wanted: type[T]) -> msgspec.json.Decoder[T]:
    # Making a decoder inspects the whole type, which costs more than decoding a document.
    decoder = _decoders.get(wanted)
    if decoder is None:
        decoder = msgspec.json.Decoder(wanted, dec_hook=_from_json)
        _decoders[wanted] = decoder
    return cast("msgspec.json.Decoder[T]", decoder)


def encode(value: object, *, sort_keys: bool = True) -> bytes:
    """Compact JSON: Struct fields in their order, map keys sorted, ``<>&`` escaped as Go does.

    ``sort_keys=False`` keeps the order of dict members (for documents that somebody else wrote).
    """
    data = (_encoder if sort_keys else _plain_encoder).encode(value)
    # These characters can only occur inside strings, so a plain replacement is right.
    for char, escape in ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026")):
        if char in data:
            data = data.replace(char, escape)
    for char, escape in ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029")):
        if char in data:
            data = data.replace(char, escape)
    return data


def encode_indented(value: object, indent: int = 4) -> bytes:
    """The same, for people: ``indent`` spaces per level, and a newline at the end."""
    return msgspec.json.format(encode(value), indent=indent) + b"\n"


def decode(wanted: type[T], data: bytes, what: str = "JSON document") -> T:
    """Decode ``data`` as ``wanted``; ``what`` names the document in errors.

    Unknown members are ignored and null counts as absent, as in Go. Raises MalformedDocument
    with the JSON path.
    """
    try:
        if b"null" in data:
            plain = _without_nulls(msgspec.json.decode(data), "")
            return msgspec.convert(plain, wanted, dec_hook=_from_json)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedDocument(f"{what}: {error}") from error
    except RecursionError:
        raise MalformedDocument(f"{what}: nested too deeply") from None
    return _decode_exactly(wanted, data, what)


def decode_any(data: bytes, what: str = "JSON document") -> JsonValue:
    """Decode any JSON, nulls kept; raises MalformedDocument."""
    try:
        value: JsonValue = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedDocument(f"{what}: {error}") from error
    except RecursionError:
        raise MalformedDocument(f"{what}: nested too deeply") from None
    return value


def decode_members(data: bytes, what: str = "JSON document") -> dict[str, msgspec.Raw]:
    """The members of a JSON object, each value as the bytes that stood there (nulls too)."""
    return _decode_exactly(dict[str, msgspec.Raw], data, what)


def decode_items(data: bytes, what: str = "JSON document") -> list[msgspec.Raw]:
    """The items of a JSON list, each as the bytes that stood there."""
    return _decode_exactly(list[msgspec.Raw], data, what)


def _decode_exactly(wanted: type[T], data: bytes, what: str) -> T:
    try:
        return _decoder(wanted).decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedDocument(f"{what}: {error}") from error
    except RecursionError:
        raise MalformedDocument(f"{what}: nested too deeply") from None


def _without_nulls(value: JsonValue, parent: str) -> JsonValue:
    if isinstance(value, dict):
        if parent in _ZERO_IN_MAP:
            zero = _ZERO_IN_MAP[parent]
            return {key: zero if item is None else item for key, item in value.items()}
        return {key: _without_nulls(item, key) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item, "") for item in value]
    return value

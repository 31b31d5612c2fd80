"""The outside of an OpenPGP signed message: opened here with limits, before anything trusts it.

A few kilobytes of compressed packets, and more so packets compressed several times over, can stand
for gigabytes, and a signature comes from whoever runs the server. So the one compression that
signing tools use is undone here, up to a limit, and what is inside must be a plain signed message
(RFC 9580, sections 4.2, 5.6 and 10.3).
"""

from __future__ import annotations

from collections.abc import Iterator

from trilby.image.errors import InvalidSignature

# Real ones have about one kilobyte.
BLOB_LIMIT = 256 << 10
MESSAGE_LIMIT = 1 << 20

_SIGNATURE, _ONE_PASS, _COMPRESSED, _LITERAL = 2, 4, 8, 11
_UNCOMPRESSED, _DEFLATE, _ZLIB = 0, 1, 2


def open_message(blob: bytes) -> bytes:
    """The packets of a signed message, not compressed; raises InvalidSignature."""
    if len(blob) > BLOB_LIMIT:
        raise InvalidSignature(f"the signature has more than {BLOB_LIMIT} bytes")
    packets = list(_packets(blob))
    if packets and packets[0][0] == _COMPRESSED:
        if len(packets) > 1:
            raise InvalidSignature("the signature has more than one OpenPGP message")
        blob = _decompress(packets[0][1])
        packets = list(_packets(blob))
    tags = [tag for tag, _ in packets]
    if tags.count(_LITERAL) != 1 or set(tags) - {_SIGNATURE, _ONE_PASS, _LITERAL}:
        raise InvalidSignature("the signature is not a plain signed OpenPGP message")
    return blob


def _decompress(body: bytes) -> bytes:
    import zlib

    kind, data = body[:1], body[1:]
    if kind == bytes([_UNCOMPRESSED]):
        return data
    if kind not in (bytes([_DEFLATE]), bytes([_ZLIB])):
        raise InvalidSignature(f"the signature has unsupported compression {kind.hex()}")
    stream = zlib.decompressobj(-15 if kind == bytes([_DEFLATE]) else 15)
    try:
        plain = stream.decompress(data, MESSAGE_LIMIT + 1)
    except zlib.error as error:
        raise InvalidSignature(f"the signature's compressed data is damaged: {error}") from None
    if len(plain) > MESSAGE_LIMIT:
        raise InvalidSignature(f"the signature stands for more than {MESSAGE_LIMIT} bytes")
    return plain


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and body of each packet; raises InvalidSignature where the framing is damaged."""
    position = 0
    while position < len(data):
        first = data[position]
        if not first & 0x80:
            raise InvalidSignature("the signature is not OpenPGP data")
        position += 1
        if first & 0x40:
            body, position = _new_body(data, position)
            yield first & 0x3F, body
        else:
            body, position = _old_body(data, position, first & 3)
            yield (first >> 2) & 0x0F, body


def _old_body(data: bytes, position: int, length_type: int) -> tuple[bytes, int]:
    if length_type == 3:
        # All the rest.
        return data[position:], len(data)
    size = 1 << length_type
    return _take(data, position + size, int.from_bytes(_take(data, position, size)[0], "big"))


def _new_body(data: bytes, position: int) -> tuple[bytes, int]:
    parts: list[bytes] = []
    while True:
        first = _take(data, position, 1)[0][0]
        position += 1
        more = 224 <= first < 255
        if more:
            length = 1 << (first & 0x1F)
        elif first < 192:
            length = first
        elif first < 224:
            second, position = _take(data, position, 1)
            length = ((first - 192) << 8) + second[0] + 192
        else:
            encoded, position = _take(data, position, 4)
            length = int.from_bytes(encoded, "big")
        part, position = _take(data, position, length)
        parts.append(part)
        if not more:
            return b"".join(parts), position


def _take(data: bytes, position: int, length: int) -> tuple[bytes, int]:
    end = position + length
    if end > len(data):
        raise InvalidSignature("the signature is cut short")
    return data[position:end], end

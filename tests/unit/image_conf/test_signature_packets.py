"""The framing of signatures, and bombs in it."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trilby.image.errors import InvalidSignature
from trilby.image.signature_packets import BLOB_LIMIT, MESSAGE_LIMIT, open_message

FRUGAL = settings(max_examples=60, deadline=None)


def new(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4, "big") + body


def old(tag: int, body: bytes) -> bytes:
    return bytes([0x80 | tag << 2 | 1]) + len(body).to_bytes(2, "big") + body


def partial(tag: int, body: bytes) -> bytes:
    """In parts of 512 bytes, as tools write that do not know the length."""
    head = bytes([0xC0 | tag])
    while len(body) > 512:
        head += bytes([224 + 9]) + body[:512]
        body = body[512:]
    return (
        head
        + (bytes([len(body)]) if len(body) < 192 else b"\xff\0\0" + len(body).to_bytes(2, "big"))
        + body
    )


def packed(data: bytes, *, raw: bool = False) -> bytes:
    """A compressed packet of indeterminate length."""
    stream = zlib.compressobj(9, wbits=-15 if raw else 15)
    return b"\xa3" + (b"\1" if raw else b"\2") + stream.compress(data) + stream.flush()


MESSAGE = old(4, b"one pass") + new(11, b"b\0\0\0\0\0{}") + old(2, b"signature")


@FRUGAL
@given(st.sampled_from([new, partial]), st.binary(max_size=1500))
def test_framings(frame: object, body: bytes) -> None:
    assert callable(frame)
    message = frame(4, b"x") + frame(11, body) + frame(2, b"y")
    for blob in (
        message,
        packed(message),
        packed(message, raw=True),
        b"\xc8" + new(8, b"\0" + message)[1:],
    ):
        assert open_message(blob) == message


@FRUGAL
@given(st.binary(max_size=40))
def test_any_bytes(blob: bytes) -> None:
    for text in (blob, b"\xa3\2" + blob, b"\xcb" + blob):
        try:
            open_message(text)
        except InvalidSignature:
            pass


@pytest.mark.parametrize(
    ("blob", "said"),
    [
        (b"", "not a plain signed"),
        (b"-----BEGIN PGP MESSAGE-----", "not OpenPGP"),
        (MESSAGE[:-1], "cut short"),
        (MESSAGE + MESSAGE, "not a plain signed"),
        (old(4, b"") + packed(MESSAGE), "not a plain signed"),
        (packed(packed(MESSAGE)), "not a plain signed"),
        (new(8, b"\0" + MESSAGE) + MESSAGE, "more than one"),
        (b"\xa3\3BZh9", "unsupported compression"),
        (b"\xa3", "unsupported compression"),
        (b"\xa3\2junk", "damaged"),
        (packed(b"\0" * (MESSAGE_LIMIT + 1)), "stands for more"),
        (packed(b"\0" * (64 << 20)), "stands for more"),
        (b"\x90" * (BLOB_LIMIT + 1), "more than"),
        (old(1, b"encrypted") + MESSAGE, "not a plain signed"),
    ],
)
def test_refused(blob: bytes, said: str) -> None:
    with pytest.raises(InvalidSignature, match=said):
        open_message(blob)

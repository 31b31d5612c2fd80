"""CRC-64/ISO against known values, and its two implementations against each other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trilby.system import crc64

# Catalogued check value of CRC-64/GO-ISO.
CHECK = 0xB90956C775A41001


def test_the_catalogued_check_value() -> None:
    assert crc64.update(0, b"123456789") == CHECK
    assert crc64.update_python(0, b"123456789") == CHECK


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_pieces_give_the_same_as_the_whole_in_both_implementations(pieces: list[bytes]) -> None:
    crc = 0
    for piece in pieces:
        crc = crc64.update(crc, piece)
    whole = b"".join(pieces)
    assert crc == crc64.update(0, whole) == crc64.update_python(0, whole)


def test_every_kind_of_buffer() -> None:
    data = bytearray(b"..123456789..")
    assert crc64.update(0, memoryview(data)[2:-2]) == CHECK
    assert crc64.update(0, memoryview(bytes(data))[2:-2]) == CHECK
    assert crc64.update(0, bytearray(b"123456789")) == CHECK
    assert crc64.update(7, memoryview(data)[2:2]) == 7
    assert crc64.update(7, b"") == 7

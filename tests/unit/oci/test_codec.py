"""JSON in and out: Go's habits, and errors that name document and path."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trilby.oci import codec
from trilby.oci.digest import Digest
from trilby.oci.errors import MalformedDocument

FRUGAL = settings(max_examples=40, deadline=None)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=15,
)


class Inner(msgspec.Struct, frozen=True):
    digest: Digest
    names: tuple[str, ...] = ()


class Outer(msgspec.Struct, frozen=True):
    inner: Inner
    labels: dict[str, str] = msgspec.field(name="Labels", default={})


@FRUGAL
@given(JSON)
def test_any_value_survives(value: object) -> None:
    data = codec.encode(value)
    assert json.loads(data) == value
    assert codec.decode_any(data) == value
    assert not set(b"<>&") & set(data)


@FRUGAL
@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_malformed(data: bytes) -> None:
    for read in (codec.decode_any, codec.decode_members, lambda d: codec.decode(Outer, d)):
        try:
            read(data)
        except MalformedDocument:
            pass


def test_as_go_writes_it() -> None:
    value = {"b": "<a href=\u2028>&\u2029", "a": 1}
    assert codec.encode(value) == (b'{"a":1,"b":"\\u003ca href=\\u2028\\u003e\\u0026\\u2029"}')
    assert codec.encode(value, sort_keys=False).startswith(b'{"b"')
    assert codec.encode_indented({"a": [1]}) == b'{\n    "a": [\n        1\n    ]\n}\n'


def test_digests_are_strings() -> None:
    inner = Inner(Digest.of(b"x"))
    data = codec.encode(inner)
    assert codec.decode(Inner, data) == inner
    assert json.loads(data)["digest"] == str(inner.digest)


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b'{"inner":{"digest":"sha256:zz"}}', "$.inner.digest"),
        (b'{"inner":{"digest":7}}', "$.inner.digest"),
        (b'{"inner":null}', "inner"),
        (b'{"inner":{"digest":"%s","names":[null]}}' % str(Digest.of(b"")).encode(), "names[0]"),
        (b'{"inner":', "truncated"),
    ],
)
def test_errors_name_document_and_path(data: bytes, path: str) -> None:
    with pytest.raises(MalformedDocument, match="the thing: ") as caught:
        codec.decode(Outer, data, "the thing")
    assert path in caught.value.message


def test_null_is_absent() -> None:
    digest = str(Digest.of(b""))
    text = '{"inner":{"digest":"%s","names":null},"Labels":{"a":null},"other":null}'
    outer = codec.decode(Outer, (text % digest).encode())
    assert outer.inner.names == ()
    assert outer.labels == {"a": ""}


def test_unencodable() -> None:
    with pytest.raises(NotImplementedError, match="object"):
        codec.encode(object())

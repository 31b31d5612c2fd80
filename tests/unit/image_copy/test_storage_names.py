"""Names, ids and metadata in the store, as containers/image has them."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.image.errors import InvalidReference
from trilby.image.reference import Reference
from trilby.image.transports.names import (
    StorageName,
    image_id,
    layer_ids,
    local_name,
    parse_storage_name,
    read_sizes,
    signature_metadata,
    split_signatures,
    stored_name,
)
from trilby.oci.digest import Digest

ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("busybox", StorageName(reference=Reference.parse("docker.io/library/busybox:latest"))),
        (f"@{ID}", StorageName(image_id=ID)),
        (ID, StorageName(image_id=ID)),
        ("@0123", StorageName(image_id="0123")),
        (f"a.b/c:1@{ID}", StorageName(reference=Reference.parse("a.b/c:1"), image_id=ID)),
        (
            "[overlay@/graph+/run:a=b,c=d]a.b/c",
            StorageName(
                "overlay", "/graph", "/run", ("a=b", "c=d"), Reference.parse("a.b/c:latest")
            ),
        ),
        ("[/graph]@0123", StorageName(graphroot="/graph", image_id="0123")),
        (
            f"a.b/c@sha256:{ID}",
            StorageName(reference=Reference.parse(f"a.b/c@sha256:{ID}")),
        ),
    ],
)
def test_references(text: str, expected: StorageName) -> None:
    assert parse_storage_name(text) == expected
    assert expected.located == text.startswith("[")


@pytest.mark.parametrize("text", ["", "[/graph", "[graph]x", "[/graph]", "UPPER", "a b", "[]x"])
def test_malformed_references(text: str) -> None:
    with pytest.raises(InvalidReference):
        parse_storage_name(text)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_storage_name(text)
    except InvalidReference:
        pass


def test_layer_ids_are_a_chain() -> None:
    one, two = (Digest.of(bytes([number])) for number in range(2))
    first = one.encoded
    second = hashlib.sha256(f"{first}+{two.encoded}".encode()).hexdigest()
    third = hashlib.sha256(f"{second}+{two.encoded}".encode()).hexdigest()
    assert layer_ids([one, two, two]) == [first, second, third]
    assert len(layer_ids([Digest.of(b"", "sha512")])[0]) == 64


def test_image_ids() -> None:
    assert image_id(Digest.of(b"config"), b"config") == Digest.of(b"config").encoded
    assert image_id(Digest.of(b"config", "sha512"), b"config") == Digest.of(b"config").encoded


def test_stored_names() -> None:
    digest = Digest.of(b"")
    assert stored_name(Reference.parse("busybox")) == "docker.io/library/busybox:latest"
    assert stored_name(Reference.parse(f"a.b/c:1@{digest}")) == f"a.b/c@{digest}"
    assert stored_name(local_name("x/y")) == "localhost/x/y:latest"
    assert stored_name(local_name("a.b/x:2")) == "a.b/x:2"


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_signatures_are_split_where_they_were_joined(signatures: list[bytes]) -> None:
    lengths = [len(signature) for signature in signatures]
    assert split_signatures(b"".join(signatures), lengths) == signatures
    assert split_signatures(b"".join(signatures) + b"x", lengths) == []


def test_metadata_keeps_other_manifests_signatures() -> None:
    one, two = Digest.of(b"1"), Digest.of(b"2")
    metadata = signature_metadata(read_sizes(""), one, [b"abc"])
    assert metadata == f'{{"signature-sizes":[3],"signatures-sizes":{{"{one}":[3]}}}}'
    metadata = signature_metadata(read_sizes(metadata), two, [b"d", b"ef"])
    sizes = read_sizes(metadata)
    assert sizes.signature_sizes == (1, 2)
    assert sizes.signatures_sizes == {str(one): (3,), str(two): (1, 2)}
    assert signature_metadata(read_sizes(metadata), one, []) == metadata
    assert read_sizes("no json") == read_sizes("{}")

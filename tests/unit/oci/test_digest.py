"""Digests: what is one, what is not, and that they behave as values."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trilby.oci.digest
from trilby.oci.digest import ALGORITHMS, Digest, hasher
from trilby.oci.errors import InvalidDigest

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.binary(max_size=200), st.sampled_from(sorted(ALGORITHMS)))
def test_of_parses_again_and_matches(data: bytes, algorithm: str) -> None:
    digest = Digest.of(data, algorithm)
    assert digest == Digest.parse(str(digest))
    assert digest.algorithm == algorithm
    assert digest.encoded == hashlib.new(algorithm, data).hexdigest()
    assert digest.matches(data) and not digest.matches(data + b"x")


@given(st.text(max_size=80))
def test_text_is_a_digest_or_a_clear_error(text: str) -> None:
    try:
        assert str(Digest(text)) == text
    except InvalidDigest as error:
        assert repr(text) in error.message


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        EMPTY.upper(),
        EMPTY.replace("sha256:e3", "sha256:E3"),
        EMPTY[:-1],
        EMPTY + "0",
        EMPTY + "\n",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha512:" + EMPTY.partition(":")[2],
        "sha256:../../../../etc/passwd".ljust(71, "a"),
        EMPTY.replace("e3", "\u0661\u0662"),
    ],
)
def test_not_a_digest(text: str) -> None:
    with pytest.raises(InvalidDigest):
        Digest(text)


def test_is_a_value() -> None:
    first, second = Digest(EMPTY), Digest.of(b"")
    assert first == second and hash(first) == hash(second) and len({first, second}) == 1
    assert first != EMPTY
    assert pickle.loads(pickle.dumps(first)) == first
    assert sorted([Digest.of(b"1"), first]) == [Digest.of(b"1"), first]
    with pytest.raises(AttributeError):
        first.algorithm = "sha512"  # type: ignore[misc]  # that it fails is the test
    with pytest.raises(AttributeError):
        setattr(first, "_value", "x")  # noqa: B010


def test_from_hasher() -> None:
    state = hasher("sha384")
    state.update(b"a")
    state.update(memoryview(b"b"))
    assert Digest.from_hasher(state) == Digest.of(b"ab", "sha384")


def test_unknown_algorithm() -> None:
    with pytest.raises(InvalidDigest):
        hasher("md5")


def test_imports_nothing_heavy() -> None:
    heavy = "{'hashlib', 'ssl', 'asyncio', 'subprocess', 'dataclasses', 'logging', 'json', 'yaml'}"
    modules = "digest codec media descriptor platform manifest image runtime convert".split()
    code = "import sys; before = set(sys.modules); import msgspec; base = set(sys.modules)\n"
    code += "".join(f"import trilby.oci.{name}\n" for name in modules)
    code += f"import trilby.image.reference\nassert not ({heavy} & (set(sys.modules) - base))"
    source = str(Path(trilby.oci.digest.__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": source})

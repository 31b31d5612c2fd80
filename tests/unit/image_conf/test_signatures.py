"""Simple signing: our own signatures verify, and everything else does not."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pysequoia
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trilby.image.errors import ConfigError, InvalidSignature, PolicyRefused
from trilby.image.policy import SignedImage, load_policy
from trilby.image.reference import parse
from trilby.image.signatures import (
    Claim,
    is_simple_signature,
    make_payload,
    parse_payload,
    read_keys,
    sign,
    verify_signature,
)
from trilby.oci.digest import Digest

MANIFEST = b'{"schemaVersion":2}'
CLAIM = Claim(Digest.of(MANIFEST), "q.io/x:1", creator="test", timestamp=1_700_000_000)


class Key:
    """A fresh key pair."""

    def __init__(self) -> None:
        self._key = pysequoia.Tsk.generate("Test <test@example.com>")
        self.public = self._key.extract_certificate()
        self.secret = bytes(self._key)


@pytest.fixture(scope="module")
def key() -> Key:
    return Key()


@pytest.fixture(scope="module")
def other() -> Key:
    return Key()


def test_sign_and_verify(key: Key, other: Key) -> None:
    blob = sign(CLAIM, key.secret)
    assert is_simple_signature(blob)
    found = verify_signature(blob, [other.public, key.public])
    assert found.fingerprint == key.public.fingerprint
    assert (found.manifest_digest, found.docker_reference) == (Digest.of(MANIFEST), "q.io/x:1")
    assert (found.creator, found.timestamp) == ("test", 1_700_000_000)


def test_only_by_trusted_keys(key: Key, other: Key) -> None:
    blob = sign(CLAIM, key.secret)
    for keys in ([], [other.public]):
        with pytest.raises(InvalidSignature, match="trusted key"):
            verify_signature(blob, keys)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte(key: Key, position: int, change: int) -> None:
    blob = bytearray(sign(CLAIM, key.secret))
    blob[position % len(blob)] ^= change
    try:
        found = verify_signature(bytes(blob), [key.public])
    except InvalidSignature as error:
        assert "backtrace" not in error.message
        return
    # Bits that nobody signs (lengths' encoding, key hints) may differ; the statement may not.
    assert found.manifest_digest == CLAIM.manifest_digest
    assert found.docker_reference == CLAIM.docker_reference


@given(st.binary(max_size=40))
@settings(max_examples=40, deadline=None)
def test_any_bytes(key: Key, blob: bytes) -> None:
    with pytest.raises(InvalidSignature):
        verify_signature(blob, [key.public])


def changed(**members: object) -> bytes:
    document = json.loads(make_payload(CLAIM))
    for path, value in members.items():
        place = document
        *parents, last = path.split("__")
        for name in parents:
            place = place[name.replace("_", "-")]
        place[last.replace("_", "-")] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        changed(extra=1),
        changed(critical__extra=1),
        changed(critical__image__extra=1),
        changed(critical__type="cosign container image signature"),
        changed(critical__image__docker_manifest_digest="sha256:1"),
        changed(critical__identity={}),
        changed(optional__timestamp=1.5),
        changed(optional__timestamp="now"),
        changed(optional__creator=5),
        make_payload(CLAIM).replace(b'{"critical"', b'{"critical":{},"critical"'),
        make_payload(CLAIM).replace(b'"type"', b'"type":"x","type"'),
    ],
)
def test_strict_payload(payload: bytes) -> None:
    with pytest.raises(InvalidSignature):
        parse_payload(payload)


def test_lenient_where_the_format_is() -> None:
    found = parse_payload(changed(optional__other=[1], optional__timestamp=1e9))
    assert found.timestamp == 1_000_000_000
    assert parse_payload(changed(optional={})).creator == ""


def test_keyrings(key: Key, other: Key) -> None:
    armored = f"noise\n{key.public}\n\n{other.public}\n".encode()
    binary = bytes(key.public) + bytes(other.public)
    wanted = {key.public.fingerprint, other.public.fingerprint}
    for data in (armored, binary):
        assert {found.fingerprint for found in read_keys(data, "x")} == wanted
    for data in (b"", b"garbage", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nx"):
        with pytest.raises(ConfigError, match=r"^/keys: "):
            read_keys(data, "/keys")


def test_signed_by(tmp_path: Path, key: Key, other: Key) -> None:
    ring = tmp_path / "keys.gpg"
    ring.write_bytes(bytes(other.public))
    path = tmp_path / "policy.json"
    good = sign(CLAIM, key.secret)

    manifest = [MANIFEST]

    def check(signatures: list[bytes], **keys: object) -> str:
        requirement = {"type": "signedBy", "keyType": "GPGKeys", **keys}
        path.write_text(json.dumps({"default": [requirement]}))
        image = SignedImage("image", parse("q.io/x:1"), manifest[0], tuple(signatures))
        try:
            load_policy(path).check("docker", "q.io/x:1", image)
        except PolicyRefused as error:
            return error.message
        return ""

    data = {"keyData": base64.b64encode(bytes(key.public)).decode()}
    assert check([good], **data) == ""
    assert check([b"\0sigstore-json\n{}", b"junk", good], **data) == ""
    assert "no signature exists" in check([], **data)
    assert "no signature exists" in check([b"\0sigstore-json\n{}"], **data)
    manifest[0] = b"{}"
    assert "but the image's is" in check([good], **data)
    manifest[0] = MANIFEST
    assert "trusted key" in check([good], keyPath=str(ring))
    assert "none of the signatures" in check([b"junk", b"junk"], **data)
    second = tmp_path / "second.gpg"
    second.write_bytes(str(key.public).encode())
    assert check([good], keyPaths=[str(ring), str(second)]) == ""
    foreign = sign(Claim(CLAIM.manifest_digest, "q.io/y:1"), key.secret)
    assert "identity q.io/y:1 is not accepted" in check([foreign], **data)
    with pytest.raises(ConfigError, match="cannot read key"):
        check([good], keyPath=str(tmp_path / "missing"))

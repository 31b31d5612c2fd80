"""The same signatures and policies, judged by skopeo and by us."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.dirimage import write_dir_image
from tests.support.gpg import Gpg

from trilby.image.errors import ConfigError, InvalidSignature, PolicyRefused
from trilby.image.policy import SignedImage, load_policy
from trilby.image.reference import parse
from trilby.image.signatures import Claim, read_keys, sign, verify_signature
from trilby.oci import codec
from trilby.oci.digest import Digest

pytestmark = pytest.mark.skipif(
    not (shutil.which("skopeo") and shutil.which("gpg")), reason="needs skopeo and gpg"
)
NAME = "registry.example/team/app:1"
SIGNED = {"type": "signedBy", "keyType": "GPGKeys"}
EXACT = {"type": "exactReference", "dockerReference": NAME}
ACCEPT, REJECT = {"type": "insecureAcceptAnything"}, {"type": "reject"}


def skopeo(env: dict[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["skopeo", *map(str, arguments)], env=env, capture_output=True, text=True, check=False
    )


def standalone(gpg: Gpg, folder: Path, name: str = NAME) -> bytes:
    (folder / "m.json").write_bytes(b'{"schemaVersion":2}')
    command = ("standalone-sign", folder / "m.json", name, gpg.fingerprint)
    done = skopeo(gpg.env, *command, "--output", folder / "sig")
    assert done.returncode == 0, done.stderr
    return (folder / "sig").read_bytes()


def test_their_signature(gpg: Gpg, tmp_path: Path) -> None:
    blob = standalone(gpg, tmp_path)
    claim = verify_signature(blob, read_keys(gpg.public, "keys"))
    assert claim.docker_reference == NAME
    assert claim.manifest_digest == Digest.of(b'{"schemaVersion":2}')
    assert claim.fingerprint == gpg.fingerprint.lower()
    assert claim.creator and claim.timestamp
    with pytest.raises(InvalidSignature):
        verify_signature(blob[:-5], read_keys(gpg.public, "keys"))


def test_our_signature(gpg: Gpg, tmp_path: Path) -> None:
    standalone(gpg, tmp_path)
    digest = Digest.of((tmp_path / "m.json").read_bytes())
    (tmp_path / "ours").write_bytes(sign(Claim(digest, NAME, timestamp=1), gpg.secret))
    verify = ("standalone-verify", tmp_path / "m.json", NAME, gpg.fingerprint, tmp_path / "ours")
    done = skopeo(gpg.env, *verify)
    assert done.returncode == 0 and str(digest) in done.stdout, done.stderr


def policies(folder: Path, key: str) -> dict[str, object]:
    image = str(folder / "image")
    signed = {**SIGNED, "keyPath": key, "signedIdentity": EXACT}
    other = {"type": "exactReference", "dockerReference": "registry.example/team/app:2"}
    repository = {"type": "exactRepository", "dockerRepository": "registry.example/team/app"}

    def scoped(**scopes: object) -> dict[str, object]:
        named = {image if name == "own" else str(folder): value for name, value in scopes.items()}
        return {"default": [REJECT], "transports": {"dir": named}}

    return {
        "accept": {"default": [ACCEPT]},
        "reject": {"default": [REJECT]},
        "both": {"default": [ACCEPT, REJECT]},
        "own scope": scoped(own=[ACCEPT]),
        "parent": scoped(parent=[ACCEPT]),
        "own scope wins": scoped(own=[REJECT], parent=[ACCEPT]),
        "transport default": {"default": [REJECT], "transports": {"dir": {"": [ACCEPT]}}},
        "other transport": {"default": [REJECT], "transports": {"docker": {"": [ACCEPT]}}},
        "sibling": {"default": [REJECT], "transports": {"dir": {image + "x": [ACCEPT]}}},
        "signed": scoped(own=[signed]),
        "signed and accepted": scoped(own=[ACCEPT, signed]),
        "signed repository": scoped(own=[{**signed, "signedIdentity": repository}]),
        "signed for another": scoped(own=[{**signed, "signedIdentity": other}]),
        "no reference to compare": scoped(own=[{**SIGNED, "keyPath": key}]),
        "base layer": scoped(own=[{"type": "signedBaseLayer", "baseLayerIdentity": EXACT}]),
    }


@pytest.mark.parametrize("signatures", ["none", "good", "foreign manifest", "junk and good"])
def test_same_decisions(gpg: Gpg, tmp_path: Path, signatures: str) -> None:
    key = tmp_path / "key.gpg"
    key.write_bytes(gpg.public)
    raw = write_dir_image(tmp_path / "probe", []).raw
    good = sign(Claim(Digest.of(raw), NAME, timestamp=1), gpg.secret)
    blobs = {
        "none": [],
        "good": [good],
        "foreign manifest": [sign(Claim(Digest.of(b""), NAME), gpg.secret)],
        "junk and good": [b"\x90junk", good],
    }[signatures]
    image = write_dir_image(tmp_path / "image", blobs)
    theirs, ours = {}, {}
    for number, (name, policy) in enumerate(policies(tmp_path, str(key)).items()):
        path = tmp_path / "policy.json"
        path.write_text(json.dumps(policy))
        copied = skopeo(
            gpg.env,
            "--policy",
            path,
            "copy",
            f"dir:{tmp_path}/image",
            f"dir:{tmp_path}/copy-{number}",
        )
        theirs[name] = copied.returncode == 0
        assert theirs[name] or "Source image rejected" in copied.stderr, copied.stderr
        scope = str(tmp_path / "image")
        subject = SignedImage(f"dir:{scope}", None, image.raw, tuple(blobs))
        try:
            load_policy(path).check("dir", scope, subject)
            ours[name] = True
        except PolicyRefused:
            ours[name] = False
    assert ours == theirs
    assert any(theirs.values()) and not all(theirs.values())


MALFORMED = [
    {},
    {"default": []},
    {"default": [ACCEPT], "extra": 1},
    {"default": [{"type": "nonsense"}]},
    {"default": [{**ACCEPT, "extra": 1}]},
    {"default": [{**SIGNED}]},
    {"default": [{**SIGNED, "keyPath": "/a", "keyData": "eA=="}]},
    {"default": [{**SIGNED, "keyPath": "/a", "keyType": "x"}]},
    {"default": [{**SIGNED, "keyPath": "/a", "signedIdentity": {"type": "x"}}]},
    {"default": [{**SIGNED, "keyPath": "/a", "signedIdentity": {**EXACT, "x": 1}}]},
    {"default": [ACCEPT], "transports": {"dir": {"relative": [ACCEPT]}}},
    {"default": [ACCEPT], "transports": {"dir": {"/": [ACCEPT]}}},
    {"default": [ACCEPT], "transports": {"docker-archive": {"/x": [ACCEPT]}}},
    {"default": [ACCEPT], "transports": {"docker": {"a": []}}},
]


@pytest.mark.parametrize("policy", MALFORMED, ids=json.dumps)
def test_same_files_are_wrong(gpg: Gpg, tmp_path: Path, policy: object) -> None:
    write_dir_image(tmp_path / "image", [])
    path = tmp_path / "policy.json"
    path.write_bytes(codec.encode(policy))
    done = skopeo(
        gpg.env, "--policy", path, "copy", f"dir:{tmp_path}/image", f"dir:{tmp_path}/copy"
    )
    assert done.returncode != 0 and "rejected" not in done.stderr, done.stderr
    with pytest.raises(ConfigError):
        load_policy(path).check("dir", str(tmp_path), SignedImage("x", parse(NAME), b"{}"))

"""policy.json: strict reading, scopes, identities, decisions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trilby.image.errors import ConfigError, PolicyRefused
from trilby.image.policy import Policy, SignedImage, accept_anything, load_policy
from trilby.image.policy_identity import (
    ExactReference,
    ExactRepository,
    Identity,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    RemapIdentity,
)
from trilby.image.policy_scopes import scopes_of
from trilby.image.reference import parse

ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]
DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32


def load(tmp_path: Path, document: object) -> Policy:
    path = tmp_path / "policy.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return load_policy(path)


def accepts(policy: Policy, transport: str, scope: str) -> bool:
    try:
        policy.check(transport, scope, SignedImage(f"{transport}:{scope}", None, b"{}"))
    except PolicyRefused as error:
        assert "Source image rejected: " in error.message
        return False
    return True


@pytest.mark.parametrize(
    ("transport", "scope", "wanted"),
    [
        (
            "docker",
            "q.a.io:5000/n/r:t",
            "q.a.io:5000/n/r:t q.a.io:5000/n/r q.a.io:5000/n q.a.io:5000 *.a.io *.io",
        ),
        ("docker", "busybox", "busybox docker.io/library/busybox docker.io/library docker.io *.io"),
        ("docker", "localhost/x:1", "localhost/x:1 localhost/x localhost"),
        ("docker", "", ""),
        ("docker", "!", "!"),
        ("dir", "/a/b/c", "/a/b/c /a/b /a"),
        ("oci", "/a/b:ref", "/a/b:ref /a/b /a"),
        ("oci-archive", "/a/b.tar", "/a/b.tar /a"),
        ("docker-archive", "/x.tar", ""),
        (
            "containers-storage",
            "[overlay@/g]q.io/x:1@" + "a" * 64,
            "[overlay@/g]q.io/x:1@"
            + "a" * 64
            + " [overlay@/g]q.io/x:1 [overlay@/g]q.io/x [overlay@/g]q.io [overlay@/g] [/g]",
        ),
        (
            "containers-storage",
            "[o@/g]q.io/x:1",
            "[o@/g]q.io/x:1 [o@/g]q.io/x [o@/g]q.io [o@/g] [/g]",
        ),
        ("containers-storage", "[o@/g]@" + "a" * 64, "[o@/g]@" + "a" * 64 + " [o@/g] [/g]"),
    ],
)
def test_scopes(transport: str, scope: str, wanted: str) -> None:
    assert list(scopes_of(transport, scope)) == wanted.split()


def test_the_most_specific_scope_decides_alone(tmp_path: Path) -> None:
    scopes = {
        "": REJECT,
        "a.io": ACCEPT,
        "a.io/n": REJECT,
        "a.io/n/r": ACCEPT,
        "a.io/n/r:bad": REJECT,
        f"a.io/n/r@{DIGEST}": REJECT,
        "*.b.io": ACCEPT,
        "x.b.io": REJECT,
        "a.io:5000": REJECT,
    }
    policy = load(tmp_path, {"default": ACCEPT, "transports": {"docker": scopes}})
    wanted = {
        "c.io/x:1": False,
        "a.io/x:1": True,
        "a.io.evil/x:1": False,
        "a.io/n/x:1": False,
        "a.io/nn/x:1": True,
        "a.io/n/r:1": True,
        "a.io/n/r:bad": False,
        f"a.io/n/r@{DIGEST}": False,
        f"a.io/n/r@{OTHER}": True,
        "b.io/x:1": False,
        "y.b.io/x:1": True,
        "y.b.io:99/x:1": True,
        "x.b.io/x:1": False,
        "a.io:5000/x:1": False,
    }
    assert {name: accepts(policy, "docker", name) for name in wanted} == wanted
    # Another transport has the default; every requirement of a list must be met.
    assert accepts(policy, "dir", "/x")
    assert not accepts(load(tmp_path, {"default": [*ACCEPT, *REJECT]}), "dir", "/x")
    assert accepts(accept_anything(), "docker", "a.io/x")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=4), st.integers(0, 3))
def test_paths_inherit_from_their_parents(names: list[str], depth: int) -> None:
    path = "/" + "/".join(names)
    parent = "/" + "/".join(names[: depth + 1])
    assert parent in list(scopes_of("dir", path))


def test_which_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trilby.image.policy_load.SYSTEM_FILE", str(tmp_path / "etc.json"))
    monkeypatch.setattr("trilby.image.policy_load.VENDOR_FILE", str(tmp_path / "usr.json"))
    env = {"HOME": str(tmp_path)}
    with pytest.raises(ConfigError, match=r"no policy.json file found"):
        load_policy(env=env)
    (tmp_path / "usr.json").write_text(json.dumps({"default": REJECT}))
    assert load_policy(env=env).path.endswith("usr.json")
    (tmp_path / "etc.json").write_text(json.dumps({"default": REJECT}))
    assert load_policy(env=env).path.endswith("etc.json")
    own = tmp_path / ".config/containers/policy.json"
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps({"default": ACCEPT}))
    assert load_policy(env=env).path == str(own)
    with pytest.raises(ConfigError, match="missing.json"):
        load_policy(tmp_path / "missing.json")


FEDORA = {
    "default": ACCEPT,
    "transports": {
        "docker": {
            "registry.access.redhat.com": [
                {"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["/a", "/b"]}
            ]
        },
        "docker-daemon": {"": ACCEPT},
        "unknown-transport": {"anything": REJECT},
        "oci": {"/a/b:ref": REJECT},
    },
}
COSIGN = {
    "type": "sigstoreSigned",
    "fulcio": {"caPath": "/ca", "oidcIssuer": "https://i", "subjectEmail": "a@b"},
    "rekorPublicKeyPath": "/r",
    "signedIdentity": {"type": "matchRepository"},
}


def test_shapes_in_the_wild(tmp_path: Path) -> None:
    policy = load(tmp_path, FEDORA)
    assert policy.needs_signatures("docker", "registry.access.redhat.com/ubi9:1")
    assert not policy.needs_signatures("docker", "q.io/x:1")
    assert not accepts(policy, "docker", "registry.access.redhat.com/ubi9:1")


@pytest.mark.parametrize(
    "requirement",
    [
        COSIGN,
        {"type": "sigstoreSigned", "keyPaths": ["/a"], "rekorPublicKeyDatas": ["eA=="]},
        {"type": "sigstoreSigned", "pki": {"caRootsPath": "/a", "subjectHostname": "h"}},
        {"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchExact"}},
        {"type": "signedBy", "keyType": "signedByX509CAs", "keyData": "eA=="},
    ],
)
def test_known_but_not_supported_refuses(tmp_path: Path, requirement: object) -> None:
    policy = load(tmp_path, {"default": [requirement]})
    with pytest.raises(PolicyRefused, match=r"policy.json:1\) is not supported yet"):
        policy.check("docker", "q.io/x:1", SignedImage("docker://q.io/x:1", None, b"{}"))


def signed_by(**more: object) -> str:
    return json.dumps({"default": [{"type": "signedBy", "keyType": "GPGKeys", **more}]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "policy.json:1:"),
        ("[]", "must be a JSON object"),
        ('{\n"default": [{"type": "reject"}],\n"defaults": []}', ":3: unknown key 'defaults'"),
        ('{"default":\n[{"type": "reject"}], /* no */ }', ":2:"),
        ('{"default": [{"type": "reject"}],\n"default": []}', ":2: duplicate key 'default'"),
        (
            '{"default": [{"type": "reject"}], "transports": {"docker": {"a": [{"type":"reject"}],'
            '\n"a": [{"type":"reject"}]}}}',
            ":2: duplicate key 'a'",
        ),
        ("{}", "'default' needs"),
        ('{"default": []}', "at least one requirement"),
        ('{"default": ["reject"]}', "must be a table"),
        ('{"default": [{}]}', "unknown policy requirement type ''"),
        ('{"default": [{"type":\n"sometimes"}]}', ":1: unknown policy requirement type"),
        ('{"default": [{"type": "reject",\n"x": 1}]}', ":2: unknown key"),
        ('{"default": [{"type": "reject"}], "transports": {"dir": {"x": []}}}', "absolute path"),
        ('{"default": [{"type": "reject"}], "transports": {"dir": {"/": []}}}', 'default scope ""'),
        ('{"default": [{"type": "reject"}], "transports": {"oci": {"/a/../b": []}}}', "'/b'"),
        (
            '{"default": [{"type": "reject"}], "transports": {"docker-archive": {"/a": []}}}',
            "no sc",
        ),
        (signed_by(), "exactly one of"),
        (signed_by(keyPath="/a", keyData="eA=="), "exactly one of"),
        (signed_by(keyPath=""), "must name a file"),
        (signed_by(keyPaths=[]), "must name a file"),
        (signed_by(keyPaths="/a"), "list of strings"),
        (signed_by(keyData="%"), "must be base64"),
        (signed_by(keyData=""), "must be base64"),
        (signed_by(keyPath="/a", keyType="magic"), "invalid keyType"),
        (signed_by(keyPath="/a", signedIdentity={"type": "any"}), "unknown type of signedIdentity"),
        (signed_by(keyPath="/a", signedIdentity={"type": "matchExact", "x": 1}), "unknown key"),
        (
            signed_by(
                keyPath="/a", signedIdentity={"type": "exactReference", "dockerReference": "q.io/x"}
            ),
            "needs a tag or a digest",
        ),
        (signed_by(keyPath="/a", signedIdentity={"type": "exactRepository"}), "dockerRepository"),
        (
            signed_by(
                keyPath="/a",
                signedIdentity={"type": "remapIdentity", "prefix": "a", "signedPrefix": "/"},
            ),
            "signedPrefix must be like",
        ),
        ('{"default": [{"type": "sigstoreSigned"}]}', "exactly one of keyPath"),
        ('{"default": [{"type": "sigstoreSigned", "fulcio": {}}]}', "rekorPublicKey"),
        (
            '{"default": [{"type": "sigstoreSigned", "pki": {}, "rekorPublicKeyPath": "/a"}]}',
            "cannot be used with pki",
        ),
        ('{"default": [{"type": "sigstoreSigned", "keyDatas": []}]}', "must not be empty"),
    ],
)
def test_errors_say_where(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/policy.json:")


TAGGED, BY_DIGEST = "q.io/n/r:1", f"q.io/n/r@{DIGEST}"


@pytest.mark.parametrize(
    ("identity", "image", "signed", "wanted"),
    [
        (MatchRepoDigestOrExact(), TAGGED, TAGGED, True),
        (MatchRepoDigestOrExact(), TAGGED, "q.io/n/r:2", False),
        (MatchRepoDigestOrExact(), TAGGED, "q.io/n/r", False),
        (MatchRepoDigestOrExact(), BY_DIGEST, TAGGED, True),
        (MatchRepoDigestOrExact(), BY_DIGEST, "q.io/n/s:1", False),
        (MatchRepoDigestOrExact(), BY_DIGEST, "q.io/n/r", False),
        (MatchRepoDigestOrExact(), "busybox:1", "docker.io/library/busybox:1", True),
        (MatchRepoDigestOrExact(), TAGGED, "UPPER:1", False),
        (MatchExact(), TAGGED, TAGGED, True),
        (MatchExact(), BY_DIGEST, TAGGED, False),
        (MatchExact(), BY_DIGEST, BY_DIGEST, True),
        (MatchExact(), "q.io/n/r", "q.io/n/r", False),
        (MatchRepository(), TAGGED, "q.io/n/r", True),
        (MatchRepository(), TAGGED, "q.io/n/r:9", True),
        (MatchRepository(), TAGGED, "q.io/n/rr:1", False),
        (ExactReference(parse("a.io/x:1")), TAGGED, "a.io/x:1", True),
        (ExactReference(parse("a.io/x:1")), TAGGED, TAGGED, False),
        (ExactRepository(parse("a.io/x")), TAGGED, "a.io/x:7", True),
        (ExactRepository(parse("a.io/x")), TAGGED, TAGGED, False),
        (RemapIdentity("q.io/n", "up.io"), TAGGED, "up.io/r:1", True),
        (RemapIdentity("q.io/n", "up.io"), TAGGED, TAGGED, False),
        (RemapIdentity("q.io/n", "up.io"), "q.io/nn/r:1", "up.io/nn/r:1", False),
        (RemapIdentity("q.io", "up.io/x"), TAGGED, "up.io/x/n/r:1", True),
        (RemapIdentity("q.io", "up.io"), BY_DIGEST, "up.io/n/r:5", True),
    ],
)
def test_identities(identity: Identity, image: str, signed: str, wanted: bool) -> None:
    assert identity.matches(parse(image), signed) is wanted


def test_identity_of_an_image_without_a_name() -> None:
    for identity in (MatchRepoDigestOrExact(), MatchExact(), MatchRepository()):
        with pytest.raises(PolicyRefused):
            identity.matches(None, TAGGED)
    assert ExactRepository(parse("q.io/n/r")).matches(None, TAGGED)

"""Signatures by GnuPG and Sequoia, and packages that are not what was signed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from trilby.rpm.build import Built, build_in_tree
from trilby.rpm.build_root import BuildRoot
from trilby.rpm.errors import KeyNotFound, NotVerified, RpmError
from trilby.rpm.prepare import prepare
from trilby.rpm.repo import Repository, make_repository
from trilby.rpm.sign import How, SigningKey, export_key, find_key, make_key, sign
from trilby.rpm.tools import Tools
from trilby.rpm.verify import verify, verify_metadata

# The stand-in may have to be made first.
pytestmark = pytest.mark.timeout(900)

WHO = "Tester <tester@example.invalid>"
YAML = """\
name: signed
version: "1"
summary: Is signed
license: MIT
arch: noarch
files: [{path: /usr/share/signed, source: file}]
"""


@pytest.fixture
def built(tmp_path: Path, tools: Tools, work: Path) -> Built:
    (tmp_path / "file").write_text("content\n")
    (tmp_path / "signed.yaml").write_text(YAML)
    source = prepare(str(tmp_path / "signed.yaml"), str(tmp_path / "source"))
    return build_in_tree(source, tools, str(work / "out"))


@pytest.fixture(params=["gpg", "sq"])
def key(request: pytest.FixtureRequest, tools: Tools, work: Path) -> SigningKey:
    how: How = request.param
    return make_key(str(work / "key"), WHO, how=how, tools=tools)


def test_sign_and_verify(built: Built, key: SigningKey, tools: Tools, work: Path) -> None:
    public = str(work / "public.asc")
    export_key(key, public, tools=tools)
    (before,) = verify(built.packages, public, tools=tools)
    assert (before.digests, before.signed, before.good) == (True, False, False)
    assert before.reason == "it is not signed"
    sign(built.packages, key, tools=tools)
    sign(built.packages, key, tools=tools)  # the signature is replaced
    (after,) = verify(built.packages, public, tools=tools)
    assert after.good and after.key == key.fingerprint
    assert find_key(key.home, how=key.how, tools=tools) == key


def test_another_key_and_changed_bytes(
    built: Built, key: SigningKey, tools: Tools, work: Path
) -> None:
    sign(built.packages, key, tools=tools)
    other = make_key(str(work / "other"), WHO, how=key.how, tools=tools)
    public, others = str(work / "public.asc"), str(work / "others.asc")
    export_key(key, public, tools=tools)
    export_key(other, others, tools=tools)
    stranger = verify(built.packages, others, tools=tools)[0]
    assert not stranger.signed and stranger.reason.startswith("it is signed with another key, ")
    assert stranger.reason.endswith(stranger.key)
    changed = work / "changed.rpm"
    shutil.copy(built.packages[0], changed)
    data = bytearray(changed.read_bytes())
    data[-20] ^= 1
    changed.write_bytes(data)
    found = verify([str(changed)], public, tools=tools)[0]
    assert not found.digests and "digest: BAD" in found.reason and "NOTFOUND" not in found.reason
    changed.write_text("no package\n")
    assert verify([str(changed)], public, tools=tools)[0].reason == "it is no package"


def test_dnf_takes_what_is_signed_and_nothing_else(
    built: Built, key: SigningKey, tools: Tools, rawhide: Repository, work: Path
) -> None:
    folder = str(Path(built.packages[0]).parent)
    unsigned = make_repository(folder, tools=tools)
    public = str(work / "public.asc")
    export_key(key, public, tools=tools)
    refused = BuildRoot(
        str(work / "refused"),
        tools=tools,
        repositories=(Repository("unsigned", unsigned.url, key=public), rawhide),
        release="46",
    )
    with pytest.raises(RpmError):
        refused.fill(["signed"])
    sign(built.packages, key, tools=tools)
    repository = make_repository(folder, tools=tools, key=key)
    signature = Path(folder, "repodata/repomd.xml.asc").read_text()
    assert signature.startswith("-----BEGIN PGP SIGNATURE-----")
    taken = BuildRoot(
        str(work / "taken"), tools=tools, repositories=(repository, rawhide), release="46"
    )
    taken.fill(["signed"])
    assert "signed-1-1.noarch" in {name.replace("0:", "") for name in taken.installed()}


def test_metadata(built: Built, key: SigningKey, tools: Tools, work: Path) -> None:
    folder = Path(built.packages[0]).parent
    public, others = str(work / "public.asc"), str(work / "others.asc")
    export_key(key, public, tools=tools)
    export_key(make_key(str(work / "other"), WHO, how=key.how, tools=tools), others, tools=tools)
    make_repository(str(folder), tools=tools)
    assert verify_metadata(str(folder), public, tools=tools).reason == "it is not signed"
    make_repository(str(folder), tools=tools, key=key)
    found = verify_metadata(str(folder), public, tools=tools)
    assert found.good and found.key == key.fingerprint
    assert not verify_metadata(str(folder), others, tools=tools).signed
    (primary,) = folder.glob("repodata/*primary.xml*")
    primary.write_bytes(primary.read_bytes() + b"x")
    changed = verify_metadata(str(folder), public, tools=tools)
    assert changed.signed and not changed.digests and "primary" in changed.reason
    with pytest.raises(NotVerified, match="is no repository"):
        verify_metadata(str(work), public, tools=tools)


def test_no_agent_is_left(key: SigningKey, built: Built, tools: Tools) -> None:
    sign(built.packages, key, tools=tools)
    left = [
        path for path in Path("/proc").glob("[0-9]*/cmdline") if key.home.encode() in _read(path)
    ]
    assert left == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_keys_that_are_none(tmp_path: Path, tools: Tools, built: Built) -> None:
    with pytest.raises(KeyNotFound, match="keeps no secret key"):
        find_key(str(tmp_path), tools=tools)
    (tmp_path / "no.asc").write_text("no key\n")
    with pytest.raises(NotVerified, match="not a key that rpm takes"):
        verify(built.packages, str(tmp_path / "no.asc"), tools=tools)

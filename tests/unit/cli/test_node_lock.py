"""trilby node lock: what is written down, and what differences are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.made_host import MadeHost, made_host, node_of, says, write

from trilby.cli.main import root_group, run
from trilby.node.errors import LockUnusable
from trilby.node.lock import SECTIONS, Difference, Lock, compare, decode, encode, lock_of

PLATFORM, INDEX = (f"sha256:{digit * 64}" for digit in "ab")
IMAGES = json.dumps([
    {
        "id": "1" * 64, "digest": PLATFORM, "names": ["registry.k8s.io/pause:3.10.2", f"a/b@{INDEX}"],
        "big-data-digests": {"manifest": PLATFORM, f"manifest-{INDEX}": INDEX, "config": "sha256:0"},
    },
    {"id": "2" * 64, "digest": PLATFORM, "names": ["localhost/own:1"]},
])  # fmt: skip
RPMS = "crun\t0:1.20-1.fc45.x86_64\nkernel\t0:6.18-1.x86_64\ntrilby\t0:0.1.0-1.fc45.noarch"
CHANGES = {
    "var/lib/containers/storage/overlay-images/images.json": IMAGES,
    "usr/bin/rpm": says(RPMS),
    "etc/kubernetes/manifests/etcd.yaml": "kind: Pod\n",
    "etc/kubernetes/manifests/.swp": "",
}


@pytest.fixture
def host() -> Iterator[MadeHost]:
    with made_host(CHANGES) as made:
        yield made


def test_what_is_locked(host: MadeHost) -> None:
    found = lock_of(node_of(host))
    assert found.system == {"os": "fedora 45", "kernel": "6.18.4-300.fc45.x86_64"}
    assert found.programs["kubelet"] == "1.36.3"
    assert found.packages == {
        "crun": "0:1.20-1.fc45.x86_64", "trilby": "0:0.1.0-1.fc45.noarch"
    }  # fmt: skip
    # A registry gives the index under the name; an image that was made here has none.
    assert found.images == {"registry.k8s.io/pause:3.10.2": INDEX, "localhost/own:1": PLATFORM}
    assert {"/etc/kubernetes/manifests/etcd.yaml", "/var/lib/kubelet/config.yaml"} <= set(
        found.files
    )
    assert all(digest.startswith("sha256:") for digest in found.files.values())


def test_one_fact_a_line_in_an_order_that_stays(host: MadeHost) -> None:
    text = encode(lock_of(node_of(host))).decode()
    assert text == encode(lock_of(node_of(host))).decode()
    assert '\n    "crun": "0:1.20-1.fc45.x86_64",\n' in text
    document = json.loads(text)
    assert list(document) == ["format", *SECTIONS]
    assert all(list(document[name]) == sorted(document[name]) for name in SECTIONS)


def node(*words: str) -> int:
    return run(root_group(), ["node", "lock", *words])


def test_check(host: MadeHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "node.lock")
    root = ("--root", host.root)
    assert node(*root, "-o", path) == 0
    assert Path(path).stat().st_mode & 0o777 == 0o644
    assert node(*root, "--check", path) == 0
    assert (
        capsys.readouterr().out
        == "no differences in system, programs, packages, images and files\n"
    )
    write(host.root, {
        "etc/containers/policy.json": "{}",
        "etc/kubernetes/manifests/etcd.yaml": None,
        "etc/kubernetes/manifests/new.yaml": "kind: Pod\n",
        "var/lib/containers/storage/overlay-images/images.json": IMAGES.replace(INDEX, f"sha256:{'c' * 64}"),
    })  # fmt: skip
    assert node(*root, "--check", path) == 1
    out = capsys.readouterr().out
    assert "images: registry.k8s.io/pause:3.10.2 is sha256:cccc" in out
    assert f"locked is {INDEX}" in out
    assert "files: /etc/kubernetes/manifests/etcd.yaml is not there, locked is sha256:" in out
    assert "files: /etc/kubernetes/manifests/new.yaml is sha256:" in out and "not locked" in out
    assert out.endswith("4 differences in system, programs, packages, images and files\n")
    assert node(*root, "--check", path, "--only", "packages,system") == 0
    assert node(*root, "--check", path, "--only", "images", "--format", "json") == 1
    capsys.readouterr()
    assert node(*root, "--check", path, "--only", "images", "--format", "json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["status"] == 1
    assert [set(each) for each in report["differences"]] == [{"section", "name", "locked", "found"}]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no lock file"),
        ("{}", "is no lock file"),
        ('{"format": 2, "system": {}, "programs": {}, "packages": {}, "images": {}, "files": {}}', "has format 2"),
        ('{"format": 1, "system": {}, "programs": {}, "packages": [], "images": {}, "files": {}}', "$.packages"),
    ],
)  # fmt: skip
def test_no_lock_file(
    host: MadeHost, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    path = tmp_path / "x.lock"
    path.write_text(text)
    assert node("--root", host.root, "--check", str(path)) == 2
    assert says in capsys.readouterr().err
    assert node("--root", host.root, "--check", f"{tmp_path}/none") == 2
    assert node("--root", host.root, "--check", str(path), "--only", "pods") == 2


WORDS = st.text("ab=:\u00e9 ", min_size=1, max_size=3)
TABLES = st.dictionaries(WORDS, WORDS, max_size=2)
NONE: st.SearchStrategy[dict[str, str]] = st.just({})
LOCKS = st.builds(
    Lock, format=st.just(1), system=NONE, programs=NONE, packages=TABLES, images=TABLES, files=NONE
)


@given(LOCKS, LOCKS)
def test_any_two(one: Lock, other: Lock) -> None:
    """What is written is read again; nothing differs from itself, and each difference is one."""
    assert decode(encode(one), "x") == one
    assert not compare(one, one)
    found = compare(one, other)
    assert all(each.locked != each.found for each in found)
    assert len(found) == len(set(found))
    assert not [each for each in found if each.section == "images" and not each.locked]
    changed = msgspec.structs.replace(one, packages={**one.packages, "new": "1"})
    there = one.packages.get("new", "")
    assert compare(one, changed) == (
        [] if there == "1" else [Difference("packages", "new", there, "1")]
    )


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(LockUnusable):
        decode(data, "x")

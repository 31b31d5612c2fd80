"""registries.conf: endpoints, merging, complaints."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trilby.image import config_document, registries_load
from trilby.image.context import ImageContext
from trilby.image.errors import ConfigError, RegistryBlocked
from trilby.image.reference import parse
from trilby.image.registries import Registries, load_registries, matching_prefix
from trilby.image.service import load_registries_of

DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system's /etc/containers, empty."""
    folder = tmp_path / "etc"
    folder.mkdir()
    monkeypatch.setattr(registries_load, "SYSTEM_FILE", str(folder / "registries.conf"))
    monkeypatch.setattr(registries_load, "SYSTEM_DIRECTORY", str(folder / "registries.conf.d"))
    vendor = tmp_path / "usr"
    monkeypatch.setattr(registries_load, "VENDOR_FILE", str(vendor / "registries.conf"))
    monkeypatch.setattr(registries_load, "VENDOR_DIRECTORY", str(vendor / "registries.conf.d"))
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def load(tmp_path: Path, text: str) -> Registries:
    return load_registries(str(write(tmp_path / "r.conf", text)), str(tmp_path / "none"), env={})


def endpoints(registries: Registries, name: str) -> list[str]:
    found = registries.resolve(parse(name))
    return [f"{'!' if e.insecure else ''}{'~' if e.is_mirror else ''}{e.reference}" for e in found]


MIRRORS = """
[[registry]]
prefix = "example.com/foo"
location = "internal.example/bar/"
insecure = true
[[registry.mirror]]
location = "m1.example:5000/x"
[[registry.mirror]]
location = "m2.example"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "m3.example"
pull-from-mirror = "tag-only"
insecure = true
[[registry]]
location = "example.com/foo/only"
mirror-by-digest-only = true
[[registry.mirror]]
location = "m4.example"
[[registry]]
prefix = "*.wild.example"
[[registry]]
prefix = "*.deep.wild.example"
location = "one.example/all"
"""


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("other.com/x:1", ["other.com/x:1"]),
        ("example.com/food:1", ["example.com/food:1"]),
        (
            "example.com/foo/y:1",
            ["~m1.example:5000/x/y:1", "!~m3.example/y:1", "!internal.example/bar/y:1"],
        ),
        (
            f"example.com/foo/y@{DIGEST}",
            [
                f"~m1.example:5000/x/y@{DIGEST}",
                f"~m2.example/y@{DIGEST}",
                f"!internal.example/bar/y@{DIGEST}",
            ],
        ),
        ("example.com/foo/only/z:1", ["example.com/foo/only/z:1"]),
        (
            f"example.com/foo/only/z@{DIGEST}",
            [f"~m4.example/z@{DIGEST}", f"example.com/foo/only/z@{DIGEST}"],
        ),
        ("a.wild.example/x", ["a.wild.example/x"]),
        ("a.b.deep.wild.example:5000/x", ["!"]),
        ("a.b.deep.wild.example/x", ["one.example/all/x"]),
        ("wild.example/x", ["wild.example/x"]),
    ],
)
def test_resolve(tmp_path: Path, name: str, wanted: list[str]) -> None:
    registries = load(tmp_path, MIRRORS)
    if wanted == ["!"]:
        # As with other tools the port stays behind, and here that makes no name.
        with pytest.raises(ConfigError, match="one.example/all"):
            registries.resolve(parse(name))
        return
    assert endpoints(registries, name) == wanted


def test_docker_hub_is_library(tmp_path: Path) -> None:
    registries = load(
        tmp_path, '[[registry]]\nprefix="docker.io/library"\nlocation="mirror.example/hub"\n'
    )
    assert endpoints(registries, "busybox:1") == ["mirror.example/hub/busybox:1"]
    assert registries.destination(parse("busybox:1")).reference == parse("busybox:1")


def test_blocked_and_insecure(tmp_path: Path) -> None:
    registries = load(
        tmp_path,
        '[[registry]]\nlocation="bad.example"\nblocked=true\n'
        '[[registry]]\nlocation="lab.example:5000"\ninsecure=true\n',
    )
    for call in (registries.resolve, registries.destination):
        with pytest.raises(RegistryBlocked, match=r"is blocked in .*r.conf:1$"):
            call(parse("bad.example/x:1"))
    assert registries.destination(parse("lab.example:5000/x")).insecure
    assert registries.is_insecure("lab.example:5000")
    assert not registries.is_insecure("lab.example") and not registries.is_insecure("q.io")


@settings(max_examples=60, deadline=None)
@given(
    st.from_regex(r"[ab]\.(c|d)(:1)?/[ab](/[ab])?(:t)?", fullmatch=True),
    st.from_regex(r"(\*\.|[ab]\.)(c|d)(:1)?(/[ab])?(/[ab])?", fullmatch=True),
)
def test_prefixes_end_at_separators(name: str, prefix: str) -> None:
    length = matching_prefix(name, prefix)
    if length:
        assert length == len(name) or name[length] in ":/@"
        assert prefix.startswith("*.") or name[:length] == prefix
    elif not prefix.startswith("*."):
        assert not (name + "/").startswith(prefix + "/")


def test_insecure_hosts_come_from_elsewhere() -> None:
    found = load_registries_of(
        ImageContext(registries_conf="/dev/null", insecure_registries=("a.example:5000",))
    )
    for name, insecure in (("a.example:5000/x", True), ("a.example/x", False)):
        reference = parse(name)
        assert [each.insecure for each in found.resolve(reference)] == [insecure]
        assert found.destination(reference).insecure is insecure
    assert found.is_insecure("a.example:5000") and not found.is_insecure("a.example")


def test_wildcards() -> None:
    assert matching_prefix("a.b.example.com/x", "*.example.com") == len("a.b.example.com")
    assert matching_prefix("a.example.com:5000/x", "*.example.com") == len("a.example.com")
    for name in ("example.com/x", "a.example.com.evil/x", "evil/a.example.com", "xexample.com/y"):
        assert matching_prefix(name, "*.example.com") == 0


def test_the_longest_prefix_wins_and_case_1(tmp_path: Path) -> None:
    registries = load(
        tmp_path,
        '[[registry]]\nlocation="e.com"\ninsecure=true\n[[registry]]\nlocation="e.com/a"\n',
    )
    assert endpoints(registries, "e.com/b") == ["!e.com/b"]
    assert endpoints(registries, "e.com/a/b") == ["e.com/a/b"]
    assert endpoints(registries, "e.com.evil/a") == ["e.com.evil/a"]


def test_drop_ins_override_per_key(etc: Path) -> None:
    write(
        etc / "registries.conf",
        'unqualified-search-registries=["a.example"]\nshort-name-mode="enforcing"\n'
        '[[registry]]\nlocation="r.example"\ninsecure=true\n[[registry.mirror]]\n'
        'location="m.example"\n[aliases]\none="a.example/one"\ntwo="a.example/two"\n',
    )
    write(etc / "registries.conf.d/20-b.conf", 'credential-helpers=["pass"]\n[aliases]\none=""\n')
    write(
        etc / "registries.conf.d/10-a.conf",
        'unqualified-search-registries=["b.example"]\n[[registry]]\nlocation="r.example"\n'
        '[aliases]\none="b.example/one"\nthree="b.example/3"\n',
    )
    write(etc / "registries.conf.d/ignored.toml", "!")
    (etc / "registries.conf.d/directory.conf").mkdir()
    found = load_registries(env={"HOME": str(etc / "nobody")})
    assert found.unqualified_search_registries == ("b.example",)
    assert found.search_origin.endswith("10-a.conf")
    assert found.short_name_mode == "enforcing"
    assert found.credential_helpers == ("pass",)
    assert found.aliases == {"two": "a.example/two", "three": "b.example/3"}
    assert found.alias_origins["three"].endswith("10-a.conf")
    # A table with the same prefix is replaced as a whole.
    assert endpoints(found, "r.example/x") == ["r.example/x"]


def test_which_files(etc: Path, tmp_path: Path) -> None:
    write(etc / "registries.conf", 'unqualified-search-registries=["system.example"]')
    write(etc / "registries.conf.d/1.conf", 'short-name-mode="disabled"')
    home = tmp_path / "home"
    own = home / ".config/containers"
    write(own / "registries.conf.d/1.conf", '[aliases]\nx="q.io/x"')
    found = load_registries(env={"HOME": str(home)})
    assert found.unqualified_search_registries == ("system.example",)
    assert (found.short_name_mode, list(found.aliases)) == ("disabled", ["x"])
    write(own / "registries.conf", 'unqualified-search-registries=["own.example"]')
    found = load_registries(env={"HOME": str(home)})
    assert found.unqualified_search_registries == ("own.example",)
    assert (found.short_name_mode, list(found.aliases)) == ("permissive", ["x"])
    chosen = write(tmp_path / "chosen.conf", 'unqualified-search-registries=["chosen.example"]')
    for arguments, env in (
        ((str(chosen),), {}),
        ((), {"CONTAINERS_REGISTRIES_CONF": str(chosen)}),
    ):
        found = load_registries(*arguments, env={"HOME": str(home), **env})
        assert found.unqualified_search_registries == ("chosen.example",)
        assert (found.short_name_mode, list(found.aliases)) == ("disabled", ["x"])
    with pytest.raises(ConfigError, match="missing.conf"):
        load_registries(str(tmp_path / "missing.conf"))


def test_a_distributions_defaults_come_last(etc: Path, tmp_path: Path) -> None:
    vendor = tmp_path / "usr"
    write(vendor / "registries.conf", 'unqualified-search-registries=["vendor.example"]')
    write(vendor / "registries.conf.d/1.conf", '[aliases]\na="vendor.example/a"\nb="q.io/b"')
    write(vendor / "registries.conf.d/2.conf", '[aliases]\nc="vendor.example/c"')
    env = {"HOME": str(etc / "nobody")}
    assert load_registries(env=env).unqualified_search_registries == ("vendor.example",)
    write(etc / "registries.conf", 'unqualified-search-registries=["etc.example"]')
    write(etc / "registries.conf.d/1.conf", '[aliases]\na="etc.example/a"')
    found = load_registries(env=env)
    assert found.unqualified_search_registries == ("etc.example",)
    # A drop-in of the same name stands in for the vendor's.
    assert found.aliases == {"c": "vendor.example/c", "a": "etc.example/a"}


def test_no_files_at_all(etc: Path) -> None:
    found = load_registries(env={"HOME": str(etc / "nobody")})
    assert found.registries == () and found.warnings == ()
    assert endpoints(found, "busybox") == ["docker.io/library/busybox"]


def test_unknown_keys_warn_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_document, "_logged", set())
    text = 'typo = 1\n\n[[registry]]\nlocation="a.b"\n[[registry.mirror]]\nlocation="m"\nwhat=1\n'
    with caplog.at_level(logging.WARNING):
        found = load(tmp_path, text)
        load(tmp_path, text)
    assert [warning.rpartition("/")[2] for warning in found.warnings] == [
        "r.conf:7: unknown key 'registry.0.mirror.0.what'",
        "r.conf:1: unknown key 'typo'",
    ]
    assert len(caplog.messages) == 2


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a = = 1", 1, "Invalid value"),
        ("x = 1\n[[registry]]\nlocation = 3", 3, "location must be a string"),
        ("[[registry]]\ninsecure = true", 1, "needs a location or a prefix"),
        ('[[registry]]\nprefix = "a.b"', 1, "location is unset"),
        ('[[registry]]\nlocation = "https://a.b"', 2, "scheme"),
        ('[[registry]]\nprefix = "*.a.b/c"', 2, "wildcard"),
        ('[[registry]]\nlocation = "a.b"\ninsecure = "yes"', 3, "true or false"),
        ('[[registry]]\nlocation="a.b"\npull-from-mirror="all"', 3, "[[registry.mirror]]"),
        ('[[registry]]\nlocation="a.b"\n[[registry.mirror]]\ninsecure=true', 3, "location"),
        (
            '[[registry]]\nlocation="a.b"\n[[registry.mirror]]\nlocation="c"\n'
            'pull-from-mirror="some"',
            5,
            "digest-only",
        ),
        (
            '[[registry]]\nlocation="a.b"\nmirror-by-digest-only=true\n[[registry.mirror]]\n'
            'location="c"\npull-from-mirror="all"',
            6,
            "mirror-by-digest-only",
        ),
        ("registry = 1", 1, "list of tables"),
        ('registry = ["a"]', 1, "registry[0] must be a table"),
        ('short-name-mode = "sometimes"', 1, "enforcing"),
        ('unqualified-search-registries = ["a", "b/c"]', 1, "host"),
        ('unqualified-search-registries = [\n"a",\n3]', 3, "must be a string"),
        ('[aliases]\n"a" = "b"', 2, "must name a registry"),
        ('[aliases]\n"a" = "q.io/b:tag"', 2, "no tag or digest"),
        ('[aliases]\n"a:1" = "q.io/b"', 2, "no tag or digest"),
        ('[aliases]\n"q.io/a" = "q.io/b"', 2, "no registry"),
        ('[aliases]\n"A" = "q.io/b"', 2, "lowercase"),
        (
            '[[registry]]\nlocation="a.b"\n[[registry]]\nprefix="c.d"\nlocation="a.b"\n'
            "blocked=true",
            3,
            "'blocked' setting",
        ),
        (
            'unqualified-search-registries=["a"]\n[registries.search]\nregistries=["b"]',
            2,
            "mixing",
        ),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert said in message
    assert message.startswith(f"{tmp_path}/r.conf:{line}:"), message


def test_version_1(etc: Path, tmp_path: Path) -> None:
    old = (
        '[registries.search]\nregistries=["a.example","b.example"]\n'
        '[registries.insecure]\nregistries=["lab.example"]\n'
        '[registries.block]\nregistries=["bad.example"]\n'
    )
    found = load(tmp_path, old)
    assert found.unqualified_search_registries == ("a.example", "b.example")
    assert endpoints(found, "lab.example/x") == ["!lab.example/x"]
    with pytest.raises(RegistryBlocked):
        found.resolve(parse("bad.example/x"))
    assert "deprecated" in found.warnings[0]
    write(etc / "registries.conf.d/1.conf", old)
    with pytest.raises(ConfigError, match="version 2"):
        load_registries(env={"HOME": str(tmp_path)})

"""Image names by the distribution grammar."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trilby.image.errors import InvalidReference, UnknownTransport
from trilby.image.reference import (
    Reference,
    has_domain,
    is_image_id,
    is_short_name,
    make,
    parse,
    parse_repository,
    parse_transport,
)
from trilby.oci.digest import Digest

FRUGAL = settings(max_examples=60, deadline=None)
DIGEST = "sha256:" + "ab" * 32

DOMAINS = st.from_regex(
    r"([a-z0-9]{1,4}\.[a-zA-Z0-9]{1,4}|localhost|[a-z]{1,5}:[0-9]{1,5}|\[[a-f0-9]{0,3}:[a-f0-9:]{1,5}\])",
    fullmatch=True,
)
PATHS = st.from_regex(
    r"[a-z0-9]{1,4}((\.|_|__|-{1,3})[a-z0-9]{1,3})?(/[a-z0-9]{1,4}){0,3}", fullmatch=True
)
TAGS = st.one_of(st.just(""), st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True))
DIGESTS = st.none() | st.binary(max_size=2).map(Digest.of)


@FRUGAL
@given(st.builds(make, DOMAINS, PATHS, TAGS, DIGESTS))
def test_every_reference_survives_its_text(reference: Reference) -> None:
    assert parse(str(reference)) == reference
    assert parse(reference.familiar()) == reference


@FRUGAL
@given(st.text(max_size=30) | st.from_regex(r"[a-zA-Z0-9./:@_-]{1,40}", fullmatch=True))
def test_any_text_is_a_name_or_invalid(text: str) -> None:
    try:
        found = parse(text)
    except InvalidReference:
        return
    assert parse(str(found)) == found
    assert parse(found.familiar()) == found


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1", "docker.io/library/busybox:1", "busybox:1"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox", "busybox"),
        ("foo/bar", "docker.io/foo/bar", "foo/bar"),
        ("docker.io/library/foo/bar", "docker.io/library/foo/bar", "library/foo/bar"),
        ("localhost/x", "localhost/x", "localhost/x"),
        ("Registry.io/x", "Registry.io/x", "Registry.io/x"),
        ("host:5000/x:y", "host:5000/x:y", "host:5000/x:y"),
        ("[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x"),
        (f"q.io/a/b:c@{DIGEST}", f"q.io/a/b:c@{DIGEST}", f"q.io/a/b:c@{DIGEST}"),
        ("a__b/c---d.e_f", "docker.io/a__b/c---d.e_f", "a__b/c---d.e_f"),
    ],
)
def test_parse(text: str, full: str, familiar: str) -> None:
    assert str(parse(text)) == full
    assert parse(text).familiar() == familiar


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "@",
        "/x",
        "x/",
        "a//b",
        "UPPER",
        "Registry/x",
        "q.io/Upper",
        "x:",
        "x:-tag",
        "x:" + "t" * 129,
        "x@sha256:12",
        f"x@{DIGEST}x",
        "x@md5:" + "0" * 32,
        "a..b",
        "a___b",
        "-a",
        "a-",
        "q.io:port/x",
        "q.io/x y",
        "x\n",
        "http://q.io/x",
        "q.io/" + "a/" * 130 + "a",
        "q.io/" + "a" * 251,
        "ab" * 32,
        "\u0430/b",
    ],
)
def test_invalid(text: str) -> None:
    with pytest.raises(InvalidReference):
        parse(text)


def test_uppercase_is_explained() -> None:
    with pytest.raises(InvalidReference, match="must be lowercase"):
        parse("q.io/Nginx")


def test_variants_of_a_name() -> None:
    full = parse(f"q.io/x:1@{DIGEST}")
    assert str(full.without_tag()) == f"q.io/x@{DIGEST}"
    assert str(full.name_only()) == "q.io/x" and full.name_only().is_name_only
    assert str(full.with_tag("2")) == "q.io/x:2"
    assert str(full.with_digest(Digest.of(b""))) == f"q.io/x@{Digest.of(b'')}"
    assert full.with_default_tag() == full
    assert str(parse("q.io/x").with_default_tag()) == "q.io/x:latest"
    assert Reference.parse("q.io/x").name == "q.io/x"
    with pytest.raises(InvalidReference):
        full.with_tag("a b")


def test_short_names_and_ids() -> None:
    assert is_short_name("fedora:40") and is_short_name("foo/bar")
    assert not is_short_name("q.io/x") and not is_short_name("localhost/x")
    assert has_domain("a:1/x") and not has_domain("a.b")
    assert is_image_id("0" * 64) and not is_image_id("0" * 63)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("docker://q.io/x:1", ("docker", "q.io/x:1")),
        ("q.io/x:1", ("docker", "q.io/x:1")),
        ("docker:1.0", ("docker", "docker:1.0")),
        ("oci:/a/b:c", ("oci", "/a/b:c")),
        ("dir:x", ("dir", "x")),
        ("oci-archive:x.tar", ("oci-archive", "x.tar")),
        ("containers-storage:[overlay@/g]x", ("containers-storage", "[overlay@/g]x")),
        ("localhost:5000/x", ("docker", "localhost:5000/x")),
        ("busybox", ("docker", "busybox")),
    ],
)
def test_transports(text: str, wanted: tuple[str, str]) -> None:
    assert parse_transport(text) == wanted


def test_other_transports() -> None:
    assert parse_transport("x", default="containers-storage") == ("containers-storage", "x")
    for text in ("atomic:x", "https://q.io/x", "tarball:x"):
        with pytest.raises(UnknownTransport):
            parse_transport(text)
    for text in ("oci:", "docker://"):
        with pytest.raises(InvalidReference):
            parse_transport(text)


def test_repository_keys() -> None:
    for good in ("q.io", "q.io:5000", "q.io/a/b", "localhost"):
        parse_repository(good)
    for bad in ("", "q.io/", "https://q.io", "q.io/x:1", "q.io/A"):
        with pytest.raises(InvalidReference):
            parse_repository(bad)

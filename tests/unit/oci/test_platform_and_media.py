"""Choosing from an index, and what media types say."""

from __future__ import annotations

import os

import pytest

from trilby.oci import media, platform
from trilby.oci.descriptor import Descriptor, Platform
from trilby.oci.digest import Digest
from trilby.oci.errors import InvalidPlatform, NoMatchingPlatform, NotConvertible


def item(text: str, *, zstd: bool = False, number: int = 0) -> Descriptor:
    system, architecture, *variant = text.split("/")
    return Descriptor(
        media_type=media.OCI_MANIFEST,
        digest=Digest.of(f"{text}{zstd}{number}".encode()),
        size=1,
        annotations={platform.ZSTD_ANNOTATION: "true"} if zstd else {},
        platform=Platform(os=system, architecture=architecture, variant="".join(variant)),
    )


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
        ("linux/amd64", ["linux/amd64/v2", "linux/amd64/v1", "linux/amd64"], 2),
        ("linux/amd64", ["linux/amd64/v1"], 0),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], 1),
        ("linux/arm64", ["linux/arm64/v8"], 0),
        ("linux/arm64/v8", ["linux/arm64", "linux/arm64/v8"], 1),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], 1),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm"], 1),
        ("linux/arm", ["linux/arm/v5", "linux/arm/v7", "linux/arm"], 2),
        ("linux/riscv64", ["unknown/unknown", "linux/riscv64"], 1),
        ("linux/ppc64le/power9", ["linux/ppc64le"], 0),
        ("x86_64", ["linux/amd64"], 0),
        ("windows/amd64", ["linux/amd64", "windows/amd64"], 1),
    ],
)
def test_choose(wanted: str, offered: list[str], chosen: int) -> None:
    manifests = [item(text) for text in offered]
    assert platform.choose(manifests, platform.parse(wanted)) is manifests[chosen]


def test_choose_among_equals() -> None:
    wanted = platform.parse("linux/amd64")
    first, second = item("linux/amd64"), item("linux/amd64", number=1)
    zstd = item("linux/amd64", zstd=True)
    assert platform.choose([first, second, zstd], wanted) is zstd
    assert platform.choose([zstd, first, second], wanted, prefer_gzip=True) is first
    assert platform.choose([zstd], wanted, prefer_gzip=True) is zstd


@pytest.mark.parametrize("offered", [[], ["linux/arm64"], ["linux/amd64/v2"], ["unknown/unknown"]])
def test_no_match(offered: list[str]) -> None:
    manifests = [item(text) for text in offered]
    manifests.append(Descriptor(media_type=media.OCI_MANIFEST, digest=Digest.of(b""), size=0))
    with pytest.raises(NoMatchingPlatform, match="os linux, architecture amd64") as caught:
        platform.choose(manifests, platform.parse("linux/amd64"))
    assert all(text in caught.value.hint for text in offered)


def test_a_manifest_without_a_platform_is_the_last_choice() -> None:
    unnamed = Descriptor(media_type=media.OCI_MANIFEST, digest=Digest.of(b"unnamed"), size=0)
    wanted = platform.parse("linux/amd64")
    assert platform.choose([item("linux/s390x"), unnamed], wanted, unnamed=True) is unnamed
    fits = item("linux/amd64")
    assert platform.choose([unnamed, fits], wanted, unnamed=True) is fits
    with pytest.raises(NoMatchingPlatform, match="architecture amd64"):
        platform.choose([unnamed], wanted)


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d", "linux//v7"])
def test_invalid_platform(text: str) -> None:
    with pytest.raises(InvalidPlatform):
        platform.parse(text)


def test_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for machine, wanted in [("x86_64", "amd64"), ("armv7l", "arm/v7"), ("s390x", "s390x")]:
        uname = os.uname_result(("Linux", "host", "6.1", "#1", machine))
        monkeypatch.setattr(os, "uname", lambda uname=uname: uname)
        assert str(platform.host_platform()) == f"linux/{wanted}"


def test_compressions() -> None:
    assert media.compression_of(media.OCI_LAYER) == ""
    assert media.compression_of(media.DOCKER_LAYER_GZIP) == "gzip"
    assert media.compression_of(media.OCI_LAYER_ZSTD + media.ENCRYPTED_SUFFIX) == "zstd"
    assert media.compression_of(media.OCI_CONFIG) is None
    with_compression = media.with_compression
    assert with_compression(media.DOCKER_LAYER_GZIP, "") == media.DOCKER_LAYER
    assert with_compression(media.OCI_LAYER, "zstd") == media.OCI_LAYER_ZSTD
    assert with_compression(media.OCI_LAYER_ZSTD, "gzip") == media.OCI_LAYER_GZIP
    assert (
        with_compression(media.OCI_LAYER_NONDISTRIBUTABLE, "gzip")
        == media.OCI_LAYER_NONDISTRIBUTABLE_GZIP
    )
    assert with_compression(media.DOCKER_LAYER_FOREIGN, "gzip") == media.DOCKER_LAYER_FOREIGN_GZIP
    with pytest.raises(NotConvertible):
        with_compression(media.OCI_LAYER, "xz")
    with pytest.raises(NotConvertible):
        with_compression(media.DOCKER_LAYER_FOREIGN, "zstd")


def test_kinds() -> None:
    assert media.is_index(media.DOCKER_LIST) and not media.is_manifest(media.DOCKER_LIST)
    assert media.is_layer(media.OCI_LAYER_GZIP + "+encrypted")
    assert not media.is_layer(media.OCI_CONFIG)
    assert media.is_nondistributable(media.DOCKER_LAYER_FOREIGN_GZIP)
    assert media.normalise("Application/JSON; charset=x ") == "application/json"
    assert media.to_docker(media.DOCKER_LAYER) == media.DOCKER_LAYER

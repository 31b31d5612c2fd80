"""docker:// as a source over mirrors, and as a destination."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.hostile_registry import Body, Drop, HostileRegistry, Status

from trilby.errors import Unavailable
from trilby.image.context import ImageContext
from trilby.image.errors import RegistryBlocked
from trilby.image.reference import Reference
from trilby.image.registry.errors import ContentMismatch, ManifestUnknown, RegistryUnauthorized
from trilby.image.streams import BytesStream
from trilby.image.transport import BlobRole, open_destination, open_source
from trilby.image.transports.docker import DockerDestination, DockerSource, parse_name
from trilby.oci.descriptor import Descriptor
from trilby.oci.digest import Digest
from trilby.oci.media import OCI_LAYER, OCI_MANIFEST

RAW = b'{"schemaVersion":2}'
LAYER = b"layer" * 1000


@pytest.fixture
async def origin() -> AsyncIterator[HostileRegistry]:
    async with HostileRegistry() as registry:
        registry.add_manifest("a/b", "v1", RAW)
        registry.add_blob(LAYER)
        yield registry


@pytest.fixture
async def mirror() -> AsyncIterator[HostileRegistry]:
    async with HostileRegistry() as registry:
        registry.add_manifest("cache/b", "v1", RAW)
        registry.add_blob(LAYER)
        yield registry


def context(tmp_path: Path, *lines: str, **changes: object) -> ImageContext:
    config = tmp_path / "registries.conf"
    config.write_text("\n".join(lines))
    (tmp_path / "auth.json").write_text("{}")
    settings = ImageContext(
        registries_conf=str(config),
        registries_conf_dir=str(tmp_path / "none"),
        registries_d=str(tmp_path / "none"),
        auth_file=str(tmp_path / "auth.json"),
        retries=0,
        retry_delay=0.0,
    )
    return settings.with_changes(**changes)


def mirrored(tmp_path: Path, origin: str, *mirrors: str, **changes: object) -> ImageContext:
    lines = ["[[registry]]", 'prefix = "images.example/a"', f'location = "{origin}/a"',
             "insecure = true"]  # fmt: skip
    for mirror in mirrors:
        lines += ["[[registry.mirror]]", f'location = "{mirror}"', "insecure = true"]
    return context(tmp_path, *lines, **changes)


async def source(settings: ImageContext, name: str = "images.example/a/b:v1") -> DockerSource:
    opened = await open_source(f"docker://{name}", settings)
    assert isinstance(opened, DockerSource)
    return opened


async def read_blob(images: DockerSource, data: bytes = LAYER) -> bytes:
    stream = await images.get_blob(Descriptor(OCI_LAYER, Digest.of(data), len(data)))
    return b"".join([chunk async for chunk in stream])


async def test_the_mirror_is_asked_first(
    tmp_path: Path, origin: HostileRegistry, mirror: HostileRegistry
) -> None:
    images = await source(mirrored(tmp_path, origin.address, f"{mirror.address}/cache"))
    assert images.reference == "docker://images.example/a/b:v1"
    assert images.policy_scope == str(images.docker_reference) == "images.example/a/b:v1"
    assert await images.get_manifest() == (RAW, OCI_MANIFEST)
    assert await read_blob(images) == LAYER
    assert await images.signatures() == []
    await images.close()
    assert not origin.requests


@pytest.mark.parametrize("fault", [Status(404), Status(500), Status(403), Body(b"<html>")])
async def test_a_failing_mirror_is_passed_over(
    tmp_path: Path, origin: HostileRegistry, mirror: HostileRegistry, fault: Status
) -> None:
    mirror.fault(fault, path="/manifests/")
    images = await source(mirrored(tmp_path, origin.address, f"{mirror.address}/cache"))
    assert (await images.get_manifest())[0] == RAW
    assert await read_blob(images) == LAYER
    await images.close()
    # What served the manifest is asked for the blobs first.
    assert mirror.count("/blobs/") == 0


async def test_a_mirror_with_another_image_under_the_digest(
    tmp_path: Path, origin: HostileRegistry, mirror: HostileRegistry
) -> None:
    mirror.fault(Body(b'{"evil":1}'), path="/manifests/")
    name = f"images.example/a/b@{Digest.of(RAW)}"
    images = await source(mirrored(tmp_path, origin.address, f"{mirror.address}/cache"), name)
    assert (await images.get_manifest())[0] == RAW
    await images.close()


async def test_a_blob_that_the_mirror_lacks(
    tmp_path: Path, origin: HostileRegistry, mirror: HostileRegistry
) -> None:
    mirror.blobs.clear()
    images = await source(mirrored(tmp_path, origin.address, f"{mirror.address}/cache"))
    assert (await images.get_manifest())[0] == RAW
    assert await read_blob(images) == LAYER
    await images.close()


async def test_a_mirror_that_dies_within_a_blob(
    tmp_path: Path, origin: HostileRegistry, mirror: HostileRegistry
) -> None:
    mirror.fault(Drop(after=100), path="/blobs/")
    images = await source(mirrored(tmp_path, origin.address, f"{mirror.address}/cache"))
    await images.get_manifest()
    assert await read_blob(images) == LAYER
    await images.close()
    assert [r.headers.get("range") for r in origin.requests if "/blobs/" in r.path] == [
        "bytes=100-"
    ]


async def test_all_failed(tmp_path: Path, origin: HostileRegistry, mirror: HostileRegistry) -> None:
    mirror.fault(Status(500), path="/manifests/")
    origin.fault(Status(404), path="/manifests/")
    dead = "127.0.0.1:1/x"
    images = await source(mirrored(tmp_path, origin.address, f"{mirror.address}/cache", dead))
    with pytest.raises(ManifestUnknown) as caught:
        await images.get_manifest()
    await images.close()
    assert caught.value.message == (
        f"reading manifest v1 in {origin.address}/a/b: manifest unknown (mirrors also failed: "
        f"[{mirror.address}/cache/b: reading manifest v1 in {mirror.address}/cache/b: "
        "HTTP status 500 Internal Server Error] "
        "[127.0.0.1:1/x/b: pinging registry https://127.0.0.1:1: 127.0.0.1:1: connection refused])"
    )


async def test_credentials_are_not_shown_to_mirrors(
    tmp_path: Path, origin: HostileRegistry
) -> None:
    async with HostileRegistry(auth="basic", users={"ada": "pw"}) as guarded:
        guarded.add_manifest("cache/b", "v1", RAW)
        settings = mirrored(
            tmp_path, origin.address, f"{guarded.address}/cache", credentials=("ada", "pw")
        )
        images = await source(settings)
        assert (await images.get_manifest())[0] == RAW
        await images.close()
        assert all("authorization" not in r.headers for r in guarded.requests)


async def test_blocked(tmp_path: Path) -> None:
    settings = context(tmp_path, "[[registry]]", 'location = "bad.example"', "blocked = true")
    with pytest.raises(RegistryBlocked, match="is blocked in"):
        await source(settings, "bad.example/x")


async def test_the_callers_tls_verify_wins(tmp_path: Path, origin: HostileRegistry) -> None:
    settings = mirrored(tmp_path, origin.address, tls_verify=True)
    images = await source(settings)
    with pytest.raises(Unavailable, match="server gave HTTP response to HTTPS client"):
        await images.get_manifest()
    await images.close()
    images = await source(context(tmp_path, tls_verify=False), f"{origin.address}/a/b:v1")
    assert (await images.get_manifest())[0] == RAW
    await images.close()


def test_names() -> None:
    digest = Digest.of(b"")
    assert str(parse_name("busybox")) == "docker.io/library/busybox:latest"
    assert str(parse_name(f"x.example/a:tag@{digest}")) == f"x.example/a@{digest}"


async def destination(tmp_path: Path, registry: HostileRegistry, tag: str) -> DockerDestination:
    settings = context(tmp_path, tls_verify=False)
    opened = await open_destination(f"docker://{registry.address}/new/image{tag}", settings)
    assert isinstance(opened, DockerDestination)
    return opened


async def test_write(tmp_path: Path, origin: HostileRegistry) -> None:
    target = await destination(tmp_path, origin, ":v2")
    role = BlobRole(kind="layer", index=0)
    there = Descriptor(OCI_LAYER, Digest.of(LAYER), len(LAYER))
    missing = Descriptor(OCI_LAYER, Digest.of(b"new"), 3)
    assert await target.has_blob(there, role) == there
    assert await target.has_blob(missing, role) is None
    assert await target.put_blob(missing, BytesStream(b"new"), role) == missing
    with pytest.raises(ContentMismatch):
        await target.put_blob(missing, BytesStream(b"nww"), role)
    unknown = BlobRole(kind="layer", index=1, known=False)
    put = await target.put_blob(missing, BytesStream(b"changed"), unknown)
    assert (put.digest, put.size) == (Digest.of(b"changed"), 7)
    await target.put_manifest(RAW, OCI_MANIFEST, None)
    await target.commit()
    await target.close()
    assert origin.manifests["new/image", "v2"] == (RAW, OCI_MANIFEST)
    assert origin.blobs[str(missing.digest)] == b"new" and not origin.uploads
    assert not target.capabilities.pinned


async def test_pinned(tmp_path: Path, origin: HostileRegistry) -> None:
    target = await destination(tmp_path, origin, f"@{Digest.of(RAW)}")
    assert target.capabilities.pinned
    await target.put_manifest(RAW, OCI_MANIFEST, None)
    await target.close()
    assert ("new/image", str(Digest.of(RAW))) in origin.manifests


async def test_mounted_from_the_same_registry_only(tmp_path: Path, origin: HostileRegistry) -> None:
    target = await destination(tmp_path, origin, ":v2")
    origin.fault(Status(404), method="HEAD")
    layer = Descriptor(OCI_LAYER, Digest.of(LAYER), len(LAYER))
    role = BlobRole(kind="layer", index=0)
    target.mount_from(Reference.parse("docker.io/library/busybox"))
    assert await target.has_blob(layer, role) is None
    target.mount_from(Reference.parse(f"{origin.address}/a/b"))
    assert await target.has_blob(layer, role) == layer
    await target.close()
    assert origin.requests[-1].values("from") == ["a/b"]


async def test_no_rights_to_push(tmp_path: Path) -> None:
    async with HostileRegistry(auth="basic", users={"ada": "pw"}) as guarded:
        target = await destination(tmp_path, guarded, ":v2")
        with pytest.raises(RegistryUnauthorized, match="checking blob .*: unauthorized"):
            await target.has_blob(
                Descriptor(OCI_LAYER, Digest.of(LAYER), 1), BlobRole(kind="config")
            )
        await asyncio.wait_for(target.close(), 5)


async def test_signatures_through_the_lookaside(tmp_path: Path, origin: HostileRegistry) -> None:
    staging = tmp_path / "published"
    directory = tmp_path / "registries.d"
    directory.mkdir()
    (directory / "x.yaml").write_text(
        f"default-docker:\n  lookaside: {origin.url}/signatures\n"
        f"  lookaside-staging: file://{staging}\n"
    )
    settings = context(tmp_path, tls_verify=False, registries_d=str(directory))
    name = f"docker://{origin.address}/a/b:v1"
    target = await open_destination(name, settings)
    assert target.capabilities.signatures
    await target.put_manifest(RAW, OCI_MANIFEST, None)
    await target.put_signatures([b"one", b"two"], None)
    await target.close()
    stored = staging / f"a/b@sha256={Digest.of(RAW).encoded}"
    assert (stored / "signature-2").read_bytes() == b"two"

    for number in (1, 2):
        body = (stored / f"signature-{number}").read_bytes()
        origin.fault(Body(body), path=f"/signatures/a/b@sha256={Digest.of(RAW).encoded}/"
                     f"signature-{number}")  # fmt: skip
    images = await open_source(name, settings)
    assert await images.signatures() == [b"one", b"two"]
    origin.fault(Status(500), path="/signature-3")
    with pytest.raises(Unavailable, match="reading signature http://.*/signature-3: HTTP status"):
        await images.signatures()
    await images.close()

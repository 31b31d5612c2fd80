"""Uploads to a registry that breaks, stalls and refuses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.support.hostile_registry import Drop, Hang, Headers, HostileRegistry, Late, Status
from tests.unit.registry.conftest import QUICK, Connect

from trilby.errors import NotFound, Unavailable
from trilby.image.registry.client import RegistryClient
from trilby.image.registry.errors import (
    BadResponse,
    BlobUnknown,
    ContentMismatch,
    ManifestRejected,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from trilby.oci.digest import Digest
from trilby.oci.media import OCI_MANIFEST

DATA = random.Random(3).randbytes(300_000)
DIGEST = Digest.of(DATA)


async def pieces(data: bytes = DATA, size: int = 65536) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def test_one_stream(client: RegistryClient, registry: HostileRegistry) -> None:
    put = await client.put_blob("a", pieces(), digest=DIGEST, size=len(DATA))
    assert put == (DIGEST, len(DATA))
    assert registry.blobs[str(DIGEST)] == DATA
    assert registry.requests[-2].headers["content-length"] == str(len(DATA))
    assert not registry.uploads


async def test_unknown_digest_and_size(client: RegistryClient, registry: HostileRegistry) -> None:
    assert await client.put_blob("a", pieces()) == (DIGEST, len(DATA))
    assert registry.requests[-2].headers["transfer-encoding"] == "chunked"
    # What the registry put into the location is kept as it was.
    assert registry.requests[-1].values("state") == ["a/b"]


async def test_chunks(connect: Connect, registry: HostileRegistry) -> None:
    client = connect(registry, msgspec.structs.replace(QUICK, upload_chunk=100_000))
    assert await client.put_blob("a", pieces(), digest=DIGEST) == (DIGEST, len(DATA))
    ranges = [r.headers["content-range"] for r in registry.requests if r.method == "PATCH"]
    assert ranges == ["0-99999", "100000-199999", "200000-299999"]


@pytest.mark.parametrize("fault", [Drop(), Status(503)])
async def test_a_chunk_is_sent_again_from_where_the_registry_is(
    connect: Connect, registry: HostileRegistry, fault: Drop | Status
) -> None:
    # The server stored the chunk, but its answer is lost.
    client = connect(registry, msgspec.structs.replace(QUICK, upload_chunk=100_000))
    registry.fault(fault, method="PATCH", times=1)
    assert await client.put_blob("a", pieces(), digest=DIGEST) == (DIGEST, len(DATA))
    assert registry.count("/uploads/", "PATCH") == 3
    assert registry.count("/uploads/", "GET") == 1


async def test_wrong_bytes_are_never_published(
    client: RegistryClient, registry: HostileRegistry
) -> None:
    other = Digest.of(b"other")
    with pytest.raises(ContentMismatch, match=f"the bytes to send have the digest {DIGEST}"):
        await client.put_blob("a", pieces(), digest=other)
    assert not registry.blobs and not registry.uploads


async def test_a_failing_source_is_named_and_the_upload_cancelled(
    client: RegistryClient, registry: HostileRegistry
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield DATA[:1000]
        raise RegistryUnavailable("reading blob x: gone")

    with pytest.raises(RegistryUnavailable, match="^reading blob x: gone "):
        await client.put_blob("a", broken(), digest=DIGEST)
    assert registry.requests[-1].method == "DELETE"
    assert not registry.uploads and not registry.blobs


async def test_cancelled_by_the_caller(client: RegistryClient, registry: HostileRegistry) -> None:
    started = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x"
        started.set()
        await asyncio.sleep(3600)

    task = asyncio.create_task(client.put_blob("a", endless()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert registry.requests[-1].method == "DELETE"


@pytest.mark.parametrize(
    ("fault", "method", "kind", "text"),
    [
        (Hang(), "PATCH", Unavailable, "timed out"),
        (Drop(), "PATCH", Unavailable, "dropped|reset"),
        (Status(403, "DENIED", "no pushing"), "POST", RegistryUnauthorized, "denied: no pushing"),
        (Status(202), "POST", BadResponse, "the registry names no upload location"),
        (Status(500), "PUT", Unavailable, "HTTP status 500 .*gave up after 3"),
    ],
)
async def test_faults(
    client: RegistryClient,
    registry: HostileRegistry,
    fault: object,
    method: str,
    kind: type[Exception],
    text: str,
) -> None:
    registry.fault(fault, method=method)  # type: ignore[arg-type]  # parametrize knows no types
    with pytest.raises(kind, match=text) as caught:
        await client.put_blob("a", pieces(), digest=DIGEST, size=len(DATA))
    assert str(caught.value).startswith(f"writing blob {DIGEST} to {registry.address}/a: ")


async def test_a_registry_may_take_its_time_to_store(
    client: RegistryClient, registry: HostileRegistry
) -> None:
    registry.fault(Late(0.2), method="PATCH", times=1)
    registry.fault(Late(0.2), method="PUT", times=1)
    assert (await client.put_blob("a", pieces(), digest=DIGEST))[0] == DIGEST
    assert registry.count("/uploads/", "PUT") == registry.count("/uploads/", "PATCH") == 1


async def test_lost_answer_to_the_last_request(
    client: RegistryClient, registry: HostileRegistry
) -> None:
    registry.fault(Drop(), method="PUT", times=1)
    assert (await client.put_blob("a", pieces(), digest=DIGEST))[0] == DIGEST


async def test_an_upload_that_vanished(client: RegistryClient, registry: HostileRegistry) -> None:
    registry.fault(Status(404, "BLOB_UPLOAD_UNKNOWN", "gone"), method="PUT")
    registry.fault(Status(404), method="HEAD")
    with pytest.raises(NotFound, match="writing blob .*: blob upload unknown: gone"):
        await client.put_blob("a", pieces(), digest=DIGEST)


async def test_mount(client: RegistryClient, registry: HostileRegistry) -> None:
    digest = registry.add_blob(b"there")
    assert await client.mount_blob("a", digest, "base")
    assert registry.requests[-1].values("from") == ["base"]
    assert not await client.mount_blob("a", DIGEST, "base")
    # The upload that was opened in place of the mount is closed.
    assert registry.requests[-1].method == "DELETE" and not registry.uploads


async def test_a_location_with_another_scheme_or_host(
    client: RegistryClient, registry: HostileRegistry
) -> None:
    location = f"{registry.url}/v2/a/blobs/uploads/upload0?x=1"
    registry.fault(Headers({"Location": location}), method="POST")
    assert (await client.put_blob("a", pieces(), digest=DIGEST))[0] == DIGEST


async def test_rejected_manifests(client: RegistryClient, registry: HostileRegistry) -> None:
    registry.fault(Status(400, "MANIFEST_INVALID", "no OCI here"), method="PUT", times=1)
    with pytest.raises(ManifestRejected, match="writing manifest v1 to .*manifest invalid: no OCI"):
        await client.put_manifest("a", "v1", b"{}", OCI_MANIFEST)
    registry.fault(Status(500, "MANIFEST_BLOB_UNKNOWN", "blob unknown"), method="PUT", times=1)
    with pytest.raises(BlobUnknown, match="manifest blob unknown: blob unknown"):
        await client.put_manifest("a", "v1", b"{}", OCI_MANIFEST)

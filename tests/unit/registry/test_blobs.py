"""Blobs over connections that break, stall and lie."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import msgspec
import pytest
from tests.support.hostile_http import Answer, Exchange
from tests.support.hostile_registry import (
    Body,
    Drip,
    Drop,
    Endless,
    Fault,
    Hang,
    Headers,
    HostileRegistry,
    IgnoreRange,
    Redirect,
    Status,
)
from tests.support.patience import FakeClock
from tests.unit.registry.conftest import QUICK, Connect

from trilby.image.auth import Credentials
from trilby.image.registry.blobs import Blob
from trilby.image.registry.client import RegistryClient
from trilby.image.registry.errors import (
    BadResponse,
    BlobUnknown,
    ContentMismatch,
    RegistryError,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from trilby.oci.digest import Digest

DATA = random.Random(1).randbytes(3 << 20)
MIB = 1 << 20


@pytest.fixture(autouse=True)
def digest(registry: HostileRegistry) -> Digest:
    return registry.add_blob(DATA)


async def read(blob: Blob) -> bytes:
    return b"".join([chunk async for chunk in blob])


async def test_whole(client: RegistryClient, digest: Digest) -> None:
    for size in (len(DATA), -1):
        blob = await client.get_blob("a", digest, size)
        assert blob.size == len(DATA)
        assert await read(blob) == DATA
        assert blob.verified and not blob.resumed
        await blob.close()
        await blob.close()
    assert await client.blob_size("a", digest) == len(DATA)
    assert await client.blob_size("a", Digest.of(b"no")) is None


async def test_empty(client: RegistryClient, registry: HostileRegistry) -> None:
    blob = await client.get_blob("a", registry.add_blob(b""), 0)
    assert await read(blob) == b"" and blob.verified


@pytest.mark.parametrize("fault", [Drop(after=2 * MIB), Hang(after=2 * MIB)])
async def test_resumed_where_it_stopped(
    client: RegistryClient, registry: HostileRegistry, digest: Digest, fault: Drop | Hang
) -> None:
    registry.fault(fault, path="/blobs/", times=1)
    blob = await client.get_blob("a", digest, len(DATA))
    assert await read(blob) == DATA
    assert blob.verified and blob.resumed == 1
    assert registry.requests[-1].headers["range"] == f"bytes={2 * MIB}-"


async def test_progress_renews_patience(
    client: RegistryClient, registry: HostileRegistry, digest: Digest, clock: FakeClock
) -> None:
    big = random.Random(2).randbytes(8 * MIB)
    registry.fault(Drop(after=MIB), path="/blobs/", times=7)
    blob = await client.get_blob("a", registry.add_blob(big), len(big))
    assert await read(blob) == big
    assert blob.resumed == 7
    assert max(clock.slept) <= QUICK.backoff_base


async def test_no_progress_ends_patience(
    client: RegistryClient, registry: HostileRegistry, digest: Digest
) -> None:
    registry.fault(Drop(after=10), path="/blobs/")
    blob = await client.get_blob("a", digest, len(DATA))
    with pytest.raises(RegistryUnavailable, match=r"reading blob .*dropped \[gave up after 3"):
        await read(blob)
    assert registry.count("/blobs/") == 3


async def test_faults_while_resuming(
    client: RegistryClient, registry: HostileRegistry, digest: Digest
) -> None:
    registry.fault(Drop(after=MIB), path="/blobs/", times=1)
    registry.fault(Status(503), path="/blobs/", times=1)
    blob = await client.get_blob("a", digest, len(DATA))
    assert await read(blob) == DATA
    assert registry.count("/blobs/") == 3


async def test_a_server_without_ranges(
    client: RegistryClient, registry: HostileRegistry, digest: Digest
) -> None:
    registry.fault(Drop(after=MIB + 17), path="/blobs/", times=1)
    registry.fault(IgnoreRange(DATA), path="/blobs/", times=1)
    blob = await client.get_blob("a", digest, len(DATA))
    assert await read(blob) == DATA and blob.verified


async def test_a_wrong_range_is_refused(
    client: RegistryClient, registry: HostileRegistry, digest: Digest
) -> None:
    registry.fault(Drop(after=MIB), path="/blobs/", times=1)
    registry.fault(Headers({"Content-Range": "bytes 5-9/10"}), path="/blobs/")
    blob = await client.get_blob("a", digest, len(DATA))
    with pytest.raises(BadResponse, match="asked for the rest from byte 1048576, got bytes 5-9/10"):
        await read(blob)


async def test_dripping_is_no_progress(
    connect: Connect, registry: HostileRegistry, digest: Digest
) -> None:
    settings = msgspec.structs.replace(QUICK, attempts=1, progress_timeout=0.1)
    registry.fault(Drip(pause=0.01), path="/blobs/")
    blob = await connect(registry, settings).get_blob("a", digest, len(DATA))
    with pytest.raises(RegistryUnavailable, match=r"only \d+ bytes came in 0.1 seconds"):
        await read(blob)


async def test_a_slow_consumer_is_not_the_servers_fault(
    connect: Connect, registry: HostileRegistry, digest: Digest
) -> None:
    settings = msgspec.structs.replace(QUICK, progress_timeout=0.05, progress_bytes=1 << 30)
    blob = await connect(registry, settings).get_blob("a", digest, len(DATA))
    got = []
    async for chunk in blob:
        got.append(chunk)
        if len(got) <= 2:
            await asyncio.sleep(0.08)
    assert b"".join(got) == DATA and not blob.resumed


@dataclass
class Unfinished(Fault):
    """All bytes, but the connection breaks before the end of the answer."""

    async def answer(self, exchange: Exchange, proper: Answer) -> bool:
        await exchange.send_head(200, {"Transfer-Encoding": "chunked"})
        await exchange.send_raw(b"%x\r\n%s\r\n" % (len(proper.body), proper.body))
        return False


async def test_only_the_end_of_the_answer_is_missing(
    client: RegistryClient, registry: HostileRegistry, digest: Digest
) -> None:
    registry.fault(Unfinished(), path="/blobs/")
    blob = await client.get_blob("a", digest, len(DATA))
    assert await read(blob) == DATA
    assert blob.verified and registry.count("/blobs/") == 1


async def test_nothing_is_lost_when_a_dripping_server_is_left(
    connect: Connect, registry: HostileRegistry, digest: Digest
) -> None:
    settings = msgspec.structs.replace(QUICK, progress_timeout=0.05)
    registry.fault(Drip(pause=0.005, piece=100), path="/blobs/", times=2)
    blob = await connect(registry, settings).get_blob("a", digest, len(DATA))
    assert await read(blob) == DATA
    assert blob.verified and blob.resumed == 2


@pytest.mark.parametrize("verify", [True, False])
async def test_corrupt(
    client: RegistryClient, registry: HostileRegistry, digest: Digest, verify: bool
) -> None:
    registry.fault(Body(b"x" + DATA[1:]), path="/blobs/")
    blob = await client.get_blob("a", digest, len(DATA), verify=verify)
    if verify:
        with pytest.raises(ContentMismatch, match="the bytes that came have the digest sha256:"):
            await read(blob)
        assert not blob.verified
    else:
        assert len(await read(blob)) == len(DATA)
    assert registry.count("/blobs/") == 1


@pytest.mark.parametrize("body", [DATA[:-1], DATA + b"x", b""])
async def test_announced_length_is_compared_before_reading(
    client: RegistryClient, registry: HostileRegistry, digest: Digest, body: bytes
) -> None:
    registry.fault(Body(body), path="/blobs/")
    with pytest.raises(
        ContentMismatch, match=rf"announces {len(body)} bytes, but it should have {len(DATA)}"
    ):
        await client.get_blob("a", digest, len(DATA))


async def test_endless(client: RegistryClient, registry: HostileRegistry, digest: Digest) -> None:
    registry.fault(Endless(), path="/blobs/")
    blob = await client.get_blob("a", digest, len(DATA))
    with pytest.raises(ContentMismatch, match="more than the 3145728 bytes that it should have"):
        await read(blob)


async def test_missing(client: RegistryClient, registry: HostileRegistry) -> None:
    digest = Digest.of(b"no")
    with pytest.raises(BlobUnknown, match=f"reading blob {digest} in {registry.address}/a: blob u"):
        await client.get_blob("a", digest, 2)


async def test_foreign_urls_are_tried(client: RegistryClient, registry: HostileRegistry) -> None:
    digest = Digest.of(b"foreign")
    async with HostileRegistry() as elsewhere:
        elsewhere.add_blob(b"foreign")
        urls = ("http://127.0.0.1:1/x", f"{elsewhere.url}/v2/f/blobs/{digest}")
        blob = await client.get_blob("a", digest, 7, urls=urls)
        assert await read(blob) == b"foreign"


async def test_left_early(
    client: RegistryClient, registry: HostileRegistry, digest: Digest
) -> None:
    blob = await client.get_blob("a", digest, len(DATA))
    async for _ in blob:
        break
    await blob.close()
    assert not blob.verified
    unread = await client.get_blob("a", digest, len(DATA))
    await unread.close()


async def test_credentials_stay_at_home(connect: Connect) -> None:
    async with HostileRegistry(auth="bearer") as home, HostileRegistry() as cdn:
        digest = cdn.add_blob(b"data")
        home.add_blob(b"data")
        target = f"http://localhost:{cdn.address.split(':')[1]}/v2/x/blobs/{digest}?signed=1"
        client = connect(home)
        home.add_manifest("a", "v1", b"{}")
        await client.get_manifest("a", "v1")
        home.fault(Redirect(target), path="/blobs/")
        assert await read(await client.get_blob("a", digest, 4)) == b"data"
        assert "authorization" in home.requests[-1].headers
        assert "authorization" not in cdn.requests[-1].headers


@pytest.mark.parametrize("way", ["redirect", "url"])
async def test_a_stranger_may_not_ask_for_the_password(connect: Connect, way: str) -> None:
    users = {"ada": "secret"}
    async with HostileRegistry(auth="basic", users=users) as home, HostileRegistry() as stranger:
        digest = Digest.of(b"data")
        challenge = f'Bearer realm="{stranger.url}/token",service="x", Basic realm="x"'
        stranger.fault(Status(401, headers={"WWW-Authenticate": challenge}), path="/blobs/")
        target = f"http://localhost:{stranger.address.split(':')[1]}/v2/x/blobs/{digest}"
        client = connect(home, credentials=Credentials("ada", "secret"))
        await client.ping()
        urls = []
        if way == "url":
            urls = [target]
        else:
            home.fault(Redirect(target), path="/blobs/")
        with pytest.raises((RegistryUnauthorized, BlobUnknown)):
            await client.get_blob("a", digest, 4, urls=urls)
        assert [r.path for r in stranger.requests] == [f"/v2/x/blobs/{digest}"]
        assert all("authorization" not in r.headers for r in stranger.requests)


async def test_whatever_breaks_the_bytes_are_right(registry: HostileRegistry) -> None:
    chance = random.Random(7)
    settings = msgspec.structs.replace(QUICK, attempts=6, resume_progress=1, read_buffer=1 << 16)
    for _ in range(12):
        data = chance.randbytes(chance.randrange(1, 400_000))
        digest = registry.add_blob(data)
        for _ in range(chance.randrange(5)):
            fault: Fault = chance.choice(
                [
                    Drop(after=chance.randrange(len(data))),
                    Drop(),
                    Status(503),
                    IgnoreRange(data),
                    Unfinished(),
                ]
            )
            registry.fault(fault, path=str(digest), times=1)
        async with RegistryClient(
            registry.address, insecure=True, settings=settings, clock=FakeClock().clock
        ) as client:
            try:
                got = await read(await client.get_blob("a", digest, len(data)))
            except RegistryError:
                continue
            assert got == data


async def test_connections_are_used_again(
    client: RegistryClient, registry: HostileRegistry, digest: Digest
) -> None:
    for _ in range(4):
        await read(await client.get_blob("a", digest, len(DATA)))
    # One for the attempt with TLS, one for everything else.
    assert registry.connections == 2

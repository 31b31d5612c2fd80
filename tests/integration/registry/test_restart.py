"""A registry that is stopped in the middle of a download and comes back."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.registry import available, free_port, start_registry

from trilby.errors import Unavailable
from trilby.image.registry.client import RegistryClient
from trilby.image.registry.settings import ClientSettings
from trilby.oci.digest import Digest

pytestmark = pytest.mark.skipif(not available(), reason="needs docker-registry")

PATIENT = ClientSettings(attempts=8, connect_attempts=8, backoff_base=0.05)
DATA = os.urandom(1 << 20) * 48
DIGEST = Digest.of(DATA)


async def pieces() -> AsyncIterator[bytes]:
    for at in range(0, len(DATA), 1 << 20):
        yield DATA[at : at + (1 << 20)]


async def test_the_download_goes_on(tmp_path: Path) -> None:
    port = free_port()
    with start_registry(tmp_path, port=port) as registry:
        async with RegistryClient(registry.address, insecure=True, settings=PATIENT) as client:
            await client.put_blob("a", pieces(), digest=DIGEST, size=len(DATA))
            blob = await client.get_blob("a", DIGEST, len(DATA))
            chunks = aiter(blob)
            got = [await anext(chunks)]
            registry.process.kill()
            registry.process.wait()
            with start_registry(tmp_path, port=port):
                got += [chunk async for chunk in chunks]
    assert Digest.of(b"".join(got)) == DIGEST
    assert blob.verified and blob.resumed >= 1


async def test_it_never_comes_back(tmp_path: Path) -> None:
    quick = ClientSettings(attempts=2, connect_attempts=2, backoff_base=0.01)
    with start_registry(tmp_path / "r") as registry:
        async with RegistryClient(registry.address, insecure=True, settings=quick) as client:
            await client.put_blob("a", pieces(), digest=DIGEST, size=len(DATA))
            blob = await client.get_blob("a", DIGEST, len(DATA))
            chunks = aiter(blob)
            await anext(chunks)
            registry.process.kill()
            registry.process.wait()
            shutil.rmtree(registry.storage)
            with pytest.raises(Unavailable, match=f"reading blob {DIGEST} in .*refused"):
                async for _ in chunks:
                    pass
    assert not blob.verified

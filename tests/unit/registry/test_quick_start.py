"""aiohttp imported without the authorities: registries are still verified, the rest is as it was."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.hostile_registry import HostileRegistry
from tests.support.registry import make_certificates

SRC = Path(__file__).resolve().parents[3] / "src"
PROGRAM = """
import asyncio, os, ssl, sys
from trilby.image.registry import quick_start
if sys.argv[2] == "quick":
    quick_start.allow()
quick_start.import_http_client()
from trilby.image.registry.client import RegistryClient
from trilby.image.registry import tls

async def main():
    async with RegistryClient(sys.argv[1]) as client:
        return (await client.get_manifest("a", "v1")).raw

print(asyncio.run(main()), tls.shared_contexts, os.environ.get("SSL_CERT_FILE"))
print(len(ssl.create_default_context().get_ca_certs()))
"""


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[HostileRegistry]:
    certificates = make_certificates(tmp_path, "127.0.0.1").parent
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    async with HostileRegistry(tls=context) as running:
        running.add_manifest("a", "v1", b"{}")
        yield running


async def ask(registry: HostileRegistry, how: str, authority: Path) -> tuple[int, str]:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SRC), "SSL_CERT_FILE": str(authority)}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, registry.address, how,
        env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await child.communicate()
    return child.returncode or 0, said.decode()


@pytest.mark.parametrize(("how", "shared"), [("quick", "False"), ("as it is", "True")])
async def test_the_systems_authorities_are_asked(
    registry: HostileRegistry, tmp_path: Path, how: str, shared: str
) -> None:
    authority = next((tmp_path / "certs.d").rglob("*.crt"))
    status, said = await ask(registry, how, authority)
    assert status == 0, said
    assert said.splitlines()[0] == f"b'{{}}' {shared} {authority}"
    assert int(said.splitlines()[1]) >= 1, "OpenSSL looks where the environment says"


async def test_an_unknown_authority_is_not_trusted(
    registry: HostileRegistry, tmp_path: Path
) -> None:
    other = make_certificates(tmp_path / "other", "127.0.0.1").parent
    status, said = await ask(registry, "quick", next((other / "certs.d").rglob("*.crt")))
    assert status == 1 and "certificate signed by unknown authority" in said

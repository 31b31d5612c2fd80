"""TLS: trusted by certs.d, untrusted, of another name, with client certificates."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.hostile_registry import HostileRegistry, Redirect
from tests.support.patience import FakeClock
from tests.support.registry import make_certificates

from trilby.image.certs import CertificateFiles, find_certificates
from trilby.image.registry.client import RegistryClient
from trilby.image.registry.errors import BadResponse, RegistryUnavailable, TlsFailure
from trilby.image.registry.tls import make_context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("tls"), "127.0.0.1").parent


@pytest.fixture
async def registry(certificates: Path) -> AsyncIterator[HostileRegistry]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    async with HostileRegistry(tls=context) as running:
        running.add_manifest("a", "v1", b"{}")
        yield running


async def test_trusted(registry: HostileRegistry, certificates: Path) -> None:
    files = find_certificates("x", cert_dir=certificates / "certs.d")
    async with RegistryClient(registry.address, tls=files) as client:
        assert (await client.get_manifest("a", "v1")).raw == b"{}"


async def test_untrusted_says_what_to_do(registry: HostileRegistry) -> None:
    async with RegistryClient(registry.address) as client:
        with pytest.raises(TlsFailure) as caught:
            await client.get_manifest("a", "v1")
    text = str(caught.value)
    assert (
        "tls: failed to verify certificate: x509: certificate signed by unknown authority" in text
    )
    assert f"/etc/containers/certs.d/{registry.address}/ca.crt" in text


async def test_insecure_does_not_ask(registry: HostileRegistry) -> None:
    async with RegistryClient(registry.address, insecure=True) as client:
        assert (await client.get_manifest("a", "v1")).raw == b"{}"
    assert registry.connections == 1


async def test_another_name(tmp_path: Path) -> None:
    directory = make_certificates(tmp_path, "127.0.0.9").parent
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    files = find_certificates("x", cert_dir=directory / "certs.d")
    async with HostileRegistry(tls=context) as registry:
        async with RegistryClient(registry.address, tls=files) as client:
            with pytest.raises(TlsFailure, match="x509: certificate is valid for other"):
                await client.get_manifest("a", "v1")


async def test_client_certificate(certificates: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    context.load_verify_locations(certificates / "certs.d/ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    pair = (str(certificates / "server.crt"), str(certificates / "server.key"))
    authorities = (str(certificates / "certs.d/ca.crt"),)
    async with HostileRegistry(tls=context) as registry:
        registry.add_manifest("a", "v1", b"{}")
        async with RegistryClient(
            registry.address, tls=CertificateFiles(authorities, (pair,))
        ) as client:
            assert (await client.get_manifest("a", "v1")).raw == b"{}"
        async with RegistryClient(
            registry.address, tls=CertificateFiles(authorities), clock=FakeClock().clock
        ) as client:
            # The server's alert comes after the handshake, and asyncio does not pass it on.
            with pytest.raises(RegistryUnavailable, match="reading manifest v1 in .*dropped"):
                await client.get_manifest("a", "v1")


async def test_no_redirect_to_plain_http(registry: HostileRegistry, certificates: Path) -> None:
    files = find_certificates("x", cert_dir=certificates / "certs.d")
    registry.fault(Redirect("http://elsewhere.invalid/x"), path="/manifests/")
    async with RegistryClient(registry.address, tls=files) as client:
        with pytest.raises(BadResponse, match="redirected from https to http"):
            await client.get_manifest("a", "v1")


def test_unusable_files_are_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.crt"
    bad.write_text("no certificate")
    with pytest.raises(TlsFailure, match=f"reading CA certificates from {bad}: "):
        make_context(CertificateFiles((str(bad),)))
    with pytest.raises(TlsFailure, match=f"reading a client certificate from {bad}: "):
        make_context(CertificateFiles((), ((str(bad), str(bad)),)))
    with pytest.raises(TlsFailure, match="no such file"):
        make_context(CertificateFiles((str(tmp_path / "none.crt"),)))


def test_no_context_is_made_without_need() -> None:
    assert make_context(CertificateFiles()) is True
    assert make_context(CertificateFiles(("whatever.crt",)), verify=False) is False

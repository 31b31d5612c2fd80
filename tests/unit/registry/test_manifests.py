"""Manifests from a registry that answers badly, or not at all."""

from __future__ import annotations

import re

import pytest
from tests.support.hostile_registry import (
    Body,
    Drop,
    Endless,
    EndlessRedirect,
    Garbage,
    Hang,
    Headers,
    HostileRegistry,
    Redirect,
    Status,
)
from tests.support.patience import FakeClock

from trilby.errors import Corrupt, NotFound, Unauthorized, Unavailable
from trilby.image.registry.client import RegistryClient
from trilby.image.registry.errors import (
    BadResponse,
    ContentMismatch,
    InvalidRequest,
    ManifestUnknown,
    RegistryError,
    RegistryRefused,
    RegistryUnauthorized,
    RegistryUnavailable,
    RepositoryUnknown,
    TooLarge,
    TooManyRequests,
)
from trilby.oci.digest import Digest
from trilby.oci.media import DOCKER_LIST, DOCKER_MANIFEST, OCI_MANIFEST

RAW = b'{"schemaVersion":2}'
OTHER = Digest.of(b"other")


@pytest.fixture(autouse=True)
def image(registry: HostileRegistry) -> Digest:
    return registry.add_manifest("a/b", "v1", RAW)


async def test_by_tag_and_by_digest(
    client: RegistryClient, registry: HostileRegistry, image: Digest
) -> None:
    for reference in ("v1", str(image)):
        found = await client.get_manifest("a/b", reference)
        assert (found.raw, found.media_type, found.digest) == (RAW, OCI_MANIFEST, image)
    accept = registry.requests[-1].headers["accept"]
    assert OCI_MANIFEST in accept and DOCKER_MANIFEST in accept and DOCKER_LIST in accept
    assert await client.head_manifest("a/b", "v1") == image
    assert await client.head_manifest("a/b", "v2") is None


async def test_head_without_a_digest_falls_back_to_get(
    client: RegistryClient, registry: HostileRegistry, image: Digest
) -> None:
    registry.fault(Headers({"Docker-Content-Digest": ""}), method="HEAD", path="/manifests/")
    assert await client.head_manifest("a/b", "v1") == image


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (Status(404), ManifestUnknown, "manifest unknown"),
        (Status(404, body=b"<html>"), ManifestUnknown, "manifest unknown"),
        (Status(404, "NAME_UNKNOWN", "no such name"), ManifestUnknown, "name unknown: no such"),
        (Status(403), RegistryUnauthorized, "requested access to the resource is denied"),
        (Status(403, "DENIED", "not yours"), RegistryUnauthorized, "denied: not yours"),
        (Status(401), RegistryUnauthorized, "unauthorized: authentication required"),
        (Status(429), TooManyRequests, "toomanyrequests: .*gave up after 3"),
        (
            Status(429, "TOOMANYREQUESTS", "pull rate"),
            TooManyRequests,
            "toomanyrequests: pull rate",
        ),
        (Status(500), RegistryUnavailable, "HTTP status 500 .*gave up after 3 attempts"),
        (Status(503, "UNAVAILABLE", "upgrading"), RegistryUnavailable, "unavailable: upgrading"),
        (Status(405), RegistryRefused, "unsupported"),
        (Status(418, body=b"\xff\xfe"), InvalidRequest, "HTTP status 418"),
        (Body(b"<html>Log in</html>", "text/html"), BadResponse, "text/html, that is no manifest"),
        (Body(b"", "application/json"), BadResponse, "application/json, that is no manifest"),
        (Hang(), RegistryUnavailable, "timed out, nothing came"),
        (Hang(after=3), RegistryUnavailable, "timed out, nothing came"),
        (Drop(), RegistryUnavailable, "dropped|reset"),
        (Drop(after=3), RegistryUnavailable, "the connection was dropped"),
        (Headers({"Content-Length": "99"}), RegistryUnavailable, "timed out|dropped"),
        (Endless(), TooLarge, "more than 4194304 bytes"),
        (Headers({"Content-Length": str(10**12)}), TooLarge, "1000000000000 bytes, at most"),
        (Redirect(), BadResponse, "circular redirect to"),
        (Redirect("ftp://elsewhere/x"), BadResponse, "redirected by .* to no usable place"),
        (EndlessRedirect(), BadResponse, "more than 4 redirects"),
        (Garbage(), BadResponse, "did not answer as an HTTP server should"),
        (
            Headers({"Docker-Content-Digest": str(OTHER)}),
            ContentMismatch,
            f"the registry says that its digest is {OTHER}",
        ),
        (
            Headers({"Content-Length": "5"}),
            BadResponse,
            "as an HTTP server should: (Bad status line|not HTTP) \\(a proxy",
        ),
    ],
    ids=lambda value: re.sub(r"\W+", "-", str(value))[:40] if not isinstance(value, type) else "",
)
async def test_each_fault_is_one_clear_error(
    client: RegistryClient,
    registry: HostileRegistry,
    fault: object,
    kind: type[RegistryError],
    text: str,
) -> None:
    registry.fault(fault, path="/manifests/")  # type: ignore[arg-type]  # parametrize knows no types
    with pytest.raises(RegistryError, match=text) as caught:
        await client.get_manifest("a/b", "v1")
    assert type(caught.value) is kind
    message = str(caught.value)
    assert message.startswith(f"reading manifest v1 in {registry.address}/a/b: ")
    assert "\n" not in message
    assert caught.value.hint or kind in (RegistryRefused, InvalidRequest)


def test_kinds_of_errors_decide_exit_codes() -> None:
    for kind, parent in (
        (ManifestUnknown, NotFound),
        (RegistryUnauthorized, Unauthorized),
        (BadResponse, Unavailable),
        (TooManyRequests, Unavailable),
        (ContentMismatch, Corrupt),
        (TooLarge, Corrupt),
    ):
        assert issubclass(kind, parent)


@pytest.mark.parametrize(
    "fault", [Status(500), Status(503), Drop(), Drop(after=3), Hang(after=2), Status(429)]
)
async def test_passing_faults_are_survived(
    client: RegistryClient, registry: HostileRegistry, fault: object, clock: FakeClock
) -> None:
    registry.fault(fault, path="/manifests/", times=2)  # type: ignore[arg-type]  # as above
    assert (await client.get_manifest("a/b", "v1")).raw == RAW
    # aiohttp itself asks again when a connection that was used before is found closed.
    assert len(clock.slept) in (1, 2)


async def test_retry_after_is_respected(
    client: RegistryClient, registry: HostileRegistry, clock: FakeClock
) -> None:
    registry.fault(Status(429, headers={"Retry-After": "11"}), path="/manifests/", times=1)
    await client.get_manifest("a/b", "v1")
    assert clock.slept == [11.0]


async def test_all_requests_respect_what_one_was_told(
    client: RegistryClient, registry: HostileRegistry, clock: FakeClock
) -> None:
    registry.fault(Status(429, headers={"Retry-After": "11"}), path="/manifests/", times=3)
    with pytest.raises(TooManyRequests):
        await client.get_manifest("a/b", "v1")
    assert clock.slept == [11.0, 11.0]
    await client.tags("a/b")
    assert clock.slept == [11.0, 11.0, 11.0]


async def test_another_manifest_under_a_digest_is_refused(
    client: RegistryClient, registry: HostileRegistry, image: Digest
) -> None:
    registry.fault(Body(b'{"schemaVersion":3}'), path="/manifests/")
    with pytest.raises(ContentMismatch, match="the manifest that came has the digest sha256:"):
        await client.get_manifest("a/b", str(image))
    assert registry.count("/manifests/") == 1


@pytest.mark.parametrize("content_type", ["text/plain", "application/json; charset=utf-8", ""])
async def test_a_useless_content_type_is_left_to_the_parser(
    client: RegistryClient, registry: HostileRegistry, content_type: str
) -> None:
    registry.fault(Headers({"Content-Type": content_type}), path="/manifests/")
    assert (await client.get_manifest("a/b", "v1")).media_type == ""


async def test_media_type_is_normalised(client: RegistryClient, registry: HostileRegistry) -> None:
    registry.fault(Headers({"Content-Type": f"{OCI_MANIFEST.upper()}; charset=utf-8"}))
    assert (await client.get_manifest("a/b", "v1")).media_type == OCI_MANIFEST


async def test_tags_over_pages(client: RegistryClient, registry: HostileRegistry) -> None:
    registry.page = 2
    for tag in ("v2", "v3", "v4", "v5"):
        registry.add_manifest("a/b", tag, RAW)
    assert await client.tags("a/b") == ["v1", "v2", "v3", "v4", "v5"]
    assert registry.count("/tags/list") == 3


async def test_a_circle_of_pages_ends(client: RegistryClient, registry: HostileRegistry) -> None:
    link = {"Link": '</v2/a/b/tags/list?n=1000>; rel="next"'}
    registry.fault(Headers(link), path="/tags/list")
    assert await client.tags("a/b") == ["v1"]


async def test_tags_of_a_missing_repository(
    client: RegistryClient, registry: HostileRegistry
) -> None:
    registry.fault(Status(404, "NAME_UNKNOWN", "repository name not known"), path="/tags/")
    with pytest.raises(RepositoryUnknown, match="listing tags of .*: name unknown: repository"):
        await client.tags("a/b")


async def test_put_and_delete(
    client: RegistryClient, registry: HostileRegistry, image: Digest
) -> None:
    assert await client.put_manifest("a/c", "new", RAW, DOCKER_MANIFEST) == image
    assert registry.manifests["a/c", "new"] == (RAW, DOCKER_MANIFEST)
    await client.delete_manifest("a/c", image)
    assert ("a/c", "new") not in registry.manifests
    with pytest.raises(ManifestUnknown, match="deleting manifest"):
        await client.delete_manifest("a/c", image)


async def test_deletion_switched_off(client: RegistryClient, registry: HostileRegistry) -> None:
    registry.fault(Status(405, "UNSUPPORTED"), method="DELETE")
    with pytest.raises(RegistryRefused, match="unsupported .*deletion must be enabled"):
        await client.delete_manifest("a/b", OTHER)


async def test_nobody_listens(registry: HostileRegistry, clock: FakeClock) -> None:
    from tests.support.registry import free_port

    address = f"127.0.0.1:{free_port()}"
    async with RegistryClient(address, clock=clock.clock) as client:
        with pytest.raises(Unavailable, match=f"in {address}/x: {address}: connection refused"):
            await client.get_manifest("x", "v1")
    assert len(clock.slept) == 2


async def test_no_such_host(clock: FakeClock) -> None:
    async with RegistryClient("nowhere.invalid", clock=clock.clock) as client:
        with pytest.raises(Unavailable, match="no such host|name server failure"):
            await client.get_manifest("x", "v1")


async def test_plain_http_without_insecure(registry: HostileRegistry) -> None:
    async with RegistryClient(registry.address) as client:
        with pytest.raises(Unavailable, match="server gave HTTP response to HTTPS client"):
            await client.get_manifest("a/b", "v1")

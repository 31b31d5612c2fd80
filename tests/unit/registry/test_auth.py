"""Getting in: challenges, tokens and their scopes, refusals."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest
from tests.support.hostile_registry import Body, Drop, Garbage, Hang, HostileRegistry, Status
from tests.support.patience import FakeClock
from tests.unit.registry.conftest import Connect

from trilby.errors import Unauthorized
from trilby.image.auth import Credentials
from trilby.image.registry.client import RegistryClient
from trilby.image.registry.errors import BadResponse, RegistryUnauthorized, RegistryUnavailable

ADA = Credentials("ada", "s3:cret")
WRONG = Credentials("ada", "wrong")


@pytest.fixture
async def guarded() -> AsyncIterator[HostileRegistry]:
    async with HostileRegistry(auth="bearer", users={"ada": "s3:cret"}) as registry:
        registry.add_manifest("a/b", "v1", b"{}")
        yield registry


@pytest.fixture
async def basic() -> AsyncIterator[HostileRegistry]:
    async with HostileRegistry(auth="basic", users={"ada": "s3:cret"}) as registry:
        registry.add_manifest("a/b", "v1", b"{}")
        yield registry


async def test_anonymous_token(connect: Connect, guarded: HostileRegistry) -> None:
    await connect(guarded).get_manifest("a/b", "v1")
    [asked] = [r for r in guarded.requests if r.path == "/token"]
    assert asked.values("scope") == ["repository:a/b:pull"]
    assert asked.values("service") == ["hostile"]
    assert "authorization" not in asked.headers


async def test_token_with_credentials_is_kept(connect: Connect, guarded: HostileRegistry) -> None:
    client = connect(guarded, credentials=ADA)
    for _ in range(3):
        await client.get_manifest("a/b", "v1")
    [asked] = [r for r in guarded.requests if r.path == "/token"]
    assert asked.values("account") == ["ada"]
    assert base64.b64decode(asked.headers["authorization"].split()[1]) == b"ada:s3:cret"


async def test_one_token_for_many_at_once(connect: Connect, guarded: HostileRegistry) -> None:
    client = connect(guarded)
    await client.ping()
    before = guarded.count("/token")
    await asyncio.gather(*(client.get_manifest("a/b", "v1") for _ in range(8)))
    assert guarded.count("/token") == before + 1


async def test_token_is_renewed_before_it_expires(
    connect: Connect, guarded: HostileRegistry, clock: FakeClock
) -> None:
    client = connect(guarded)
    await client.get_manifest("a/b", "v1")
    clock.time += 280
    await client.get_manifest("a/b", "v1")
    assert guarded.count("/token") == 2


async def test_a_token_that_died_early_is_renewed(
    connect: Connect, guarded: HostileRegistry
) -> None:
    client = connect(guarded)
    await client.get_manifest("a/b", "v1")
    guarded.tokens = {"another"}
    await client.get_manifest("a/b", "v1")
    assert guarded.count("/token") == 2


async def test_a_token_that_never_works_ends(connect: Connect, guarded: HostileRegistry) -> None:
    challenge = f'Bearer realm="{guarded.url}/token",service="hostile"'
    guarded.fault(Status(401, headers={"WWW-Authenticate": challenge}), path="/manifests/")
    with pytest.raises(RegistryUnauthorized, match="unauthorized: authentication required"):
        await connect(guarded).get_manifest("a/b", "v1")
    assert guarded.count("/manifests/") <= 3


async def test_more_scope_is_asked_for_when_told(
    connect: Connect, guarded: HostileRegistry
) -> None:
    client = connect(guarded)
    await client.get_manifest("a/b", "v1")
    challenge = (
        f'Bearer realm="{guarded.url}/token",service="hostile",'
        'scope="repository:a/b:pull repository:base:pull",error="insufficient_scope"'
    )
    guarded.fault(Status(401, headers={"WWW-Authenticate": challenge}), path="/manifests/", times=1)
    await client.get_manifest("a/b", "v1")
    assert guarded.requests[-2].values("scope") == ["repository:a/b:pull", "repository:base:pull"]


async def test_wrong_password_at_the_token_server(
    connect: Connect, guarded: HostileRegistry
) -> None:
    with pytest.raises(RegistryUnauthorized) as caught:
        await connect(guarded, credentials=WRONG).get_manifest("a/b", "v1")
    text = str(caught.value)
    assert "getting a token from" in text
    assert "unauthorized: incorrect username or password" in text
    assert "wrong" not in text.replace("incorrect", "")


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (Status(500), RegistryUnavailable, "getting a token from .*HTTP status 500"),
        (Status(403, "DENIED", "no"), RegistryUnauthorized, "unauthorized: denied: no"),
        (Status(404), BadResponse, "there is no token server"),
        (Body(b"<html>", "text/html"), BadResponse, r"the answer \(text/html\) is no token"),
        (Body(b"{}"), BadResponse, "no usable token"),
        (Body(b'{"token":"a\\r\\nX-Evil: 1"}'), BadResponse, "no usable token"),
        (Body(b'{"token":17}'), BadResponse, "is no token"),
        (Hang(), RegistryUnavailable, "timed out"),
        (Drop(), RegistryUnavailable, "dropped|reset"),
        (Garbage(), BadResponse, "did not answer as an HTTP server"),
    ],
)
async def test_faults_of_the_token_server(
    connect: Connect, guarded: HostileRegistry, fault: object, kind: type[Exception], text: str
) -> None:
    guarded.fault(fault, path="/token")  # type: ignore[arg-type]  # parametrize knows no types
    with pytest.raises(kind, match=text):
        await connect(guarded).get_manifest("a/b", "v1")


@pytest.mark.parametrize(
    "challenge",
    ["", "Bearer", 'Bearer realm="not a url"', 'Bearer realm="file:///etc/passwd"', "Digest x=y"],
)
async def test_broken_challenges(
    connect: Connect, guarded: HostileRegistry, challenge: str
) -> None:
    guarded.fault(Status(401, headers={"WWW-Authenticate": challenge}), path="/manifests/")
    with pytest.raises(RegistryUnauthorized, match="unauthorized: authentication required"):
        await connect(guarded, credentials=ADA).get_manifest("a/b", "v1")
    assert guarded.count("/manifests/") == 1


async def test_basic(connect: Connect, basic: HostileRegistry) -> None:
    client = connect(basic, credentials=ADA)
    await client.ping()
    await client.get_manifest("a/b", "v1")
    # Once known, the password is sent without waiting to be asked.
    assert basic.count("/manifests/") == 1


@pytest.mark.parametrize("credentials", [None, WRONG])
async def test_basic_refused(
    connect: Connect, basic: HostileRegistry, credentials: Credentials | None
) -> None:
    with pytest.raises(Unauthorized, match="unauthorized: authentication required"):
        await connect(basic, credentials=credentials).get_manifest("a/b", "v1")


async def test_identity_token_is_exchanged(connect: Connect, guarded: HostileRegistry) -> None:
    client = connect(guarded, credentials=Credentials(identity_token="refresh me"))
    await client.get_manifest("a/b", "v1")
    [asked] = [r for r in guarded.requests if r.path == "/token"]
    assert asked.method == "POST"
    assert b"grant_type=refresh_token" in asked.body
    assert b"refresh_token=refresh+me" in asked.body or b"refresh%20me" in asked.body
    assert b"scope=repository%3Aa%2Fb%3Apull" in asked.body or b"scope=repository:a" in asked.body


async def test_bearer_as_it_is(connect: Connect, guarded: HostileRegistry) -> None:
    guarded.tokens.add("mine")
    await connect(guarded, bearer="mine").get_manifest("a/b", "v1")
    assert guarded.count("/token") == 0
    with pytest.raises(RegistryUnauthorized):
        await connect(guarded, bearer="other").get_manifest("a/b", "v1")


async def test_no_credentials_over_plain_http(guarded: HostileRegistry) -> None:
    # The realm is plain HTTP although the registry is (said to be) secure.
    async with RegistryClient("registry.invalid", credentials=ADA) as client:
        auth = client._exchange._auth
        from trilby.image.registry.tokens import Ticket

        header = f'Bearer realm="{guarded.url}/token"'
        assert not auth.learn([header], frozenset(), Ticket(None))
        assert auth.learn(['Bearer realm="https://auth.invalid/t"'], frozenset(), Ticket(None))

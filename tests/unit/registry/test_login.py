"""Logging in and out."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.hostile_registry import HostileRegistry, Status

from trilby.errors import NotFound, Unavailable
from trilby.image.context import ImageContext
from trilby.image.errors import InvalidReference
from trilby.image.login import login, logout, split_key
from trilby.image.registry.errors import RegistryUnauthorized

ADA = ("ada", "s3:cret")


@pytest.fixture(params=["basic", "bearer"])
async def registry(request: pytest.FixtureRequest) -> AsyncIterator[HostileRegistry]:
    async with HostileRegistry(auth=request.param, users={"ada": "s3:cret"}) as running:
        yield running


@pytest.fixture
def context(tmp_path: Path) -> ImageContext:
    (tmp_path / "registries.conf").write_text("")
    return ImageContext(
        auth_file=str(tmp_path / "auth.json"),
        registries_conf=str(tmp_path / "registries.conf"),
        registries_conf_dir=str(tmp_path / "none"),
        tls_verify=False,
        retries=0,
    )


async def test_in_and_out(registry: HostileRegistry, context: ImageContext, tmp_path: Path) -> None:
    done = await login(registry.address, *ADA, context)
    assert (done.key, done.stored_in) == (registry.address, str(tmp_path / "auth.json"))
    stored = json.loads((tmp_path / "auth.json").read_text())
    assert base64.b64decode(stored["auths"][registry.address]["auth"]) == b"ada:s3:cret"
    logout(registry.address, context)
    with pytest.raises(NotFound):
        logout(registry.address, context)


async def test_refused(registry: HostileRegistry, context: ImageContext, tmp_path: Path) -> None:
    with pytest.raises(RegistryUnauthorized) as caught:
        await login(registry.address, "ada", "guess", context)
    text = str(caught.value)
    assert text.startswith(f"logging in to {registry.address} as ada: invalid username/password: ")
    assert "unauthorized" in text and "nothing was stored" in text and "guess" not in text
    assert not (tmp_path / "auth.json").exists()


async def test_registry_down(
    registry: HostileRegistry, context: ImageContext, tmp_path: Path
) -> None:
    registry.fault(Status(503))
    with pytest.raises(Unavailable, match="HTTP status 503"):
        await login(registry.address, *ADA, context)
    assert not (tmp_path / "auth.json").exists()


async def test_unchecked(context: ImageContext, tmp_path: Path) -> None:
    await login("nowhere.invalid", *ADA, context, check=False)
    await login("nowhere.invalid/team", *ADA, context, check=False)
    assert sorted(logout("", context, everything=True)) == [
        "nowhere.invalid",
        "nowhere.invalid/team",
    ]


@pytest.mark.parametrize(
    ("text", "host", "key"),
    [
        ("quay.io", "quay.io", "quay.io"),
        ("https://quay.io/", "quay.io", "quay.io"),
        ("https://index.docker.io/v1/", "docker.io", "docker.io"),
        ("localhost:5000/team/x", "localhost:5000", "localhost:5000/team/x"),
        ("registry", "registry", "registry"),
    ],
)
def test_keys(text: str, host: str, key: str) -> None:
    assert split_key(text) == (host, key)


@pytest.mark.parametrize("text", ["", "/x", "a b", "https://", "x.example/UPPER", "u@x.example"])
def test_bad_keys(text: str) -> None:
    with pytest.raises(InvalidReference):
        split_key(text)

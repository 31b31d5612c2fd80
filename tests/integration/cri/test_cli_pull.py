"""Pulls by --host: how far one is, credentials, and what a registry says when it refuses."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.cli_daemon import Commands, commands
from tests.support.daemon import pod_config
from tests.support.hostile_registry import Drip, HostileRegistry
from tests.support.pods import own_place
from tests.support.store import layer_tar

from trilby.cri.client.pages import get
from trilby.cri.client.report import Pull, read_status
from trilby.cri.proto import common_pb2, image_pb2
from trilby.oci.digest import Digest

FURTHER = """
[trilby.image]
signature_policy = "POLICY"
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Commands]:
    root = Path(tempfile.mkdtemp(prefix="trilby-", dir="/dev/shm"))
    policy = root / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    with own_place(root) as place:
        with commands(place, FURTHER.replace("POLICY", str(policy))) as daemon:
            yield daemon
    shutil.rmtree(root)


@asynccontextmanager
async def trusted(daemon: Commands, registry: HostileRegistry) -> AsyncIterator[HostileRegistry]:
    """The registry runs, and the daemon may speak plain HTTP with it."""
    async with registry:
        path = daemon.place.root / "conf.d" / "registry.conf"
        path.write_text(f'[trilby.image]\ninsecure_registries = ["{registry.address}"]\n')
        await asyncio.to_thread(get, daemon.daemon.socket, "/config/reload", object, method="POST")
        yield registry


def add_image(registry: HostileRegistry, repository: str, size: int) -> int:
    """An image of one layer of about ``size`` bytes, under ``:1``; its size as transferred."""
    tar = layer_tar({"data": os.urandom(size)})
    layer = gzip.compress(tar, 1)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"User": "12"},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(tar))]},
        }
    ).encode()
    blobs = [(config, "config"), (layer, "layer.v1.tar+gzip")]
    described = [
        {
            "mediaType": f"application/vnd.oci.image.{kind}"
            + (".v1+json" if kind == "config" else ""),
            "digest": str(registry.add_blob(blob)),
            "size": len(blob),
        }
        for blob, kind in blobs
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described[0],
        "layers": described[1:],
    }
    registry.add_manifest(repository, "1", json.dumps(manifest).encode())
    return len(layer) + len(config)


async def test_how_far_a_pull_is(daemon: Commands) -> None:
    async with trusted(daemon, HostileRegistry()) as registry:
        size = add_image(registry, "slow", 8_000_000)
        layer = max(registry.blobs, key=lambda digest: len(registry.blobs[digest]))
        registry.fault(Drip(pause=0.05, piece=400_000), path=layer)
        name = f"{registry.address}/slow:1"
        task = asyncio.create_task(asyncio.to_thread(daemon.trilby, "image", "pull", "-q", name))
        seen: list[Pull] = []
        while not task.done():
            status = await asyncio.to_thread(read_status, daemon.daemon.socket)
            seen += status.pulls
            await asyncio.sleep(0.1)
        done = await task
        assert len(seen) >= 3, "it takes a second"
        assert {pull.image for pull in seen} == {name}
        assert {pull.size for pull in seen} <= {0, size}
        percents = [pull.percent for pull in seen]
        assert percents == sorted(percents)
        assert any(10 < percent < 90 for percent in percents)
        assert any(pull.rate > 0 for pull in seen)
        assert all(pull.layers <= pull.layers_total for pull in seen)
        assert (await asyncio.to_thread(read_status, daemon.daemon.socket)).pulls == ()
        listed = await asyncio.to_thread(daemon.trilby, "image", "list", "-q", "--no-trunc")
        assert done.stdout.strip() in listed.stdout
        removed = await asyncio.to_thread(daemon.trilby, "image", "remove", name)
        assert removed.stdout.splitlines() == [
            f"Untagged: {name}",
            f"Deleted: {done.stdout.strip()}",
        ]


async def test_credentials_go_along(daemon: Commands, tmp_path: Path) -> None:
    closed = HostileRegistry(auth="basic", users={"ada": "secret"})
    async with trusted(daemon, closed) as registry:
        add_image(registry, "closed", 100)
        name = f"{registry.address}/closed:1"

        async def pull(*flags: str, check: bool = True) -> int:
            done = await asyncio.to_thread(
                daemon.trilby, "image", "pull", "-q", *flags, name, check=check
            )
            return done.returncode

        assert await pull(check=False) == 7
        assert await pull("--creds", "ada:wrong", check=False) == 7
        assert await pull("--creds", "ada:secret") == 0
        auth = tmp_path / "auth.json"
        auth.write_text(json.dumps({"auths": {registry.address: {"auth": "YWRhOnNlY3JldA=="}}}))
        assert await pull("--authfile", str(auth)) == 0
        assert await pull("--policy", "missing") == 0, "it is there"
        await asyncio.to_thread(daemon.trilby, "image", "remove", name)
        assert await pull("--policy", "never", check=False) == 3


async def test_a_pull_for_a_pod_is_in_its_trace(daemon: Commands) -> None:
    async with trusted(daemon, HostileRegistry()) as registry:
        add_image(registry, "traced", 100)
        name = f"{registry.address}/traced:1"
        sandbox = await daemon.daemon.run_pod("traced")
        request = image_pb2.PullImageRequest(
            image=common_pb2.ImageSpec(image=name), sandbox_config=pod_config("traced")
        )
        await daemon.daemon.call(request, image_pb2.PullImageResponse)
        done = await asyncio.to_thread(daemon.trilby, "pod", "trace", "traced")
        assert f"pull image: {name}" in done.stdout
        await daemon.daemon.remove_pod(sandbox)
        await asyncio.to_thread(daemon.trilby, "image", "remove", name)


async def test_the_user_of_an_image_is_known(daemon: Commands) -> None:
    async with trusted(daemon, HostileRegistry()) as registry:
        add_image(registry, "user", 100)
        name = f"{registry.address}/user:1"
        await asyncio.to_thread(daemon.trilby, "image", "pull", "-q", name)
        done = await asyncio.to_thread(
            daemon.trilby, "image", "inspect", "--format", "{{.User}}", name
        )
        assert done.stdout == "12\n"
        await asyncio.to_thread(daemon.trilby, "image", "remove", name)

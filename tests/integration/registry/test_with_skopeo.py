"""The real registry between skopeo and us: what one writes the other reads."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.images import (
    SampleImage,
    make_image,
    make_index,
    make_tar,
    small_image,
    write_layout,
)
from tests.support.patience import FakeClock
from tests.support.registry import TestRegistry, available, start_registry

from trilby.image.auth import Credentials
from trilby.image.certs import find_certificates
from trilby.image.context import ImageContext
from trilby.image.copy import copy_image
from trilby.image.copy_types import CopyOptions
from trilby.image.login import login
from trilby.image.registry.client import RegistryClient
from trilby.image.registry.errors import (
    BlobUnknown,
    ContentMismatch,
    ManifestRejected,
    ManifestUnknown,
    RegistryError,
    RegistryRefused,
    RegistryUnauthorized,
    TlsFailure,
)
from trilby.image.transport import open_destination, open_source
from trilby.oci.digest import Digest
from trilby.oci.media import OCI_MANIFEST

pytestmark = pytest.mark.skipif(
    not available() or shutil.which("skopeo") is None, reason="needs docker-registry and skopeo"
)
ADA = Credentials("ada", "s3:cret")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestRegistry]:
    directory = tmp_path_factory.mktemp("registry")
    with start_registry(directory, tls=True, users={"ada": "s3:cret"}) as running:
        yield running


@pytest.fixture
def context(registry: TestRegistry, tmp_path: Path) -> ImageContext:
    (tmp_path / "registries.conf").write_text("")
    return ImageContext(
        credentials=("ada", "s3:cret"),
        cert_dir=str(registry.cert_dir),
        registries_conf=str(tmp_path / "registries.conf"),
        registries_conf_dir=str(tmp_path / "none"),
        registries_d=str(tmp_path / "none"),
        retries=0,
    )


@pytest.fixture
async def client(registry: TestRegistry) -> AsyncIterator[RegistryClient]:
    files = find_certificates(registry.address, cert_dir=registry.cert_dir)
    async with RegistryClient(
        registry.address, credentials=ADA, tls=files, clock=FakeClock().clock
    ) as connected:
        yield connected


def skopeo(registry: TestRegistry, tmp_path: Path, *arguments: str) -> str:
    policy = tmp_path / "policy.json"
    policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
    done = subprocess.run(
        ["skopeo", "--policy", policy, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "REGISTRY_AUTH_FILE": str(tmp_path / "skopeo-auth.json")},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def options(registry: TestRegistry, side: str) -> list[str]:
    return [f"--{side}creds=ada:s3:cret", f"--{side}cert-dir={registry.cert_dir}"]


def pushed_by_skopeo(
    registry: TestRegistry, tmp_path: Path, image: SampleImage, name: str, *more: str
) -> str:
    layout = write_layout(tmp_path / "layout", {"x": image})
    target = f"{registry.address}/{name}"
    skopeo(registry, tmp_path, "copy", "-q", *options(registry, "dest-"), *more,
           f"oci:{layout}:x", f"docker://{target}")  # fmt: skip
    return target


async def test_read_what_skopeo_wrote(
    registry: TestRegistry, context: ImageContext, tmp_path: Path
) -> None:
    image = small_image()
    target = pushed_by_skopeo(registry, tmp_path, image, "from/skopeo:1")
    source = await open_source(f"docker://{target}", context)
    raw, media_type = await source.get_manifest()
    assert (raw, media_type) == (image.manifest.data, OCI_MANIFEST)
    from trilby.oci.manifest import Manifest, parse_manifest

    manifest = parse_manifest(raw, media_type)
    assert isinstance(manifest, Manifest)
    for descriptor in (manifest.config, *manifest.layers):
        stream = await source.get_blob(descriptor)
        assert b"".join([c async for c in stream]) == image.blobs[str(descriptor.digest)]
    await source.close()


@pytest.mark.parametrize("kind", ["oci", "v2s2"])
async def test_skopeo_reads_what_we_wrote(
    registry: TestRegistry, context: ImageContext, tmp_path: Path, kind: str
) -> None:
    image = small_image(text=kind, docker=kind == "v2s2")
    target = f"{registry.address}/from/us:{kind}"
    layout = write_layout(tmp_path / "ours", {"x": image})
    await copy(f"oci:{layout}:x", f"docker://{target}", context)
    shown = json.loads(
        skopeo(registry, tmp_path, "inspect", *options(registry, ""), f"docker://{target}")
    )
    assert shown["Digest"] == image.manifest.digest
    assert shown["Layers"] == [layer.digest for layer in image.layers]
    skopeo(registry, tmp_path, "copy", "-q", *options(registry, "src-"), f"docker://{target}",
           f"dir:{tmp_path / 'back'}")  # fmt: skip
    assert (tmp_path / "back/manifest.json").read_bytes() == image.manifest.data


async def copy(source_name: str, target_name: str, context: ImageContext) -> None:
    source = await open_source(source_name, context)
    target = await open_destination(target_name, context)
    try:
        await copy_image(source, target, CopyOptions(which="all"))
    finally:
        await source.close()
        await target.close()


async def test_an_index_goes_there_and_back(
    registry: TestRegistry, context: ImageContext, tmp_path: Path
) -> None:
    images = [small_image(platform="linux/amd64"), small_image(platform="linux/arm64/v8")]
    index = make_index(images)
    layout = write_layout(tmp_path / "ours", {"x": (index, images)})
    target = f"docker://{registry.address}/from/us:index"
    await copy(f"oci:{layout}:x", target, context)
    shown = skopeo(registry, tmp_path, "inspect", "--raw", *options(registry, ""), target)
    assert shown.encode() == index.data
    await copy(target, f"dir:{tmp_path / 'back'}", context)
    assert (tmp_path / "back/manifest.json").read_bytes() == index.data


async def test_tags_delete_and_what_is_unknown(
    client: RegistryClient, registry: TestRegistry, tmp_path: Path
) -> None:
    image = small_image(text="short-lived")
    for tag in ("1", "2", "3"):
        pushed_by_skopeo(registry, tmp_path / tag, image, f"tagged:{tag}")
    assert sorted(await client.tags("tagged")) == ["1", "2", "3"]
    digest = await client.head_manifest("tagged", "2")
    assert digest == Digest.parse(image.manifest.digest)
    await client.delete_manifest("tagged", digest)
    assert await client.head_manifest("tagged", "2") is None
    with pytest.raises(ManifestUnknown, match="reading manifest 2 in .*/tagged: manifest unknown"):
        await client.get_manifest("tagged", "2")
    with pytest.raises(BlobUnknown):
        await client.get_blob("tagged", Digest.of(b"never"))


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    for name in ("1", "2", "3"):
        (tmp_path / name).mkdir()


async def test_mount_instead_of_upload(
    client: RegistryClient, registry: TestRegistry, tmp_path: Path
) -> None:
    image = small_image(text="mounted")
    pushed_by_skopeo(registry, tmp_path, image, "base:1")
    digest = Digest.parse(image.layers[0].digest)
    assert await client.blob_size("derived", digest) is None
    assert await client.mount_blob("derived", digest, "base")
    assert await client.blob_size("derived", digest) == len(image.layers[0].data)
    assert not await client.mount_blob("derived", Digest.of(b"never"), "base")


@pytest.mark.parametrize("chunk", [0, 1 << 20])
async def test_upload_and_download_of_something_larger(registry: TestRegistry, chunk: int) -> None:
    from trilby.image.registry.settings import ClientSettings

    data = os.urandom(5_300_000)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 100_000):
            yield data[at : at + 100_000]

    files = find_certificates(registry.address, cert_dir=registry.cert_dir)
    settings = ClientSettings(upload_chunk=chunk)
    async with RegistryClient(
        registry.address, credentials=ADA, tls=files, settings=settings
    ) as client:
        digest, size = await client.put_blob("large", pieces())
        assert (digest, size) == (Digest.of(data), len(data))
        blobs = await asyncio.gather(*(client.get_blob("large", digest, size) for _ in range(3)))
        for blob in blobs:
            assert b"".join([c async for c in blob]) == data
    assert not list(registry.storage.glob("docker/registry/v2/repositories/large/_uploads/*/data"))


async def test_damage_in_the_registry_is_found(
    client: RegistryClient, registry: TestRegistry, tmp_path: Path
) -> None:
    image = make_image([make_tar({"f": os.urandom(50_000)})])
    pushed_by_skopeo(registry, tmp_path, image, "damaged:1")
    layer = image.layers[0]
    path = registry.blob_path(layer.digest)
    path.write_bytes(b"x" + layer.data[1:])
    digest = Digest.parse(layer.digest)
    with pytest.raises(ContentMismatch, match=f"reading blob {digest} in .*: the bytes that came"):
        async for _ in await client.get_blob("damaged", digest, len(layer.data)):
            pass
    path.write_bytes(layer.data[:-1])
    # The registry remembers the length and announces it, but cannot keep its word.
    with pytest.raises(RegistryError, match=f"reading blob {digest} in"):
        async for _ in await client.get_blob("damaged", digest, len(layer.data)):
            pass


async def test_refusals(registry: TestRegistry, client: RegistryClient) -> None:
    files = find_certificates(registry.address, cert_dir=registry.cert_dir)
    for credentials in (None, Credentials("ada", "guess")):
        async with RegistryClient(registry.address, credentials=credentials, tls=files) as stranger:
            with pytest.raises(RegistryUnauthorized, match="unauthorized: authentication required"):
                await stranger.get_manifest("a", "1")
    async with RegistryClient(registry.address, credentials=ADA) as unsure:
        with pytest.raises(TlsFailure, match="x509: certificate signed by unknown authority"):
            await unsure.get_manifest("a", "1")
    with pytest.raises(ManifestRejected, match="writing manifest 1 to .*/a: manifest invalid"):
        await client.put_manifest("a", "1", b"{}", "application/x-unknown")


async def test_deletion_switched_off(tmp_path: Path) -> None:
    with start_registry(tmp_path / "r", delete=False) as plain:
        image = small_image()
        layout = write_layout(tmp_path / "layout", {"x": image})
        skopeo(plain, tmp_path, "copy", "-q", "--dest-tls-verify=false",
               f"oci:{layout}:x", f"docker://{plain.address}/a:1")  # fmt: skip
        async with RegistryClient(plain.address, insecure=True) as client:
            digest = (await client.get_manifest("a", "1")).digest
            with pytest.raises(RegistryRefused, match="unsupported.*deletion must be enabled"):
                await client.delete_manifest("a", digest)


async def test_login_serves_skopeo_too(
    registry: TestRegistry, context: ImageContext, tmp_path: Path
) -> None:
    mine = context.with_changes(credentials=None, auth_file=str(tmp_path / "skopeo-auth.json"))
    with pytest.raises(RegistryUnauthorized, match="invalid username/password"):
        await login(registry.address, "ada", "guess", mine)
    await login(registry.address, "ada", "s3:cret", mine)
    pushed_by_skopeo(registry, tmp_path, small_image(), "logged/in:1")
    shown = skopeo(registry, tmp_path, "list-tags", f"--cert-dir={registry.cert_dir}",
                   f"docker://{registry.address}/logged/in")  # fmt: skip
    assert json.loads(shown)["Tags"] == ["1"]

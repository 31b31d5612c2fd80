"""dir:, oci:, oci-archive: and docker-archive: as sources and destinations."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from tests.support.image_ends import MemoryDestination, MemorySource
from tests.support.images import SampleImage, make_index, small_image, write_layout

from trilby.errors import Conflict, Corrupt, InvalidInput, NotFound, StorageFailure
from trilby.image.context import ImageContext
from trilby.image.copy import copy_image
from trilby.image.copy_types import CopyOptions, CopyResult, Which
from trilby.image.errors import CorruptImage, UnknownTransport
from trilby.image.transport import Destination, Source, open_destination, open_source
from trilby.image.transports.docker_archive import list_images
from trilby.image.transports.docker_archive_write import DockerArchiveWriter

CONTEXT = ImageContext()


async def copy(source: str | Source, destination: str, which: Which = "system") -> CopyResult:
    opened = await open_source(source, CONTEXT) if isinstance(source, str) else source
    try:
        writer = await open_destination(destination, CONTEXT)
        try:
            return await copy_image(opened, writer, CopyOptions(which=which))
        finally:
            await writer.close()
    finally:
        await opened.close()


async def content(source: str) -> MemoryDestination:
    destination = MemoryDestination()
    opened = await open_source(source, CONTEXT)
    await copy_image(opened, destination)
    await opened.close()
    return destination


@pytest.mark.parametrize("transport", ["dir", "oci", "oci-archive"])
async def test_there_and_back(transport: str, tmp_path: Path) -> None:
    image = small_image()
    place = f"{transport}:{tmp_path / 'image'}" + ("" if transport == "dir" else ":name/x:1")
    result = await copy(MemorySource(image), place)
    assert str(result.digest) == image.manifest.digest
    found = await content(place)
    assert found.manifests["top"] == image.manifest.data
    assert found.blobs.keys() | {image.manifest.digest} == image.blobs.keys()
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []


@pytest.mark.parametrize("transport", ["dir", "oci", "oci-archive"])
async def test_an_index_there_and_back(transport: str, tmp_path: Path) -> None:
    images = [small_image(platform=name) for name in ("linux/amd64", "linux/arm64")]
    index = make_index(images)
    source = MemorySource(index=index)
    for image in images:
        source.add(image)
    place = f"{transport}:{tmp_path / 'image'}"
    await copy(source, place, "all")
    opened = await open_source(place, CONTEXT)
    destination = MemoryDestination()
    await copy_image(opened, destination, CopyOptions(which="all"))
    await opened.close()
    assert destination.manifests["top"] == index.data
    assert len(destination.manifests) == 3


async def test_docker_archives(tmp_path: Path) -> None:
    image = small_image()
    place = f"docker-archive:{tmp_path / 'image.tar'}"
    await copy(MemorySource(image), f"{place}:busybox:1")
    found = await content(place)
    manifest = json.loads(found.manifests["top"])
    assert manifest["config"]["digest"] == image.config.digest
    assert [layer["digest"] for layer in manifest["layers"]] == image.diff_ids
    [item] = list_images(str(tmp_path / "image.tar"))
    assert item.repo_tags == ("docker.io/library/busybox:1",)
    assert item.layers == tuple(f"{digest[7:]}.tar" for digest in image.diff_ids)
    with pytest.raises(Conflict, match="cannot be added to"):
        await copy(MemorySource(image), place)


async def test_a_docker_archive_of_several_images(tmp_path: Path) -> None:
    path = str(tmp_path / "images.tar")
    writer = DockerArchiveWriter(path)
    for text in ("one", "two"):
        destination = writer.destination([f"localhost/{text}:1", f"localhost/{text}:2"])
        await copy_image(MemorySource(small_image(text=text)), destination)
        await destination.close()
    await writer.commit()
    writer.close()
    assert len(list_images(path)) == 2
    with tarfile.open(path) as archive:
        names = archive.getnames()
    assert len(names) == len(set(names)) == 2 + 2 * 2 + 2, "shared layers are in it once"
    for name in ("localhost/two:2", "@1"):
        found = await content(f"docker-archive:{path}:{name}")
        config = json.loads(found.manifests["top"])["config"]["digest"]
        assert config == small_image(text="two").config.digest
    for name in ("", ":localhost/three", ":@2"):
        with pytest.raises(NotFound):
            await content(f"docker-archive:{path}{name}")


async def test_an_old_docker_archive_with_links_and_gzip(tmp_path: Path) -> None:
    image = small_image()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.GNU_FORMAT) as archive:

        def add(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

        long = "f" * 120
        add(f"{long}/layer.tar", image.tars[0])
        add("2/layer.tar", image.tars[1])
        link = tarfile.TarInfo("3/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../4/layer.tar"
        archive.addfile(link)
        add("4/layer.tar", image.tars[2])
        add("config.json", image.config.data)
        layers = [f"{long}/layer.tar", "2/layer.tar", "3/layer.tar"]
        item = {"Config": "config.json", "RepoTags": ["old:1"], "Layers": layers}
        add("./manifest.json", json.dumps([item]).encode())
    (tmp_path / "old.tgz").write_bytes(out.getvalue())
    found = await content(f"docker-archive:{tmp_path / 'old.tgz'}")
    assert [found.blobs[digest] for digest in image.diff_ids] == image.tars


async def test_a_docker_archive_of_compressed_layers(tmp_path: Path) -> None:
    image = small_image()
    with tarfile.open(tmp_path / "new.tar", "w") as archive:
        layers = [f"blobs/sha256/{layer.digest[7:]}" for layer in image.layers]
        item = {"Config": "config", "RepoTags": ["new:1"], "Layers": layers}
        contents = {"config": image.config.data, "manifest.json": json.dumps([item]).encode()}
        contents |= {f"blobs/sha256/{layer.digest[7:]}": layer.data for layer in image.layers}
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    found = await content(f"docker-archive:{tmp_path / 'new.tar'}")
    assert [found.blobs[digest] for digest in image.diff_ids] == image.tars


async def test_a_layout_keeps_its_other_images(tmp_path: Path) -> None:
    one, two = small_image(text="one"), small_image(text="two")
    write_layout(tmp_path / "layout", {"one": one, "": two})
    place = f"oci:{tmp_path / 'layout'}"
    await copy(MemorySource(small_image(text="new")), f"{place}:one")
    await copy(MemorySource(two), place)
    index = json.loads((tmp_path / "layout/index.json").read_text())
    assert len(index["manifests"]) == 2
    assert (await content(f"{place}:one")).blobs.keys() >= {small_image(text="new").config.digest}
    assert (await content(f"{place}:@1")).blobs.keys() >= {two.config.digest}
    with pytest.raises(NotFound, match="2 images"):
        await content(place)
    with pytest.raises(NotFound, match="no image of that name") as caught:
        await content(f"{place}:three")
    assert "one" in caught.value.hint


async def test_a_layouts_blobs_are_not_written_again(tmp_path: Path) -> None:
    image = small_image()
    write_layout(tmp_path / "layout", {"one": image})
    source = MemorySource(image)
    await copy(source, f"oci:{tmp_path / 'layout'}:two")
    assert source.log == ["manifest top", f"blob {image.config.digest}"]


async def test_shared_blob_directories(tmp_path: Path) -> None:
    context = ImageContext(shared_blob_dir=str(tmp_path / "shared"))
    image = small_image()
    writer = await open_destination(f"oci:{tmp_path / 'layout'}:x", context)
    await copy_image(MemorySource(image), writer)
    await writer.close()
    assert (tmp_path / "shared/sha256" / image.config.digest[7:]).exists()
    assert not (tmp_path / "layout/blobs").exists()
    source = await open_source(f"oci:{tmp_path / 'layout'}:x", context)
    await copy_image(source, MemoryDestination())
    await source.close()


async def test_signatures_in_directories(tmp_path: Path) -> None:
    source = MemorySource(small_image())
    source.signed["top"] = [b"one", b"two"]
    await copy(source, f"dir:{tmp_path / 'image'}")
    assert (tmp_path / "image/signature-2").read_bytes() == b"two"
    assert (await content(f"dir:{tmp_path / 'image'}")).signed == {"top": [b"one", b"two"]}


@pytest.mark.parametrize("transport", ["dir", "oci", "oci-archive", "docker-archive"])
@pytest.mark.parametrize("existing", [False, True])
async def test_a_failed_copy_leaves_nothing(transport: str, existing: bool, tmp_path: Path) -> None:
    path = tmp_path / "image"
    if existing and transport == "dir":
        await copy(MemorySource(small_image(text="old")), f"dir:{path}")
    elif existing and transport == "oci":
        write_layout(path, {"old": small_image(text="old")})
    elif existing and transport == "oci-archive":
        path.write_bytes(b"old")
    before = snapshot(tmp_path)
    source = MemorySource(small_image())
    source.blobs[small_image().layers[0].digest] = b"damaged"
    with pytest.raises(CorruptImage):
        await copy(source, f"{transport}:{path}")
    assert snapshot(tmp_path) == before


def snapshot(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else b""
        for path in root.rglob("*")
    }


async def test_directories_that_hold_other_things(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    for transport in ("dir", "oci"):
        with pytest.raises(Conflict):
            await copy(MemorySource(small_image()), f"{transport}:{tmp_path}")
    (tmp_path / "version").write_text("Directory Transport Version: 1.1\n")
    with pytest.raises(Conflict, match="mine"):
        await copy(MemorySource(small_image()), f"dir:{tmp_path}")
    (tmp_path / "version").write_text("Directory Transport Version: 2.0\n")
    with pytest.raises(Corrupt, match="version"):
        await copy(MemorySource(small_image()), f"dir:{tmp_path}")
    assert (tmp_path / "mine").read_text() == "precious"


async def test_an_older_copy_in_a_directory_is_replaced(tmp_path: Path) -> None:
    for text in ("old", "new"):
        await copy(MemorySource(small_image(text=text)), f"dir:{tmp_path / 'image'}")
    new = small_image(text="new")
    names = {"version", "manifest.json", new.config.digest[7:]}
    assert set(os.listdir(tmp_path / "image")) == names | {b.digest[7:] for b in new.layers}


async def test_damaged_sources(tmp_path: Path) -> None:
    image = small_image()
    layout = write_layout(tmp_path / "layout", {"x": image})
    manifest = layout / "blobs/sha256" / image.manifest.digest[7:]
    manifest.write_bytes(image.manifest.data + b" ")
    with pytest.raises(Corrupt, match="should have the digest"):
        await content(f"oci:{layout}:x")
    manifest.unlink()
    with pytest.raises(NotFound):
        await content(f"oci:{layout}:x")
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
    with pytest.raises(Corrupt, match="layout version"):
        await content(f"oci:{layout}:x")
    (tmp_path / "cut.tar").write_bytes(archive_of(image)[:3000])
    with pytest.raises(Corrupt):
        await content(f"oci-archive:{tmp_path / 'cut.tar'}")
    (tmp_path / "text.tar").write_text("no archive at all " * 100)
    with pytest.raises(Corrupt, match="no tar archive"):
        await content(f"docker-archive:{tmp_path / 'text.tar'}")
    (tmp_path / "cut.tgz").write_bytes(gzip.compress(archive_of(image))[:400])
    with pytest.raises(Corrupt):
        await content(f"docker-archive:{tmp_path / 'cut.tgz'}")


def archive_of(image: SampleImage) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for digest, data in image.blobs.items():
            info = tarfile.TarInfo(f"blobs/sha256/{digest[7:]}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("transport", ["dir", "oci", "oci-archive", "docker-archive"])
async def test_what_is_not_there(transport: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await content(f"{transport}:{tmp_path / 'missing'}")
    if transport != "oci":  # which makes directories
        with pytest.raises(StorageFailure):
            await open_destination(f"{transport}:{tmp_path / 'no' / 'such'}", CONTEXT)


@pytest.mark.parametrize(
    "name", ["dir:", "oci::x", "oci:path:", "oci:path:@x", "docker-archive:a:x@sha256:1"]
)
async def test_malformed_names(name: str) -> None:
    with pytest.raises(InvalidInput):
        await open_source(name, CONTEXT)


async def test_numbers_are_for_reading() -> None:
    for transport in ("oci", "oci-archive", "docker-archive"):
        with pytest.raises(InvalidInput, match="reading only"):
            await open_destination(f"{transport}:path:@0", CONTEXT)
    with pytest.raises(UnknownTransport):
        await open_source("docker-daemon:busybox", CONTEXT)


async def test_policy_scopes(tmp_path: Path) -> None:
    write_layout(tmp_path / "real", {"x": small_image()})
    (tmp_path / "link").symlink_to("real")
    source = await open_source(f"oci:{tmp_path / 'link'}:x", CONTEXT)
    assert source.policy_scope == f"{tmp_path.resolve()}/real:x"
    await source.close()


def test_protocols() -> None:
    """Every end in this room is what the engine takes; mypy checks the assignments."""
    from trilby.image.transports.directory import DirectoryDestination, DirectorySource
    from trilby.image.transports.docker_archive import DockerArchiveSource
    from trilby.image.transports.docker_archive_write import DockerArchiveDestination
    from trilby.image.transports.oci_archive import OciArchiveDestination, OciArchiveSource
    from trilby.image.transports.oci_layout import LayoutDestination, LayoutSource
    from trilby.image.transports.storage import StorageSource
    from trilby.image.transports.storage_write import StorageDestination

    sources: list[type[Source]] = [
        DirectorySource,
        LayoutSource,
        OciArchiveSource,
        DockerArchiveSource,
        StorageSource,
        MemorySource,
    ]
    destinations: list[type[Destination]] = [
        DirectoryDestination,
        LayoutDestination,
        OciArchiveDestination,
        DockerArchiveDestination,
        StorageDestination,
        MemoryDestination,
    ]
    assert sources and destinations

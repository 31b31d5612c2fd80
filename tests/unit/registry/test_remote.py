"""Tags, digests and removal by an image's name."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.hostile_registry import HostileRegistry, Status

from trilby.image.context import ImageContext
from trilby.image.reference import Reference
from trilby.image.registry.errors import ManifestUnknown, RegistryRefused, RepositoryUnknown
from trilby.image.registry.remote import delete_remote, list_tags, remote_digest

RAW = b'{"schemaVersion":2}'


@pytest.fixture
def context(tmp_path: Path) -> ImageContext:
    (tmp_path / "registries.conf").write_text("")
    (tmp_path / "auth.json").write_text("{}")
    return ImageContext(
        registries_conf=str(tmp_path / "registries.conf"),
        registries_conf_dir=str(tmp_path / "none"),
        auth_file=str(tmp_path / "auth.json"),
        tls_verify=False,
        retries=0,
    )


async def test_by_name(registry: HostileRegistry, context: ImageContext) -> None:
    name = Reference.parse(f"{registry.address}/a/b")
    digest = registry.add_manifest("a/b", "latest", RAW)
    registry.add_manifest("a/b", "old", b"{}")
    assert await list_tags(name, context) == ["latest", "old"]
    assert await remote_digest(name, context) == digest
    assert await delete_remote(name, context) == digest
    with pytest.raises(ManifestUnknown, match="reading manifest latest in .*: manifest unknown"):
        await remote_digest(name, context)
    assert await remote_digest(name.with_digest(digest), context) == digest
    with pytest.raises(ManifestUnknown, match="deleting manifest"):
        await delete_remote(name.with_digest(digest), context)


async def test_refusals(registry: HostileRegistry, context: ImageContext) -> None:
    name = Reference.parse(f"{registry.address}/a/b")
    registry.add_manifest("a/b", "latest", RAW)
    registry.fault(Status(405), method="DELETE")
    with pytest.raises(RegistryRefused):
        await delete_remote(name, context)
    registry.fault(Status(404), path="/tags/")
    with pytest.raises(RepositoryUnknown, match="listing tags of .*: name unknown"):
        await list_tags(name, context)

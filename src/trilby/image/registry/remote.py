"""Whole operations on a registry by an image's name: tags, digest, removal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from trilby.image.reference import Reference
from trilby.image.registries import load_registries
from trilby.image.registry.connect import connect
from trilby.image.registry.errors import ManifestUnknown

if TYPE_CHECKING:
    from trilby.image.context import ImageContext
    from trilby.image.registry.client import RegistryClient
    from trilby.oci.digest import Digest


async def list_tags(name: Reference, context: ImageContext) -> list[str]:
    """All tags of a repository, as the registry orders them; mirrors are not asked.

    Raises RepositoryUnknown and the rest of trilby.image.registry.errors.
    """
    async with await _client(name, context) as client:
        return await client.tags(name.path)


async def remote_digest(name: Reference, context: ImageContext) -> Digest:
    """The digest that a tag (default: latest) has now. Raises ManifestUnknown."""
    async with await _client(name, context) as client:
        return await _digest(name, client)


async def delete_remote(name: Reference, context: ImageContext) -> Digest:
    """Remove the manifest that a tag or digest names, with all other tags of it.

    Returns its digest. Raises ManifestUnknown; RegistryRefused where deletion is switched off.
    """
    async with await _client(name, context) as client:
        digest = await _digest(name, client)
        await client.delete_manifest(name.path, digest)
        return digest


async def _client(name: Reference, context: ImageContext) -> RegistryClient:
    registries = await asyncio.to_thread(
        load_registries, context.registries_conf, context.registries_conf_dir
    )
    endpoint = registries.destination(name)
    return await connect(
        endpoint.reference,
        context,
        insecure=endpoint.insecure,
        helpers=registries.credential_helpers,
    )


async def _digest(name: Reference, client: RegistryClient) -> Digest:
    if name.digest is not None:
        return name.digest
    tag = name.with_default_tag().tag
    digest = await client.head_manifest(name.path, tag)
    if digest is None:
        raise ManifestUnknown(
            f"reading manifest {tag} in {client.registry}/{name.path}: manifest unknown", status=404
        )
    return digest

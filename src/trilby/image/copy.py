"""Copy an image, or all images of an index, from a source to a destination.

The order binds: manifest, policy, choice of the platform, policy again for the instance,
then config, layers, manifest, signatures, commit. Nothing is used before the policy has passed it.
"""

from __future__ import annotations

from msgspec.structs import replace

from trilby.image.copy_convert import check_untouchable, wanted_index_type
from trilby.image.copy_errors import OversizedDocument
from trilby.image.copy_single import ImageCopier
from trilby.image.copy_types import CopyOptions, CopyResult, UnverifiedImage
from trilby.image.errors import CorruptImage, UnsupportedImage
from trilby.image.progress import ManifestWritten
from trilby.image.transport import (
    MANIFEST_LIMIT,
    BlobLinker,
    Destination,
    Source,
    TopLevelKeeper,
)
from trilby.oci import media
from trilby.oci.convert import convert_index
from trilby.oci.descriptor import Descriptor
from trilby.oci.digest import Digest
from trilby.oci.manifest import Index, Manifest, parse_manifest
from trilby.oci.platform import choose

#: How deep an index may hold indexes.
NESTING = 2


async def copy_image(
    source: Source, destination: Destination, options: CopyOptions | None = None
) -> CopyResult:
    """Copy and commit. The caller closes both ends, whatever happens.

    Raises what the two ends raise, what the gate raises, and: CorruptImage, OversizedDocument,
    NoMatchingPlatform (oci.errors), UnsupportedImage, CannotModify, NotConvertible.
    """
    options = options or CopyOptions()
    if isinstance(destination, BlobLinker) and source.docker_reference is not None:
        destination.mount_from(source.docker_reference)
    top = await fetch_manifest(source, None, None)
    await options.gate(_unverified(source, top, None))
    if isinstance(top, Manifest):
        copier = ImageCopier(source, destination, options)
        written = await copier.copy(top, instance=None, signed_as=None)
        result = _result(top, written, written.config.digest, copier.transferred)
    elif options.which == "system":
        result = await _copy_system(source, destination, top, options)
    else:
        result = await _copy_index(source, destination, top, options)
    await destination.commit()
    return result


async def fetch_manifest(
    source: Source, instance: Digest | None, expected: Descriptor | None
) -> Manifest | Index:
    """Read a manifest of the source, check its digest and length, and parse it."""
    what = f"manifest {instance or ''} of {source.reference}".replace("  ", " ")
    raw, media_type = await source.get_manifest(instance)
    if len(raw) > MANIFEST_LIMIT:
        raise OversizedDocument(
            f"reading {what}: it is longer than the limit of {MANIFEST_LIMIT} bytes",
            hint="no honest image has one so large; ask the image's publisher",
        )
    if instance is not None and not instance.matches(raw):
        raise CorruptImage(
            f"reading {what}: the bytes that came have the digest {Digest.of(raw)}",
            hint="the source is damaged or dishonest; try again or another mirror",
        )
    if expected is not None and expected.size != len(raw):
        raise CorruptImage(
            f"reading {what}: it has {len(raw)} bytes, the index says {expected.size}",
            hint="the source's index is wrong; ask the image's publisher",
        )
    return parse_manifest(raw, media_type or (expected.media_type if expected else None), what)


def choose_instance(index: Index, options: CopyOptions, what: str) -> Descriptor:
    """The instance for the platform wanted; the error names the image."""
    from trilby.oci.errors import NoMatchingPlatform

    try:
        unnamed = index.media_type == media.OCI_INDEX
        return choose(index.manifests, options.platform, unnamed=unnamed)
    except NoMatchingPlatform as error:
        raise NoMatchingPlatform(
            f"choosing an image from {what}: {error.message}", hint=error.hint
        ) from None


async def _copy_system(
    source: Source, destination: Destination, top: Index, options: CopyOptions
) -> CopyResult:
    chosen, manifest = await _descend(source, top, options)
    copier = ImageCopier(source, destination, options)
    if isinstance(destination, TopLevelKeeper):
        await destination.keep_toplevel(top.raw, top.media_type)
    written = await copier.copy(manifest, instance=None, signed_as=chosen.digest)
    return _result(top, written, written.config.digest, copier.transferred)


async def _descend(
    source: Source, index: Index, options: CopyOptions
) -> tuple[Descriptor, Manifest]:
    for _ in range(NESTING):
        chosen = choose_instance(index, options, source.reference)
        found = await fetch_manifest(source, chosen.digest, chosen)
        await options.gate(_unverified(source, found, chosen.digest))
        if isinstance(found, Manifest):
            return chosen, found
        index = found
    raise UnsupportedImage(
        f"copying {source.reference}: an index holds an index that holds an index",
        hint="name the inner image by its digest",
    )


async def _copy_index(
    source: Source, destination: Destination, top: Index, options: CopyOptions
) -> CopyResult:
    if not destination.capabilities.multi_platform:
        raise UnsupportedImage(
            f"copying {source.reference} to {destination.reference}: "
            "the destination holds one platform only",
            hint="copy one platform, or to a registry, an OCI layout or a directory",
        )
    members = list(top.manifests)
    transferred = 0
    if options.which == "all":
        for position, member in enumerate(members):
            member, size = await _copy_member(source, destination, member, options)
            members[position] = member
            transferred += size
    wanted = wanted_index_type(top, destination.capabilities, options)
    written = convert_index(top, wanted, tuple(members))
    if written.raw != top.raw:
        check_untouchable(source, destination, options, "its index would have to change")
        await _refuse_unsigning(source, destination, options, None)
    await destination.put_manifest(written.raw, written.media_type, None)
    options.progress(ManifestWritten(written.digest, written.media_type))
    await _copy_signatures(source, destination, options, None)
    return _result(top, written, None, transferred)


async def _copy_member(
    source: Source, destination: Destination, member: Descriptor, options: CopyOptions
) -> tuple[Descriptor, int]:
    found = await fetch_manifest(source, member.digest, member)
    if isinstance(found, Index):
        raise UnsupportedImage(
            f"copying {source.reference}: its index holds another index, {member.digest}",
            hint="copy the inner index by its digest",
        )
    await options.gate(_unverified(source, found, member.digest))
    copier = ImageCopier(source, destination, options)
    written = await copier.copy(found, instance=member.digest, signed_as=member.digest)
    changed = replace(
        member, media_type=written.media_type, digest=written.digest, size=len(written.raw)
    )
    return changed, copier.transferred


async def _refuse_unsigning(
    source: Source, destination: Destination, options: CopyOptions, instance: Digest | None
) -> None:
    """A changed manifest has lost its signatures: the caller must have said that this is fine."""
    from trilby.image.copy_errors import CannotModify

    if options.remove_signatures or not destination.capabilities.signatures:
        return
    if await source.signatures(instance):
        raise CannotModify(
            f"copying {source.reference} to {destination.reference}: "
            "it is signed and its index would have to change",
            hint="remove the signatures, or do not ask for conversions",
        )


async def _copy_signatures(
    source: Source, destination: Destination, options: CopyOptions, instance: Digest | None
) -> None:
    if options.remove_signatures or not destination.capabilities.signatures:
        return
    signatures = await source.signatures(instance)
    if signatures:
        await destination.put_signatures(signatures, instance)


def _unverified(
    source: Source, found: Manifest | Index, instance: Digest | None
) -> UnverifiedImage:
    return UnverifiedImage(source, found.raw, found.media_type, found.digest, instance)


def _result(
    top: Manifest | Index, written: Manifest | Index, config: Digest | None, transferred: int
) -> CopyResult:
    return CopyResult(
        digest=written.digest,
        media_type=written.media_type,
        raw=written.raw,
        source_digest=top.digest,
        config=config,
        transferred=transferred,
    )

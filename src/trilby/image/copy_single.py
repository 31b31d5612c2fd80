"""Copy one image: config, layers in parallel, manifest, signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from trilby.image.copy_convert import (
    LayerPlan,
    check_untouchable,
    layer_type,
    plan_layer,
    wanted_type,
)
from trilby.image.copy_errors import CannotModify
from trilby.image.copy_layers import LayerCopier
from trilby.image.errors import CorruptImage
from trilby.image.progress import BlobDone, CopyStarted, ManifestWritten
from trilby.image.streams import BytesStream, read_all
from trilby.image.transport import CONFIG_LIMIT, BlobRole, ConfigKeeper, LayerRewriter, Preparer
from trilby.oci import media
from trilby.oci.convert import convert_manifest
from trilby.oci.image import ImageConfig, parse_image_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trilby.image.copy_types import CopyOptions
    from trilby.image.transport import Destination, Source
    from trilby.oci.descriptor import Descriptor
    from trilby.oci.digest import Digest
    from trilby.oci.manifest import Manifest

#: Annotations that describe a blob's compressed form and are wrong once it has another.
COMPRESSION_ANNOTATIONS = (
    "io.github.containers.zstd-chunked.",
    "containerd.io/snapshot/stargz/",
    "io.containers.estargz.",
)


class ImageCopier:
    """Copies one image; ``transferred`` counts the bytes that came from the source."""

    def __init__(self, source: Source, destination: Destination, options: CopyOptions) -> None:
        self._source = source
        self._destination = destination
        self._options = options
        self.transferred = 0

    async def copy(
        self, manifest: Manifest, *, instance: Digest | None, signed_as: Digest | None
    ) -> Manifest:
        """Copy and write the manifest, as a member of an index if ``instance`` is not None.

        ``signed_as`` is the digest by which the source knows its signatures; None is its top.
        """
        takes = self._destination.capabilities
        target_type = wanted_type(manifest, takes, self._options)
        given = await self._given_layers(manifest)
        plans = [plan_layer(layer, takes, self._options) for layer in given]
        for layer, plan in zip(given, plans, strict=True):
            layer_type(layer, plan, target_type)  # what cannot be said fails before the download
        stored = given is not manifest.layers
        if target_type != manifest.media_type or (
            not stored and any(plan.changes for plan in plans)
        ):
            reason = "its manifest would have to change"
            check_untouchable(self._source, self._destination, self._options, reason)
            await self._refuse_unsigning(signed_as)
        if isinstance(self._destination, Preparer):
            self._destination.prepare(manifest)
        raw_config, config = await self._read_config(manifest)
        self._announce(manifest, config)
        await self._put_config(manifest.config, raw_config)
        layers = await self._copy_layers(manifest, given, plans, config)
        written = self._rewrite(manifest, given, plans, layers, target_type)
        if written.raw != manifest.raw:
            await self._refuse_unsigning(signed_as)
        # The destination knows an instance by the digest that it has there.
        place = written.digest if instance is not None else None
        await self._destination.put_manifest(written.raw, written.media_type, place)
        self._options.progress(ManifestWritten(written.digest, written.media_type))
        if written.raw == manifest.raw:
            await self._copy_signatures(signed_as, place)
        return written

    async def _given_layers(self, manifest: Manifest) -> Sequence[Descriptor]:
        if isinstance(self._source, LayerRewriter):
            return await self._source.layers_for_copy(manifest)
        return manifest.layers

    async def _read_config(self, manifest: Manifest) -> tuple[bytes, ImageConfig | None]:
        wanted = manifest.config
        what = f"config {wanted.digest} of {self._source.reference}"
        raw = await self._known_config(wanted)
        if raw is None:
            stream = await self._source.get_blob(wanted)
            raw = await read_all(stream, CONFIG_LIMIT, what)
            self.transferred += len(raw)
        if len(raw) != wanted.size or not wanted.digest.matches(raw):
            raise CorruptImage(
                f"reading {what}: the {len(raw)} bytes that came are not those of the manifest",
                hint="the source is damaged or dishonest; try again or another mirror",
            )
        if not media.is_config(wanted.media_type):
            return raw, None
        config = parse_image_config(raw, what)
        if len(config.diff_ids) != len(manifest.layers):
            raise CorruptImage(
                f"reading {what}: it lists {len(config.diff_ids)} layers, "
                f"the manifest {len(manifest.layers)}",
                hint="the image was built wrongly; ask its publisher",
            )
        return raw, config

    async def _known_config(self, wanted: Descriptor) -> bytes | None:
        if not isinstance(self._destination, ConfigKeeper):
            return None
        raw = await self._destination.known_config(wanted)
        return raw if raw is not None and wanted.digest.matches(raw) else None

    def _announce(self, manifest: Manifest, config: ImageConfig | None) -> None:
        self._options.progress(
            CopyStarted(
                reference=self._source.reference,
                digest=manifest.digest,
                platform=str(config.platform) if config else "",
                blobs=len(manifest.layers) + 1,
                size=manifest.config.size + sum(layer.size for layer in manifest.layers),
            )
        )

    async def _put_config(self, descriptor: Descriptor, raw: bytes) -> None:
        role = BlobRole(kind="config")
        reused = await self._destination.has_blob(descriptor, role)
        if reused is None:
            await self._destination.put_blob(descriptor, BytesStream(raw), role)
        self._options.progress(
            BlobDone(descriptor.digest, descriptor.size, "config", -1, reused is not None)
        )

    async def _copy_layers(
        self,
        manifest: Manifest,
        given: Sequence[Descriptor],
        plans: list[LayerPlan],
        config: ImageConfig | None,
    ) -> list[Descriptor]:
        copier = LayerCopier(self._source, self._destination, self._options)
        diff_ids = config.diff_ids if config else ()
        layers = await copier.copy(manifest.layers, given, plans, diff_ids)
        self.transferred += copier.transferred
        return layers

    def _rewrite(
        self,
        manifest: Manifest,
        given: Sequence[Descriptor],
        plans: list[LayerPlan],
        layers: list[Descriptor],
        target_type: str,
    ) -> Manifest:
        each = zip(manifest.layers, given, layers, plans, strict=True)
        written = [
            self._as_written(old, sent, new, plan, manifest.media_type)
            for old, sent, new, plan in each
        ]
        if written != list(manifest.layers):
            reason = "its layers have other digests at the destination"
            check_untouchable(self._source, self._destination, self._options, reason)
            # OCI first: only there every layer has a name, and the last step checks the rest.
            if target_type == media.OCI_MANIFEST:
                manifest = convert_manifest(manifest, target_type)
                written = [
                    replace(layer, media_type=media.to_oci(layer.media_type)) for layer in written
                ]
            manifest = manifest.replace(layers=written)
        return convert_manifest(manifest, target_type)

    def _as_written(
        self,
        old: Descriptor,
        sent: Descriptor,
        new: Descriptor,
        plan: LayerPlan,
        manifest_type: str,
    ) -> Descriptor:
        if old.digest == new.digest:
            return old
        # A destination that found the layer under another digest says in what form that is.
        name = layer_type(sent, plan, manifest_type) if plan.changes else new.media_type
        kept = {
            key: value
            for key, value in old.annotations.items()
            if not key.startswith(COMPRESSION_ANNOTATIONS)
        }
        return replace(
            old, media_type=name, digest=new.digest, size=new.size, annotations=kept, data=""
        )

    async def _refuse_unsigning(self, signed_as: Digest | None) -> None:
        if self._options.remove_signatures or not self._destination.capabilities.signatures:
            return
        if await self._source.signatures(signed_as):
            raise CannotModify(
                f"copying {self._source.reference} to {self._destination.reference}: "
                "it is signed and its manifest would have to change",
                hint="remove the signatures, or do not ask for conversions",
            )

    async def _copy_signatures(self, signed_as: Digest | None, place: Digest | None) -> None:
        if self._options.remove_signatures or not self._destination.capabilities.signatures:
            return
        signatures = await self._source.signatures(signed_as)
        if signatures:
            await self._destination.put_signatures(signatures, place)

"""Copy the layers of one image: several at a time, each reused, streamed or recompressed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trilby.image.progress import BlobDone, BlobProgress, BlobStarted
from trilby.image.streams import checked, watched
from trilby.image.transport import BlobRole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trilby.image.copy_convert import LayerPlan
    from trilby.image.copy_types import CopyOptions
    from trilby.image.transport import BlobStream, Destination, Source
    from trilby.oci.descriptor import Descriptor
    from trilby.oci.digest import Digest


class LayerCopier:
    """Copies layers; ``transferred`` counts bytes as the source has them."""

    def __init__(self, source: Source, destination: Destination, options: CopyOptions) -> None:
        self._source = source
        self._destination = destination
        self._options = options
        self._slots = asyncio.Semaphore(max(1, options.parallel))
        self.transferred = 0

    async def copy(
        self,
        layers: Sequence[Descriptor],
        given: Sequence[Descriptor],
        plans: Sequence[LayerPlan],
        diff_ids: Sequence[Digest],
    ) -> list[Descriptor]:
        """Descriptors as at the destination, in order. The first failure stops all of them.

        ``given`` is what the source will send in place of ``layers``, mostly the same.
        """
        roles = [
            BlobRole(
                kind="layer",
                index=index,
                known=not plan.changes,
                diff_id=diff_ids[index] if diff_ids else None,
                below=tuple(diff_ids[:index]),
            )
            for index, plan in enumerate(plans)
        ]
        work = zip(layers, given, plans, roles, strict=True)
        tasks = [asyncio.ensure_future(self._copy_one(*each)) for each in work]
        try:
            return list(await asyncio.gather(*tasks))
        except BaseException:
            for task in tasks:
                task.cancel()
            # Wait for their clean-up: nothing may run once the caller closes both ends.
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def _copy_one(
        self, original: Descriptor, layer: Descriptor, plan: LayerPlan, role: BlobRole
    ) -> Descriptor:
        async with self._slots:
            found = await self._find(original, layer, plan, role)
            if found is not None:
                self._tell_done(layer, role, reused=True)
                return found
            stream = await self._source.get_blob(layer)
            try:
                self._options.progress(BlobStarted(layer.digest, layer.size, "layer", role.index))
                written = await self._destination.put_blob(
                    layer, self._prepared(layer, plan, stream), role
                )
            finally:
                await stream.close()
            self.transferred += layer.size
            self._tell_done(layer, role, reused=False)
            return written

    async def _find(
        self, original: Descriptor, layer: Descriptor, plan: LayerPlan, role: BlobRole
    ) -> Descriptor | None:
        """The layer at the destination, in the form of the manifest or the one we would send."""
        if original.digest != layer.digest and not self._options.recompress:
            # Unpacked here, but the registry it came from has it as it was: no upload, same digest.
            asked = replace(role, known=True)
            found = await self._destination.has_blob(original, asked)
            if found is not None:
                return found
        return await self._destination.has_blob(layer, role)

    def _prepared(self, layer: Descriptor, plan: LayerPlan, stream: BlobStream) -> BlobStream:
        total = layer.size

        def report(done: int) -> None:
            self._options.progress(BlobProgress(layer.digest, done, total))

        if plan.changes or not self._destination.capabilities.verifies:
            stream = checked(stream, layer, "layer")
        stream = watched(stream, report, limit=layer)
        if plan.target is None:
            return stream
        from trilby.image.compression import transformed

        return transformed(stream, plan.target, self._options.level)

    def _tell_done(self, layer: Descriptor, role: BlobRole, *, reused: bool) -> None:
        self._options.progress(BlobDone(layer.digest, layer.size, "layer", role.index, reused))

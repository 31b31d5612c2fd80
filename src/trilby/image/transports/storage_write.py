"""Write an image to the store: layers unpacked in parallel, everything recorded at the commit.

Until the commit nothing of the image is in the store's records; what is staged holds a lock file,
so that the store's ``recover`` removes it if this process is killed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import msgspec

from trilby.errors import Corrupt, TrilbyError
from trilby.image.errors import CorruptImage, UnsupportedImage
from trilby.image.streams import StreamFailed, ThreadPipe, checked, read_all
from trilby.image.transport import CONFIG_LIMIT, BlobRole, Capabilities
from trilby.image.transports.names import layer_ids, stored_name
from trilby.image.transports.storage_record import ImageDocuments, record_image
from trilby.oci.digest import Digest

if TYPE_CHECKING:
    from trilby.image.reference import Reference
    from trilby.image.transport import BlobStream
    from trilby.oci.descriptor import Descriptor
    from trilby.oci.manifest import Manifest
    from trilby.storage.staging import StagedLayer
    from trilby.storage.store import Store

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Compressed bytes from which a layer is unpacked by a process of its own.
WORTH_A_WORKER = 1 << 20

DAMAGED = "the source is damaged or dishonest; try again or another mirror"

#: Bytes of one layer that may wait for its unpacking.
PIPE_LIMIT = 2 << 20


class _Layer(msgspec.Struct):
    """A layer of the image to be: in the store already, staged, or the same as a lower one."""

    id: str
    diff_id: Digest
    staged: StagedLayer | None = None
    #: Index of the layer with the same content that this one is copied from at the commit.
    twin: int = -1


class StorageDestination:
    """One image on its way into the store, under ``reference`` and ``more_names``."""

    transport = "containers-storage"
    capabilities = Capabilities(multi_platform=False, signatures=True, verifies=True)

    def __init__(
        self,
        store: Store,
        reference: Reference | None,
        *,
        more_names: tuple[str, ...] = (),
        parallel: int = 6,
    ) -> None:
        self._store = store
        self.docker_reference = reference
        names = (stored_name(reference),) if reference else ()
        self._names = (*names, *more_names)
        self.reference = f"containers-storage:{self._names[0] if self._names else ''}"
        # Threads of its own: unpacking waits for bytes that the shared pool may have to read.
        self._threads = ThreadPoolExecutor(max(1, parallel), "layer")
        self._layers: dict[int, _Layer] = {}
        self._pipes: set[ThreadPipe] = set()
        self._staged: list[StagedLayer] = []
        self._first: dict[Digest, int] = {}
        self._config: tuple[Digest, str, bytes] | None = None
        self._manifest: tuple[Digest, bytes] | None = None
        self._toplevel: tuple[Digest, bytes] | None = None
        self._signatures: list[bytes] = []
        #: The image's id, once committed.
        self.image_id = ""

    def prepare(self, manifest: Manifest) -> None:
        """Start the processes that unpack large layers while the registry is still being asked."""
        large = sum(layer.size >= WORTH_A_WORKER for layer in manifest.layers)
        if large:
            self._threads.submit(self._warm_up, manifest.config.digest, large)

    def _warm_up(self, config: Digest, count: int) -> None:
        from trilby.storage.unpack import warm_up

        if self._store.image(config.encoded) is None:
            warm_up(count)

    # -- blobs -------------------------------------------------------------------------------

    async def has_blob(self, descriptor: Descriptor, role: BlobRole) -> Descriptor | None:
        if role.kind == "config":
            return None
        if role.diff_id is None:
            raise UnsupportedImage(
                f"storing {self.reference}: it is an artifact and has no layers to run",
                hint="copy it to a directory or an OCI layout",
            )
        layer_id = layer_ids((*role.below, role.diff_id))[-1]
        first = self._first.setdefault(role.diff_id, role.index)
        layer = _Layer(layer_id, role.diff_id)
        if await asyncio.to_thread(self._store.layer, layer_id) is None:
            if first != role.index:
                layer.twin = first
            elif not await self._in_thread(self._restage, layer):
                return None
        self._layers[role.index] = layer
        return descriptor

    def _restage(self, layer: _Layer) -> bool:
        """Unpack a layer once more that the store has on top of another parent."""
        for present in self._store.layers_by_diff_id(str(layer.diff_id)):
            staged = self._stage(layer)
            try:
                with self._store.export_layer(present.id) as stream:
                    if staged.apply(stream, compression="none").diff_id == str(layer.diff_id):
                        return True
            except TrilbyError as error:
                # A damaged copy is no reason to fail while the source has a good one.
                log.warning("layer %s of the store cannot be used again: %s", present.id, error)
        return False

    def _stage(self, layer: _Layer) -> StagedLayer:
        """A staging place that ``close`` knows, even if nobody waits for this thread any more."""
        layer.staged = self._store.stage_layer()
        self._staged.append(layer.staged)
        return layer.staged

    async def _in_thread(self, call: Callable[[_Layer], T], layer: _Layer) -> T:
        return await asyncio.wrap_future(self._threads.submit(call, layer))

    async def known_config(self, descriptor: Descriptor) -> bytes | None:
        """The config if the store has the image already; see transport.ConfigKeeper."""
        return await asyncio.to_thread(self._known_config, descriptor.digest)

    def _known_config(self, digest: Digest) -> bytes | None:
        present = self._store.image(digest.encoded)
        if present is None or present.id != digest.encoded:
            return None
        try:
            return self._store.image_big_data(present.id, str(digest))
        except TrilbyError:
            return None

    async def put_blob(
        self, descriptor: Descriptor, stream: BlobStream, role: BlobRole
    ) -> Descriptor:
        if role.kind == "config":
            raw = await read_all(stream, CONFIG_LIMIT, f"config of {self.reference}")
            self._config = (descriptor.digest, descriptor.media_type, raw)
            return descriptor
        assert role.diff_id is not None, "has_blob has refused artifacts"
        if descriptor.digest.algorithm != "sha256" or not role.known:
            stream = checked(stream, descriptor, "layer") if role.known else stream
        layer = _Layer(layer_ids((*role.below, role.diff_id))[-1], role.diff_id)
        self._layers[role.index] = layer
        staged = await self._in_thread(self._stage, layer)
        await self._apply(descriptor, stream, role, layer, staged)
        return descriptor

    async def _apply(
        self,
        descriptor: Descriptor,
        stream: BlobStream,
        role: BlobRole,
        layer: _Layer,
        staged: StagedLayer,
    ) -> None:
        pipe = ThreadPipe(PIPE_LIMIT)
        self._pipes.add(pipe)
        feeder = asyncio.ensure_future(pipe.feed(stream))
        work = self._threads.submit(staged.apply, pipe, size_hint=descriptor.size)
        try:
            applied = await asyncio.wrap_future(work)
        except StreamFailed as failed:
            raise failed.reason from None
        except Corrupt as error:
            raise CorruptImage(
                f"unpacking layer {descriptor.digest} of {self.reference}: {error.message}",
                hint=error.hint
                or "the source is damaged or dishonest; try again or another mirror",
            ) from error
        finally:
            pipe.abandon()
            feeder.cancel()
            await asyncio.gather(feeder, return_exceptions=True)
            self._pipes.discard(pipe)
        found = applied.compressed_digest, applied.compressed_size
        wanted = str(descriptor.digest), descriptor.size
        if role.known and descriptor.digest.algorithm == "sha256" and found != wanted:
            raise CorruptImage(
                f"copying layer {wanted[0]} ({wanted[1]} bytes): "
                f"the {found[1]} bytes that came have the digest {found[0]}",
                hint=DAMAGED,
            )
        if applied.diff_id != str(layer.diff_id):
            raise CorruptImage(
                f"unpacking layer {descriptor.digest}: its content has the digest "
                f"{applied.diff_id}, the image's config says {layer.diff_id}",
                hint="the image was built wrongly or tampered with; ask its publisher",
            )

    # -- documents ---------------------------------------------------------------------------

    async def keep_toplevel(self, raw: bytes, media_type: str) -> None:
        self._toplevel = Digest.of(raw), raw

    async def put_manifest(self, raw: bytes, media_type: str, instance: Digest | None) -> None:
        self._manifest = Digest.of(raw), raw

    async def put_signatures(self, signatures: list[bytes], instance: Digest | None) -> None:
        self._signatures = signatures

    # -- the end -----------------------------------------------------------------------------

    async def commit(self) -> None:
        """All or nothing. Raises DuplicateId and other StorageError kinds."""
        work = self._threads.submit(self._commit)
        try:
            await asyncio.shield(asyncio.wrap_future(work))
        except asyncio.CancelledError:
            # It cannot be stopped half-way; it takes milliseconds.
            await asyncio.wait([asyncio.wrap_future(work)])
            raise

    def _commit(self) -> None:
        assert self._manifest is not None and self._config is not None, "copied before the commit"
        made: list[str] = []
        parent: str | None = None
        try:
            for index in range(len(self._layers)):
                layer = self._layers[index]
                if layer.twin >= 0:
                    self._copy_twin(layer)
                if layer.staged is not None and self._commit_layer(layer, layer.staged, parent):
                    made.append(layer.id)
                parent = layer.id
            self._record(parent or "")
        except BaseException:
            for made_id in reversed(made):
                try:
                    self._store.delete_layer(made_id)
                except TrilbyError as error:
                    log.warning("taking back layer %s: %s", made_id, error)
            raise

    def _commit_layer(self, layer: _Layer, staged: StagedLayer, parent: str | None) -> bool:
        """Whether the layer is new; somebody else may have stored the same one meanwhile."""
        there = self._store.layer(layer.id) is not None
        self._store.commit_layer(staged, layer_id=layer.id, parent=parent)
        layer.staged = None
        return not there

    def _copy_twin(self, layer: _Layer) -> None:
        staged = self._stage(layer)
        with self._store.export_layer(self._layers[layer.twin].id) as stream:
            staged.apply(stream, compression="none")

    def _record(self, top_layer: str) -> None:
        assert self._manifest is not None and self._config is not None
        digest, kind, raw = self._config
        image = record_image(
            self._store,
            ImageDocuments(digest, kind, raw, self._manifest, self._toplevel or self._manifest),
            names=self._names,
            top_layer=top_layer,
            signatures=self._signatures,
        )
        self.image_id = image.id

    async def close(self) -> None:
        """Stop what runs and remove what was not committed."""
        for pipe in self._pipes:
            pipe.abandon()
        # An unpacking that was cancelled ends soon after its input; its staging goes after it.
        await asyncio.to_thread(self._threads.shutdown, True)
        for staged in self._staged:
            await asyncio.to_thread(staged.close)

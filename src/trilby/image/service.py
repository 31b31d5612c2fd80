"""Images of the local store, as the command line and the engine use them.

``pull`` and ``push`` are coroutines. Everything else blocks for a moment on files (milliseconds)
and is safe in any thread; a server calls it in one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from trilby.image.service_list import ImageSummary, summaries
from trilby.image.service_types import HistoryEntry, PulledImage, PullPolicy, Removed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trilby.image.context import ImageContext
    from trilby.image.copy_types import CopyOptions, CopyResult
    from trilby.image.progress import Progress
    from trilby.image.registries import Registries
    from trilby.image.service_find import Found
    from trilby.image.service_pull import Puller
    from trilby.oci.image import ImageConfig
    from trilby.storage.records import Image
    from trilby.storage.store import Store

# Modules are imported where they are used: listing must not pay for pulling.


class Images:
    """All image operations on one store."""

    def __init__(self, store: Store, context: ImageContext) -> None:
        self.store = store
        self.context = context
        self._puller: Puller | None = None

    async def pull(
        self,
        name: str,
        policy: PullPolicy = "missing",
        *,
        progress: Progress | None = None,
        context: ImageContext | None = None,
        all_platforms: bool = False,
    ) -> PulledImage:
        """Fetch ``name`` (short, full, with digest, or ``transport:...``) into the store.

        However many ask for the same image at once, it is fetched once. ``context`` in place of
        this service's own carries one caller's credentials. Raises ImageError kinds; with a short
        name that no candidate registry has, one error tells what each of them answered.
        """
        if self._puller is None:
            from trilby.image.service_pull import Puller

            self._puller = Puller(self.store, self._found, load_registries_of)
        return await self._puller.pull(
            name, policy, progress, context or self.context, all_platforms=all_platforms
        )

    async def push(
        self,
        name: str,
        destination: str = "",
        *,
        progress: Progress | None = None,
        context: ImageContext | None = None,
        format: Literal["", "oci", "v2s2"] = "",
        compression_format: Literal["", "gzip", "zstd"] = "",
        compression_level: int | None = None,
        remove_signatures: bool = False,
    ) -> str:
        """Copy an image of the store to ``destination`` (default: its own name, by docker://).

        Returns the digest of the manifest as written.
        """
        from trilby.image.service_push import push

        return await push(
            self.store,
            lambda: self._found(name),
            destination or name,
            progress=progress,
            context=context or self.context,
            format=format,
            compression_format=compression_format,
            compression_level=compression_level,
            remove_signatures=remove_signatures,
        )

    async def copy(
        self,
        source: str,
        destination: str,
        *,
        options: CopyOptions | None = None,
        context: ImageContext | None = None,
        destination_context: ImageContext | None = None,
    ) -> CopyResult:
        """Copy between two ``transport:rest`` places; ``containers-storage:`` is this store.

        The policy decides about the source, whatever ``options.gate`` is. ``destination_context``
        is for other credentials there.
        """
        from trilby.image.service_copy import copy_between

        return await copy_between(
            source,
            destination,
            context=context or self.context,
            destination_context=destination_context,
            store=self.store,
            options=options,
        )

    def exists(self, name: str) -> bool:
        """Whether ``find`` would find it."""
        from trilby.errors import NotFound

        try:
            self._found(name)
        except NotFound:
            return False
        return True

    def find(self, name: str) -> Image:
        """The record for a name, short name, id, id prefix or name@digest, as podman finds it.

        Raises ImageNotFound, AmbiguousImage.
        """
        return self._found(name).image

    def summary(self, name: str) -> ImageSummary:
        """What list() says of one image. Raises as find() does."""
        from trilby.image.service_list import LayerSizes, summary

        return summary(self.store, self.find(name), LayerSizes(self.store.layers()))

    def config(self, name: str) -> ImageConfig:
        """The image's own config document."""
        from trilby.image.inspect import image_config

        return image_config(self.store, self.find(name))

    def inspect(self, name: str) -> dict[str, object]:
        """A document like podman's ``image inspect``, ready for JSON."""
        from trilby.image.inspect import inspect_image

        return inspect_image(self.store, self.find(name))

    def raw_manifest(self, name: str) -> bytes:
        """The manifest of this platform's image, byte for byte."""
        from trilby.image.inspect import raw_manifest

        return raw_manifest(self.store, self.find(name))

    def raw_config(self, name: str) -> bytes:
        """The config document, byte for byte."""
        from trilby.image.inspect import raw_config

        return raw_config(self.store, self.find(name))

    def remove(self, names: Sequence[str], *, force: bool = False) -> Sequence[Removed]:
        """Remove by name, id or prefix: one of several names is only untagged.

        By id with several names it needs ``force``. An image that a container uses is refused, with
        the containers' names, also with ``force``. The first failure ends it. Raises ImageNotFound,
        ImageInUse, AmbiguousImage.
        """
        from trilby.image.service_remove import remove

        return [remove(self.store, self._found(name), force=force) for name in names]

    def tag(self, name: str, *new_names: str) -> None:
        """Add names; another image that has one of them loses it.

        A new name without a registry means ``localhost/...``.
        """
        from trilby.image.transports.names import local_name, stored_name

        image = self.find(name)
        wanted = [stored_name(local_name(new)) for new in new_names]
        self.store.add_image_names(image.id, wanted)

    def untag(self, name: str, *names: str) -> None:
        """Take names (default: all) from an image; the image stays.

        Raises ImageNotFound also if a name is not the image's.
        """
        from trilby.image.errors import ImageNotFound
        from trilby.image.service_remove import refuse_read_only

        target = self._found(name)
        image = target.image
        if not names:
            refuse_read_only(self.store, target)
        gone: list[str] = []
        for each in names:
            found = self._found(each)
            if found.image.id != image.id or not found.name:
                raise ImageNotFound(f"untagging {name}: {each!r} is not a name of it")
            refuse_read_only(self.store, found)
            gone.append(found.name)
        self.store.remove_image_names(image.id, gone or image.names)

    def history(self, name: str) -> Sequence[HistoryEntry]:
        """How the image was built, the newest step first."""
        from trilby.image.inspect import history

        return history(self.store, self.find(name))

    def used_by(self, image_id: str) -> Sequence[str]:
        """Names (or ids) of containers made from the image."""
        from trilby.image.service_remove import used_by

        return used_by(self.store, image_id)

    def prune(
        self, *, all_unused: bool = False, filters: Sequence[str] = (), dry_run: bool = False
    ) -> Sequence[Removed]:
        """Remove dangling images, or all that no container uses.

        Filters: ``until=<time or age>``, ``label=k[=v]``, ``label!=k[=v]``, ``dangling=true``.
        """
        from time import time

        from trilby.image.service_remove import prune

        return prune(
            self.store, all_unused=all_unused, filters=filters, dry_run=dry_run, now=time()
        )

    def mount(self, name: str) -> Path:
        """Mount the image read-only and return where; counted, see :meth:`unmount`."""
        return self.store.mount_image(self.find(name).id)

    def unmount(self, name: str, *, force: bool = False) -> bool:
        """Undo one mount (all with ``force``). False: it was not mounted."""
        from trilby.storage.errors import NotMounted

        try:
            self.store.unmount_image(self.find(name).id, force=force)
        except NotMounted:
            return False
        return True

    def import_rootfs(
        self,
        source: str,
        name: str = "",
        *,
        changes: Sequence[str] = (),
        message: str = "",
    ) -> str:
        """Make an image of one layer from a directory or tar file (``-``: not here). Its id.

        ``changes`` are lines as in a Containerfile: CMD, ENTRYPOINT, ENV, WORKDIR, USER, EXPOSE,
        LABEL, STOPSIGNAL, VOLUME.
        """
        from trilby.image.importer import import_rootfs

        return import_rootfs(
            self.store,
            source,
            name,
            changes=changes,
            message=message,
            platform=self.context.platform,
        )

    def list(self, filters: Sequence[str] = ()) -> list[ImageSummary]:
        """All images, or those that the filters of prune() fit, the newest first.

        Raises InvalidFilter.
        """
        if not filters:
            return summaries(self.store)
        from time import time

        from trilby.image.prune import ImageFilter

        return summaries(self.store, ImageFilter.parse(filters, time()))

    def _found(self, name: str) -> Found:
        from trilby.image.service_find import find

        return find(self.store, name, lambda: load_registries_of(self.context))


def load_registries_of(context: ImageContext) -> Registries:
    """registries.conf as this context says. Raises ConfigError."""
    from msgspec.structs import replace

    from trilby.image.registries import load_registries

    registries = load_registries(context.registries_conf, context.registries_conf_dir)
    return replace(registries, insecure_hosts=context.insecure_registries)


__all__ = [
    "HistoryEntry",
    "ImageSummary",
    "Images",
    "PullPolicy",
    "PulledImage",
    "Removed",
    "load_registries_of",
]

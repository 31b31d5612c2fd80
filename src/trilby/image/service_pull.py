"""Pull: from a name to an image of the store, once for everybody who asks at the same time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from trilby.errors import NotFound, TrilbyError
from trilby.image.copy import choose_instance, copy_image, fetch_manifest
from trilby.image.copy_types import CopyOptions, CopyResult
from trilby.image.errors import ImageNotFound, InvalidReference
from trilby.image.flights import Flights
from trilby.image.progress import Progress, Retrying
from trilby.image.reference import TRANSPORTS, Reference, parse_transport
from trilby.image.service_names import combined_failure, local_names
from trilby.image.service_types import PulledImage, PullPolicy
from trilby.image.transport import open_source
from trilby.image.transports.names import stored_name
from trilby.image.transports.storage_write import StorageDestination
from trilby.image.trust import policy_gate
from trilby.oci.manifest import Index

if TYPE_CHECKING:
    from trilby.image.context import ImageContext
    from trilby.image.registries import Registries
    from trilby.image.service_find import Found
    from trilby.image.transport import Source
    from trilby.oci.descriptor import Platform
    from trilby.storage.store import Store

log = logging.getLogger(__name__)


class Puller:
    """Pulls into one store. Of one event loop at a time."""

    def __init__(
        self,
        store: Store,
        find: Callable[[str], Found],
        registries: Callable[[ImageContext], Registries],
    ) -> None:
        self._store = store
        self._find = find
        self._registries = registries
        self._flights: Flights[PulledImage] = Flights()

    async def pull(
        self,
        name: str,
        policy: PullPolicy,
        progress: Progress | None,
        context: ImageContext,
        *,
        all_platforms: bool = False,
    ) -> PulledImage:
        """See Images.pull."""
        local = await asyncio.to_thread(self._local, name, context)
        if local is not None and policy in ("missing", "never"):
            shown = local.name or next(iter(local.image.names), "")
            return PulledImage(id=local.image.id, name=shown, digest="", changed=False)
        if policy == "never":
            raise ImageNotFound(
                f"image {name!r} is not in the store, and the pull policy is never",
                hint="pull it first",
            )
        if policy == "newer" and local is not None:
            newer = await self._newer(name, local, context)
            if newer is not None:
                return newer
        return await self._flights.share(
            # The context is part of the key: one caller's credentials must not serve another.
            (name, context, all_platforms),
            lambda tell: self._pull(name, tell, context, all_platforms),
            progress,
        )

    def _local(self, name: str, context: ImageContext) -> Found | None:
        """The image at hand, if it is for the platform wanted."""
        try:
            transport, rest = parse_transport(name)
        except InvalidReference:
            transport, rest = "", name
        if transport not in ("docker", ""):
            return None
        try:
            found = self._find(rest)
        except NotFound:
            return None
        if context.platform is not None and not self._runs_on(found, context):
            return None
        return found

    def _runs_on(self, found: Found, context: ImageContext) -> bool:
        from trilby.image.inspect import image_config
        from trilby.oci.platform import match

        assert context.platform is not None
        try:
            return match(image_config(self._store, found.image).platform, context.platform)
        except TrilbyError:
            return False

    async def _pull(
        self, name: str, progress: Progress, context: ImageContext, all_platforms: bool
    ) -> PulledImage:
        transport, rest = _transport_of(name)
        if transport != "docker":
            return await self._pull_other(name, transport, rest, progress, context)
        if name.startswith("docker://"):
            candidates = [Reference.parse(rest).with_default_tag()]
            return await self._pull_reference(candidates[0], progress, context, all_platforms)
        return await self._pull_short(rest, progress, context, all_platforms)

    async def _pull_short(
        self, name: str, progress: Progress, context: ImageContext, all_platforms: bool
    ) -> PulledImage:
        from trilby.image.shortnames import resolve

        def candidates() -> tuple[Reference, ...]:
            registries = self._registries(context)
            return resolve(name, registries, mode=context.short_name_mode).candidates

        names = await asyncio.to_thread(candidates)
        failures: list[tuple[Reference, TrilbyError]] = []
        for reference in names:
            try:
                return await self._pull_reference(reference, progress, context, all_platforms)
            except TrilbyError as error:
                if len(names) == 1:
                    raise
                failures.append((reference, error))
                progress(Retrying(str(reference), str(error)))
        raise combined_failure(name, failures)

    async def _pull_reference(
        self,
        reference: Reference,
        progress: Progress,
        context: ImageContext,
        all_platforms: bool,
    ) -> PulledImage:
        if reference.digest is not None:
            reference = reference.without_tag()
        source = await open_source(f"docker://{reference}", context)
        try:
            if all_platforms:
                await self._pull_others(source, reference, progress, context)
            return await self._copy(source, (stored_name(reference),), progress, context)
        finally:
            await source.close()

    async def _pull_others(
        self, source: Source, reference: Reference, progress: Progress, context: ImageContext
    ) -> None:
        """Every instance under its digest; the one for this platform comes last, under the name."""
        gate = await policy_gate(context)
        from trilby.image.copy_types import UnverifiedImage

        top = await fetch_manifest(source, None, None)
        await gate(UnverifiedImage(source, top.raw, top.media_type, top.digest, None))
        if not isinstance(top, Index):
            return
        chosen = choose_instance(top, CopyOptions(platform=context.platform), source.reference)
        for member in top.manifests:
            if member.digest == chosen.digest or member.platform is None:
                continue
            if member.platform.os == "unknown":  # attestations are no images
                continue
            named = reference.with_digest(member.digest)
            instance = await open_source(f"docker://{named}", context)
            try:
                await self._copy(instance, (stored_name(named),), progress, context)
            finally:
                await instance.close()

    async def _pull_other(
        self, name: str, transport: str, rest: str, progress: Progress, context: ImageContext
    ) -> PulledImage:
        source = await open_source(name, context, store=self._store)
        try:
            names = await asyncio.to_thread(local_names, source, transport, rest)
            return await self._copy(source, names, progress, context)
        finally:
            await source.close()

    async def _copy(
        self, source: Source, names: tuple[str, ...], progress: Progress, context: ImageContext
    ) -> PulledImage:
        gate = await policy_gate(context)
        before = {name: self._id_of(name) for name in names}
        destination = StorageDestination(
            self._store, None, more_names=names, parallel=context.parallel
        )
        options = CopyOptions(
            gate=gate, platform=context.platform, parallel=context.parallel, progress=progress
        )
        try:
            result: CopyResult = await copy_image(source, destination, options)
        finally:
            # Clean-up must run to its end even if the caller gives up a second time.
            await asyncio.shield(asyncio.ensure_future(destination.close()))
        image_id = destination.image_id
        if context.platform is not None:
            await asyncio.to_thread(self._warn_of_platform, source, image_id, context.platform)
        changed = not before or any(found != image_id for found in before.values())
        return PulledImage(
            id=image_id,
            name=names[0] if names else "",
            digest=str(result.source_digest),
            changed=changed,
        )

    def _warn_of_platform(self, source: Source, image_id: str, wanted: Platform) -> None:
        """An image that has one platform only is taken as it is, which may be a surprise."""
        from trilby.image.inspect import image_config
        from trilby.oci.platform import match

        image = self._store.image(image_id)
        found = image_config(self._store, image).platform if image else None
        if found is not None and not match(found, wanted):
            log.warning("%s is an image for %s, not for %s", source.reference, found, wanted)

    def _id_of(self, name: str) -> str:
        image = self._store.image(name)
        return image.id if image else ""

    async def _newer(self, name: str, local: Found, context: ImageContext) -> PulledImage | None:
        """The image at hand if the registry has no other one, or cannot be asked."""
        shown = local.name or next(iter(local.image.names), "")
        if not shown:
            return PulledImage(id=local.image.id, name="", digest="", changed=False)
        try:
            source = await open_source(f"docker://{shown}", context)
            try:
                top = await fetch_manifest(source, None, None)
            finally:
                await source.close()
        except TrilbyError as error:
            log.warning("asking for a newer %s: %s; using the one in the store", shown, error)
            return PulledImage(id=local.image.id, name=shown, digest="", changed=False)
        if str(top.digest) not in local.image.digests:
            return None
        return PulledImage(id=local.image.id, name=shown, digest=str(top.digest), changed=False)


def _transport_of(name: str) -> tuple[str, str]:
    """A name like ``dir`` or ``oci`` with a tag is a name; only ``transport:rest`` is split."""
    return parse_transport(name) if name.partition(":")[0] in TRANSPORTS else ("docker", name)

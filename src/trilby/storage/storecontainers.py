"""The store's calls about containers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

from msgspec.structs import replace

from trilby.storage import containers as records
from trilby.storage.containers import Containers
from trilby.storage.errors import DuplicateId, StoreUnusable
from trilby.storage.layers import Layers
from trilby.storage.paths import as_path
from trilby.storage.records import CONTAINER_FLAG, Container, Flags, IDMap, Layer, now
from trilby.storage.storebase import mount_request
from trilby.storage.storeimages import ImageCalls
from trilby.storage.storelayers import check_id, random_id

if TYPE_CHECKING:
    from pathlib import Path


class ContainerCalls(ImageCalls):
    """Containers of a store; use trilby.storage.store.Store."""

    def create_container(
        self,
        container_id: str | None = None,
        *,
        names: Sequence[str] = (),
        image: str = "",
        metadata: str = "",
        layer_names: Sequence[str] = (),
        volatile: bool = False,
        mount_options: Sequence[str] = (),
        mount_label: str = "",
        process_label: str = "",
        uid_map: Sequence[IDMap] = (),
        gid_map: Sequence[IDMap] = (),
        flags: Flags | None = None,
    ) -> Container:
        """Record a container with a new read-write layer over the image's top layer.

        ``image`` "" gives a container over nothing. ``volatile``: written without fsync,
        mounted with overlay's ``volatile``. With maps the layers stay as they are on disk and
        are mounted with shifted owners. Raises DuplicateName, DuplicateId, ImageNotFound.
        """
        identity = container_id or random_id()
        check_id(identity)
        # What a transient store keeps of containers is in the run root anyway.
        volatile = volatile or self.config.transient_store
        doing = f"creating container {identity[:12]}"
        with self._layers.records.writing() as layers:
            layers, _ = self._layers.clean(layers)
            top, image_id = "", ""
            if image:
                _, found = self._find_image(image, f"{doing} from image {image}")
                top, image_id = found.top_layer, found.id
            with self._containers.records.writing() as containers:
                if identity in containers.by_id:
                    raise DuplicateId(f"{doing}: there is one of this ID")
                records.check_names(containers, identity, names)
                layer = self._container_layer(
                    layers,
                    top,
                    layer_names,
                    identity,
                    volatile=volatile,
                    label=mount_label,
                    maps=(tuple(uid_map), tuple(gid_map)),
                )
                container = Container(
                    id=identity,
                    names=tuple(dict.fromkeys(names)),
                    image_id=image_id,
                    layer_id=layer.id,
                    metadata=metadata,
                    created=now(),
                    uid_map=tuple(uid_map),
                    gid_map=tuple(gid_map),
                    flags=_flags(mount_label, process_label, mount_options, volatile, flags),
                )
                try:
                    self._containers.records.save(
                        containers.with_record(container, volatile=volatile)
                    )
                except BaseException:
                    with (
                        self._layers.temp.directory() as here,
                        self._driver.temp.directory() as there,
                        self._layers.records.writing() as layers,
                    ):
                        self._layers.delete(layers, [layer.id], here, there)
                    raise
        return container

    def _container_layer(
        self,
        layers: Layers,
        parent: str,
        names: Sequence[str],
        container_id: str,
        *,
        volatile: bool,
        label: str,
        maps: tuple[tuple[IDMap, ...], tuple[IDMap, ...]],
    ) -> Layer:
        identity = random_id()
        above = self._parent_id(layers, parent, "creating a container's layer")
        layer = Layer(
            id=identity,
            names=tuple(dict.fromkeys(names)),
            parent=above or "",
            mount_label=label,
            created=now(),
            # Killed between layer and container record, recovery sees whose it would have been.
            flags={CONTAINER_FLAG: container_id},
        )
        self._layers.add(
            layers,
            layer,
            lambda: self._driver.create(
                identity, above, durable=not volatile, uid_map=maps[0], gid_map=maps[1]
            ),
            volatile=volatile,
        )
        return layer

    def container(self, ref: str) -> Container | None:
        """The container of this ID, unique ID prefix or name."""
        return self._containers.records.snapshot().find(ref)

    def containers(self) -> list[Container]:
        """All containers, whoever made them."""
        return self._containers.records.snapshot().records

    def set_container_names(self, ref: str, names: Sequence[str]) -> Container:
        """Give the container exactly these names. Raises DuplicateName."""
        with self._containers.records.writing() as containers:
            container = records.need(containers, ref, f"naming container {ref}")
            records.check_names(containers, container.id, names)
            return self._replace(containers, replace(container, names=tuple(dict.fromkeys(names))))

    def set_container_metadata(self, ref: str, metadata: str) -> Container:
        """Replace the container's metadata text."""
        with self._containers.records.writing() as containers:
            container = records.need(containers, ref, f"changing container {ref}")
            return self._replace(containers, replace(container, metadata=metadata))

    def _replace(self, containers: Containers, container: Container) -> Container:
        self._containers.records.save(containers.with_record(container))
        return container

    def container_big_data(self, ref: str, key: str) -> bytes:
        """The container's data under a key. Raises BigDataNotFound."""
        container = self._need_container(ref, f"reading {key!r} of container {ref}")
        return self._containers.data.read(container.id, key)

    def set_container_big_data(self, ref: str, key: str, data: bytes) -> Container:
        """Store data under a key of the container."""
        with self._containers.records.writing() as containers:
            container = records.need(containers, ref, f"writing {key!r} of container {ref}")
            return self._replace(containers, self._containers.add_data(container, {key: data}))

    def container_dir(self, ref: str) -> Path:
        """The container's persistent directory ``userdata``, made if missing."""
        container = self._need_container(ref, f"finding the directory of container {ref}")
        return _made(self._containers.directories(container.id)[0])

    def container_run_dir(self, ref: str) -> Path:
        """The container's volatile directory ``userdata``, made if missing."""
        container = self._need_container(ref, f"finding the run directory of container {ref}")
        return _made(self._containers.directories(container.id)[1])

    def mount_container(
        self,
        ref: str,
        *,
        label: str = "",
        options: Sequence[str] | None = None,
        userns: int | None = None,
    ) -> Path:
        """Mount the container's root file system, or count one user more; its root directory.

        ``label`` and ``options`` default to what ``create_container`` recorded. ``userns`` is a
        descriptor of a user namespace with the container's maps; without one, and if it has
        maps, a namespace is made for the moment, which takes some 10 ms.
        """
        doing = f"mounting container {ref[:12]}"
        container = self._need_container(ref, doing)
        recorded = container.flags.get("MountOpts")
        if options is None:
            options = [str(one) for one in recorded] if isinstance(recorded, list) else []
        request = mount_request(
            read_only=False,
            options=options,
            label=label or str(container.flags.get("MountLabel") or ""),
            volatile=container.volatile and not self.config.disable_volatile,
        )
        if container.uid_map or container.gid_map:
            request = replace(
                request,
                uid_map=container.uid_map,
                gid_map=container.gid_map,
                userns=userns,
            )
        return as_path(self._mount(container.layer_id, request, doing))

    def unmount_container(self, ref: str, *, force: bool = False) -> bool:
        """Count one user less; see ``unmount_layer``."""
        doing = f"unmounting container {ref[:12]}"
        container = self._need_container(ref, doing)
        return self._unmount(container.layer_id, force=force, doing=doing)

    def container_mount(self, ref: str) -> tuple[str, int]:
        """Where the container is mounted and its number of users; ("", 0) if it is not."""
        container = self._need_container(ref, f"looking at container {ref}")
        return self._mount_of(container.layer_id)

    def container_changes_dir(self, ref: str) -> Path:
        """The directory that what the container writes goes to; with vfs its whole tree."""
        container = self._need_container(ref, f"finding the changes of container {ref}")
        return as_path(self._driver.roots(container.layer_id)[0])

    def export_container(self, ref: str) -> BinaryIO:
        """What the container changed, as an uncompressed layer archive; the caller closes it."""
        from trilby.storage.streams import iterator_stream

        doing = f"exporting container {ref[:12]}"
        container = self._need_container(ref, doing)
        _, layer = self._find_layer(container.layer_id, doing)
        return iterator_stream(self._driver.diff(layer.id, layer.parent or None))

    def delete_container(self, ref: str) -> None:
        """Unmount and delete the container, its layer and its directories.

        Raises ContainerInUse if something else is mounted in its directories; calling again
        after that is gone finishes the deletion.
        """
        doing = f"deleting container {ref[:12]}"
        with (
            self._layers.temp.directory() as here,
            self._driver.temp.directory() as there,
            self._layers.records.writing() as layers,
            self._containers.records.writing() as containers,
        ):
            layers, _ = self._layers.clean(layers)
            container = records.need(containers, ref, doing)
            if container.layer_id in layers.by_id:
                self._layers.delete(layers, [container.layer_id], here, there)
            self._containers.remove_directories(container.id)
            self._containers.records.save(containers.without([container.id]))

    def _need_container(self, ref: str, doing: str) -> Container:
        return records.need(self._containers.records.snapshot(), ref, doing)


def _flags(
    mount_label: str,
    process_label: str,
    mount_options: Sequence[str],
    volatile: bool,
    more: Flags | None,
) -> Flags:
    """The flags as podman and CRI-O write them."""
    flags: Flags = {"MountLabel": mount_label, "ProcessLabel": process_label}
    if mount_options:
        flags["MountOpts"] = list(mount_options)
    if volatile:
        flags["Volatile"] = True
    return {**flags, **(more or {})}


def _made(path: str) -> Path:
    try:
        os.makedirs(path, 0o700, exist_ok=True)
    except OSError as error:
        raise StoreUnusable(f"making {path}: {error.strerror}") from error
    return as_path(path)

"""Containers' root file systems from the store, in the format that podman and CRI-O share."""

from __future__ import annotations

import os

import msgspec

from trilby.errors import NotFound
from trilby.image.inspect import image_config
from trilby.image.service import Images
from trilby.pods.container_rootfs import IdMappings, ImageFacts
from trilby.pods.spec.security import Labels
from trilby.storage.records import IDMap, Image
from trilby.storage.store import Store


class _Metadata(msgspec.Struct):
    """Of the metadata that the engine gives to its containers: whose they are."""

    manager: str = ""
    engine: str = ""


class StoreRootfs:
    """``owner`` is the engine's root: several engines could share one store.

    Containers are recorded as lasting, although no pod outlives the host's restart: older
    peers (podman 4.3) read no volatile records, and would unmount and remove what they do not see.
    """

    def __init__(self, store: Store, images: Images, owner: str) -> None:
        self.store = store
        self.images = images
        self.owner = owner

    def create(
        self,
        container_id: str,
        full_name: str,
        image: str,
        metadata: str,
        ids: IdMappings,
        labels: Labels,
    ) -> ImageFacts:
        found = self.images.find(image)
        config = image_config(self.store, found)
        self.store.create_container(
            container_id,
            names=[full_name],
            image=found.id,
            metadata=metadata,
            mount_label=labels.mount,
            process_label=labels.process,
            uid_map=[IDMap(one.container_id, one.host_id, one.size) for one in ids.uids],
            gid_map=[IDMap(one.container_id, one.host_id, one.size) for one in ids.gids],
        )
        return ImageFacts(id=found.id, ref=repository_digest(found), config=config)

    def mount(self, container_id: str) -> str:
        return str(self.store.mount_container(container_id))

    def remove(self, container_id: str) -> None:
        try:
            self.store.delete_container(container_id)
        except NotFound:
            pass

    def mount_image(self, image: str) -> str:
        return str(self.images.mount(image))

    def unmount_image(self, image: str) -> None:
        self.images.unmount(image)

    def usage(self, container_id: str) -> tuple[str, int, int]:
        root = str(self.store.config.graphroot)
        container = self.store.container(container_id)
        if container is None:
            raise FileNotFoundError(container_id)
        size, inodes = tree_usage(f"{root}/{self.store.driver}/{container.layer_id}/diff")
        return root, size, inodes

    def leftovers(self, known: set[str]) -> list[str]:
        found = []
        for container in self.store.containers():
            try:
                metadata = msgspec.json.decode(container.metadata or "{}", type=_Metadata)
            except msgspec.DecodeError:
                continue
            ours = metadata.manager == "trilby" and metadata.engine == self.owner
            if ours and container.id not in known:
                found.append(container.id)
        return found


def repository_digest(image: Image) -> str:
    """``repository@digest`` of the image's first name; empty without a name or a digest."""
    if not image.names or not image.digest:
        return ""
    name = image.names[0].partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}@{image.digest}"


def tree_usage(path: str) -> tuple[int, int]:
    """Bytes on disk and inodes below a directory that may change meanwhile.

    A file with several names counts once.
    """
    size = inodes = 0
    linked: set[int] = set()
    todo = [path]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    elif status.st_nlink > 1:
                        if status.st_ino in linked:
                            continue
                        linked.add(status.st_ino)
                    size += status.st_blocks * 512
                    inodes += 1
        except (FileNotFoundError, NotADirectoryError):
            continue
    return size, inodes

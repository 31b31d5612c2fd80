"""Volumes that need a mount of our own first: images, and host paths whose owners are shifted.

The mount is made below the container's bundle, for as long as the container is being created: the
runtime binds it into the container's own mount namespace, which keeps it. So no runtime has to know
of idmapped mounts (mount_setattr(2)), and an image in use is not mounted on the host.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec
from msgspec.structs import replace

from trilby.errors import NotFound
from trilby.oci import runtime as oci
from trilby.pods.container_rootfs import RootfsProvider
from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_common import IdMapping
from trilby.pods.model_container import ContainerConfig, Mount
from trilby.pods.spec.mounts import container_path
from trilby.system.mounts import BindMount
from trilby.system.namespaces import open_namespace
from trilby.system.userns import IdRange, open_user_namespace


class PodUser(msgspec.Struct, frozen=True, kw_only=True):
    """The pod's user namespace: where it is pinned ("": there is none), and its maps."""

    path: str = ""
    uids: tuple[IdMapping, ...] = ()
    gids: tuple[IdMapping, ...] = ()


def places(bundle: str, config: ContainerConfig) -> dict[str, str]:
    """Where such mounts go, by the path in the container; recorded before they are made."""
    return {
        mount.container_path: f"{bundle}/volume{number}"
        for number, mount in enumerate(config.mounts)
        if mount.image is not None or _shifted(mount)
    }


def _shifted(mount: Mount) -> bool:
    return bool(mount.uid_mappings or mount.gid_mappings)


def mount_images(
    rootfs: RootfsProvider, config: ContainerConfig, places: dict[str, str], stack: ExitStack
) -> dict[str, str]:
    """Mount the image volumes until the stack ends. Raises InvalidPodConfig for a missing image."""
    found = {}
    for mount in config.mounts:
        if mount.image is None:
            continue
        name, place = mount.image.ref or mount.image.image, places[mount.container_path]
        try:
            source = rootfs.mount_image(name)
        except NotFound as error:
            # The kubelet takes the reason from the beginning of the text.
            raise InvalidPodConfig(f"ImageVolumeMountFailed: {error.message}") from error
        try:
            os.mkdir(place, 0o700)
            _mount(BindMount(source, place, ("ro",), recursive=False), stack)
        finally:
            rootfs.unmount_image(name)
        found[mount.container_path] = place
    return found


def shift_owners(
    mounts: tuple[oci.Mount, ...],
    config: ContainerConfig,
    places: dict[str, str],
    pod: PodUser,
    stack: ExitStack,
) -> tuple[oci.Mount, ...]:
    """The mounts with their owners shifted, where that is asked for, until the stack ends.

    Raises InvalidPodConfig for a file system that cannot do it.
    """
    asked = {container_path(mount): mount for mount in config.mounts}
    done = []
    for mount in mounts:
        wish = asked.get(mount.destination)
        if wish is None or not mount.uid_mappings or wish.image is not None:
            done.append(replace(mount, uid_mappings=(), gid_mappings=()))
            continue
        place = places[wish.container_path]
        _make_place(place, mount.source)
        with _namespace(wish, pod) as descriptor:
            bind = BindMount(mount.source, place, idmap=descriptor)
            try:
                _mount(bind, stack)
            except OSError as error:
                raise InvalidPodConfig(
                    f"mount {mount.destination}: the owners of {mount.source} cannot be shifted:"
                    f" {error.strerror}",
                    hint="its file system has no idmapped mounts; use another, or hostUsers: true",
                ) from error
        done.append(replace(mount, source=place, uid_mappings=(), gid_mappings=()))
    return tuple(done)


def _mount(mount: BindMount, stack: ExitStack) -> None:
    mount.mount()
    stack.callback(mount.unmount)


def _make_place(place: str, source: str) -> None:
    if os.path.isdir(source):
        os.mkdir(place, 0o700)
    else:
        os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))


@contextmanager
def _namespace(wish: Mount, pod: PodUser) -> Iterator[int]:
    """A user namespace with the maps that are wanted: usually those of the pod's own."""
    if pod.path and (wish.uid_mappings, wish.gid_mappings) == (pod.uids, pod.gids):
        opened = open_namespace(pod.path, "user")
    else:
        opened = open_user_namespace(_ranges(wish.uid_mappings), _ranges(wish.gid_mappings))
    with opened:
        yield opened.number


def _ranges(mappings: tuple[IdMapping, ...]) -> list[IdRange]:
    return [IdRange(one.container_id, one.host_id, one.length) for one in mappings]

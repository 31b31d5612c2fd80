"""The host's side of mounts: what a source really is, and whether it can propagate."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_container import Mount, Propagation
from trilby.pods.spec.rootfs_files import directory_in_root
from trilby.system.mount_table import MountEntry, list_mounts


def resolve_sources(
    mounts: tuple[Mount, ...],
    image_mounts: Mapping[str, str],
    *,
    reject_absent: Collection[str] = (),
) -> dict[str, str]:
    """Container path to resolved host path for each mount. Missing host directories are made.

    A symbolic link is followed, as Kubernetes wants. A missing source below a path of
    ``reject_absent`` raises ``InvalidPodConfig``, and so do sources that cannot propagate as the
    mount wants.
    """
    found = {}
    table: list[MountEntry] = []
    for mount in mounts:
        if mount.image is not None:
            source = _image_source(mount, image_mounts)
        else:
            source = _host_source(mount, reject_absent)
        if mount.propagation is not Propagation.PRIVATE:
            table = table or list_mounts()
            check_propagation(mount, source, table)
        found[mount.container_path] = source
    return found


def _image_source(mount: Mount, image_mounts: Mapping[str, str]) -> str:
    source = image_mounts.get(mount.container_path)
    if source is None:
        raise InvalidPodConfig(f"ImageVolumeMountFailed: {mount.container_path} is not mounted")
    if not mount.image_sub_path:
        return source
    try:
        return directory_in_root(source, mount.image_sub_path)
    except InvalidPodConfig as error:
        raise InvalidPodConfig(f"ImageVolumeMountFailed: {error.message}") from error


def _host_source(mount: Mount, reject_absent: Collection[str]) -> str:
    if not mount.host_path.startswith("/"):
        raise InvalidPodConfig(
            f"mount {mount.container_path}: host path {mount.host_path!r} is not absolute"
        )
    source = os.path.realpath(mount.host_path)
    if not os.path.lexists(source):
        if any(source == path or mount.host_path == path for path in reject_absent):
            raise InvalidPodConfig(
                f"mount {mount.container_path}: {mount.host_path} does not exist",
                hint="absent_mount_sources_to_reject forbids to make it",
            )
        try:
            os.makedirs(source, mode=0o755, exist_ok=True)
        except OSError as error:
            raise InvalidPodConfig(
                f"mount {mount.container_path}: {source} cannot be made: {error.strerror}"
            ) from error
    return source


def check_propagation(mount: Mount, source: str, table: list[MountEntry]) -> None:
    """Raises ``InvalidPodConfig`` unless the mount below ``source`` is shared enough."""
    entry = mount_of(source, table)
    if entry is None:
        return
    wanted = "shared"
    enough = entry.peer_group > 0
    if mount.propagation is Propagation.HOST_TO_CONTAINER:
        wanted = "shared or slave"
        enough = enough or entry.master > 0
    if not enough:
        raise InvalidPodConfig(
            f"mount {mount.container_path}: {source} is on {entry.target}, which is"
            f" {entry.propagation} and not {wanted}",
            hint=f"mount --make-rshared {entry.target}",
        )


def mount_of(path: str, table: list[MountEntry]) -> MountEntry | None:
    """The mount that a path is on: the deepest, and of those the latest."""
    best = None
    for entry in table:
        below = entry.target.rstrip("/") + "/"
        if path == entry.target or path.startswith(below):
            if best is None or len(entry.target) >= len(best.target):
                best = entry
    return best

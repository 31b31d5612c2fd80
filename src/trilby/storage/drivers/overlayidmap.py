"""Containers in user namespaces: layers stay as they are, and are mounted with shifted owners.

The lower directories are seen through an idmapped bind mount of the overlay home (Linux 5.19);
the upper directory holds the host's IDs. The bind mounts are taken away once overlay has them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from msgspec.structs import replace

from trilby.storage.drivers.base import MountRequest
from trilby.storage.drivers.overlaymount import OverlayPlan, unmount
from trilby.storage.errors import DriverFailed
from trilby.storage.records import IDMap


def to_host(container_id: int, ranges: Sequence[IDMap]) -> int:
    """The host's ID of a container's one. Raises DriverFailed if it has none."""
    if not ranges:
        return container_id
    for one in ranges:
        if one.container_id <= container_id < one.container_id + one.size:
            return one.host_id + container_id - one.container_id
    raise DriverFailed(
        f"mapping ID {container_id} to the host: the container's maps do not have it",
        hint="give the container a larger range",
    )


def shift_owners(layer: str, uid_map: Sequence[IDMap], gid_map: Sequence[IDMap]) -> None:
    """Give a new, empty layer directory to the owners that its IDs have on the host."""
    for name in ("", "diff", "work", "merged"):
        path = os.path.join(layer, name)
        status = os.stat(path)
        mode = status.st_mode & 0o7777
        os.chown(path, to_host(status.st_uid, uid_map), to_host(status.st_gid, gid_map))
        os.chmod(path, mode)


def make_reachable(target: str, top: str) -> None:
    """Let everybody pass through the directories from ``top`` down to ``target``.

    The runtime resolves the root file system's path with the container's IDs.
    """
    path = os.path.dirname(target)
    while path.startswith(top) and path != os.sep:
        mode = os.stat(path).st_mode & 0o7777
        if not mode & 0o001:
            os.chmod(path, mode | 0o011)
        path = os.path.dirname(path)


@contextmanager
def mapped_lowers(plan: OverlayPlan, place: str, request: MountRequest) -> Iterator[OverlayPlan]:
    """The plan with its lower directories seen through idmapped mounts below ``place``."""
    from trilby.system.mounts import BindMount

    with ExitStack() as stack:
        userns = request.userns
        if userns is None:
            userns = _namespace(stack, request)
        os.makedirs(place, 0o700, exist_ok=True)
        stack.callback(_remove_empty, place)
        seen: dict[str, str] = {}
        lowers = []
        for lower in plan.lowers:
            # <home>/l/<link>, or <home>/<layer>/<directory>: one mount of the home serves all.
            home = os.path.dirname(os.path.dirname(lower))
            if home not in seen:
                seen[home] = os.path.join(place, str(len(seen)))
                os.makedirs(seen[home], 0o700, exist_ok=True)
                stack.callback(_remove_empty, seen[home])
                mount = BindMount(home, seen[home], recursive=False, idmap=userns)
                try:
                    mount.mount()
                except OSError as error:
                    raise DriverFailed(
                        f"mounting {home} with the container's ID maps: {error.strerror}",
                        hint="this needs Linux 5.19 and a file system that supports it",
                    ) from error
                stack.callback(unmount, seen[home])
            lowers.append(os.path.join(seen[home], os.path.relpath(lower, home)))
        yield replace(plan, lowers=tuple(lowers))


def _namespace(stack: ExitStack, request: MountRequest) -> int:
    from trilby.system.userns import IdRange, open_user_namespace

    ranges = [
        [IdRange(one.container_id, one.host_id, one.size) for one in ids]
        for ids in (request.uid_map, request.gid_map)
    ]
    return stack.enter_context(open_user_namespace(ranges[0], ranges[1])).fileno()


def _remove_empty(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        # Another mount of the same layer uses it, or will.
        pass

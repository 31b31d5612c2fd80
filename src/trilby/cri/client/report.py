"""What a daemon says of itself: our own by its page, any other by the CRI."""

from __future__ import annotations

import json
from typing import Final

import msgspec

from trilby.cri.client import pages
from trilby.cri.client.errors import NotByCri

#: The conditions that a kubelet waits for.
REQUIRED: Final = ("RuntimeReady", "NetworkReady")


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """``status`` is whether it is well."""

    type: str
    status: bool
    reason: str = ""
    message: str = ""


class Pull(msgspec.Struct, frozen=True, kw_only=True):
    """A pull under way; bytes are compressed ones, ``rate`` is in a second."""

    image: str
    bytes: int = 0
    size: int = 0
    percent: float = 0
    rate: float = 0
    layers: int = 0
    layers_total: int = 0


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """Where images and containers are."""

    driver: str = ""
    graph_root: str = ""
    run_root: str = ""
    images: int = 0


class Cgroups(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes cgroups, and below which one."""

    manager: str = ""
    parent: str = ""


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """What new pods are attached to; ``file`` is empty for the built-in network."""

    name: str = ""
    file: str = ""


class DaemonStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Pods and containers are numbers by state; a handler has its features by name.

    The default handler is there once more under "".
    """

    name: str = "trilby"
    version: str
    conditions: tuple[Condition, ...] = ()
    handlers: dict[str, dict[str, bool]] = {}
    storage: Storage = Storage()
    cgroups: Cgroups = Cgroups()
    network: Network = Network()
    pods: dict[str, int] = {}
    containers: dict[str, int] = {}
    pulls: tuple[Pull, ...] = ()

    @property
    def ready(self) -> bool:
        """By the two conditions that the CRI has; others that runtimes add are for people."""
        return all(one.status for one in self.conditions if one.type in REQUIRED)


def read_status(path: str) -> DaemonStatus:
    """Our own daemon's page. Blocks. Raises NoDaemon, NotByCri."""
    return pages.get(path, "/status", DaemonStatus)


async def ask_status(path: str) -> DaemonStatus:
    """Of any runtime, by the CRI: storage and pulls are not told there. Raises NoDaemon."""
    from trilby.cri.client.connection import Connection
    from trilby.cri.client.listing import take
    from trilby.cri.errors import Unimplemented
    from trilby.cri.proto import image_pb2
    from trilby.cri.proto import runtime_pb2 as pb

    async with Connection(path) as connection:
        version = await connection.call(pb.VersionRequest(), pb.VersionResponse)
        status = await connection.call(pb.StatusRequest(verbose=True), pb.StatusResponse)
        images = await connection.call(image_pb2.ListImagesRequest(), image_pb2.ListImagesResponse)
        cgroups = Cgroups()
        try:
            config = await connection.call(pb.RuntimeConfigRequest(), pb.RuntimeConfigResponse)
            systemd = config.linux.cgroup_driver == pb.SYSTEMD
            cgroups = Cgroups(manager="systemd" if systemd else "cgroupfs")
        except Unimplemented:
            pass
        snapshot = await take(connection)
    return DaemonStatus(
        name=version.runtime_name,
        version=version.runtime_version,
        conditions=tuple(
            Condition(
                type=one.type, status=one.status, reason=one.reason, message=_short(one.message)
            )
            for one in status.status.conditions
        ),
        handlers={
            one.name: {
                "recursive_read_only": one.features.recursive_read_only_mounts,
                "user_namespaces": one.features.user_namespaces,
            }
            for one in status.runtime_handlers
        },
        storage=Storage(images=len(images.images)),
        cgroups=cgroups,
        pods=_count([one.state.value for one in snapshot.sandboxes()]),
        containers=_count([one.state.value for one in snapshot.containers()]),
    )


def status_of(path: str) -> DaemonStatus:
    """Our own daemon's page, or what another one tells by the CRI. Blocks. Raises NoDaemon."""
    try:
        return read_status(path)
    except NotByCri:
        import asyncio

        return asyncio.run(ask_status(path))


def _short(message: str) -> str:
    """containerd wraps a JSON document in one of its conditions; people want its words."""
    try:
        found: object = json.loads(message)
    except ValueError:
        return message
    if isinstance(found, dict):
        return "; ".join(f"{key}: {value}" for key, value in found.items())
    return message


def _count(states: list[str]) -> dict[str, int]:
    return {state.lower(): states.count(state) for state in sorted(set(states))}

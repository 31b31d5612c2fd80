"""One plugin: how it registers, is configured and synchronised, and is told of events."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from importlib.metadata import version
from typing import Final, Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from trilby.cri.nri import ttrpc
from trilby.cri.nri.connection import Connection
from trilby.cri.nri.errors import (
    CallRefused,
    Disconnected,
    HookFailed,
    NriError,
    PluginTimeout,
    ProtocolError,
    RegistrationFailed,
)
from trilby.cri.nri.proto import adjustment_pb2, pod_pb2
from trilby.cri.nri.proto import plugin_pb2 as pb
from trilby.cri.nri.settings import Settings

__all__ = ["NRI_VERSION", "Plugin"]

log = logging.getLogger(__name__)

#: The release of NRI whose interface this is.
NRI_VERSION: Final = "v0.12.3"
#: How much of pods and containers goes into one message at most; a message may have 4 MiB.
CHUNK: Final = 3 << 20

METHODS: Final[dict[int, str]] = {
    pb.RUN_POD_SANDBOX: "RunPodSandbox",
    pb.STOP_POD_SANDBOX: "StopPodSandbox",
    pb.REMOVE_POD_SANDBOX: "RemovePodSandbox",
    pb.CREATE_CONTAINER: "CreateContainer",
    pb.POST_CREATE_CONTAINER: "PostCreateContainer",
    pb.START_CONTAINER: "StartContainer",
    pb.POST_START_CONTAINER: "PostStartContainer",
    pb.UPDATE_CONTAINER: "UpdateContainer",
    pb.POST_UPDATE_CONTAINER: "PostUpdateContainer",
    pb.STOP_CONTAINER: "StopContainer",
    pb.REMOVE_CONTAINER: "RemoveContainer",
    pb.UPDATE_POD_SANDBOX: "UpdatePodSandbox",
    pb.POST_UPDATE_POD_SANDBOX: "PostUpdatePodSandbox",
    pb.VALIDATE_CONTAINER_ADJUSTMENT: "ValidateContainerAdjustment",
}
#: Before NRI 0.12 these were no calls but kinds of StateChange.
STATE_CHANGES: Final = frozenset(METHODS) - {
    pb.CREATE_CONTAINER,
    pb.UPDATE_CONTAINER,
    pb.STOP_CONTAINER,
    pb.UPDATE_POD_SANDBOX,
    pb.VALIDATE_CONTAINER_ADJUSTMENT,
}
_ALL: Final = sum(1 << (event - 1) for event in METHODS)
_VALIDATE: Final = 1 << (pb.VALIDATE_CONTAINER_ADJUSTMENT - 1)

Answer = TypeVar("Answer", bound=Message)
Updates = Callable[["Plugin", pb.UpdateContainersRequest], Awaitable[pb.UpdateContainersResponse]]


class Event(Protocol):
    """The request of an event: all have a pod."""

    @property
    def pod(self) -> pod_pb2.PodSandbox: ...
    def SerializeToString(self) -> bytes: ...


class Plugin:
    """``index`` and ``base`` are given for plugins that the daemon starts; others say them.

    ``connection`` is made with this object's ``serve``.
    """

    def __init__(
        self,
        settings: Settings,
        updates: Updates,
        *,
        index: str = "",
        base: str = "",
        config: str = "",
    ) -> None:
        self.index = index
        self.base = base
        self.connection = Connection(self.serve)
        self._settings = settings
        self._updates = updates
        self._config = config
        self._given = bool(index)
        self._registered = asyncio.Event()
        self._ready = False
        self._events = 0
        self._old: set[int] = set()

    @property
    def name(self) -> str:
        return f"{self.index}-{self.base}" if self.index else "that has not registered"

    def wants(self, event: int) -> bool:
        """Whether it has subscribed to an event."""
        return bool(self._events & 1 << (event - 1))

    # Joining

    async def join(self) -> None:
        """Wait until it has registered, then configure it. Raises RegistrationFailed."""
        timeout = self._settings.registration_timeout
        registered = asyncio.ensure_future(self._registered.wait())
        closed = asyncio.ensure_future(self.connection.closed.wait())
        try:
            await asyncio.wait(
                [registered, closed], timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            registered.cancel()
            closed.cancel()
        if self.connection.closed.is_set():
            raise RegistrationFailed("an NRI plugin left before it had registered")
        if not self._registered.is_set():
            raise RegistrationFailed(
                f"the NRI plugin {self.name} did not register within {timeout:g} s"
            )
        await self._configure()

    async def _configure(self) -> None:
        settings = self._settings
        request = pb.ConfigureRequest(
            config=self._config,
            runtime_name="trilby",
            runtime_version=version("trilby"),
            registration_timeout=int(settings.registration_timeout * 1000),
            request_timeout=int(settings.request_timeout * 1000),
            NRI_version=NRI_VERSION,
        )
        try:
            answer = pb.ConfigureResponse.FromString(
                await self._call("Configure", request, settings.request_timeout)
            )
        except (NriError, DecodeError) as error:
            raise RegistrationFailed(f"configuring the NRI plugin {self.name}: {error}") from error
        events = answer.events or _ALL & ~_VALIDATE
        if events & ~_ALL:
            raise RegistrationFailed(
                f"the NRI plugin {self.name} subscribes to unknown events: {events:#x}"
            )
        self._events = events
        self._ready = True

    async def synchronize(
        self, pods: Sequence[pod_pb2.PodSandbox], containers: Sequence[pod_pb2.Container]
    ) -> list[adjustment_pb2.ContainerUpdate]:
        """Tell it what there is, in as many messages as that needs. Raises RegistrationFailed.

        It belongs to the registration, and may take as long as that.
        """
        timeout = max(self._settings.registration_timeout, self._settings.request_timeout)
        try:
            async with asyncio.timeout(timeout):
                for request in chunks(pods, containers):
                    payload = await self._call("Synchronize", request, timeout)
                    answer = pb.SynchronizeResponse.FromString(payload)
                    if request.more and (answer.update or not answer.more):
                        raise RegistrationFailed("it takes no state in several messages")
        except (NriError, DecodeError, TimeoutError) as error:
            raise RegistrationFailed(
                f"synchronising the NRI plugin {self.name}: {str(error) or 'its time is over'}"
            ) from error
        return list(answer.update)

    # Events

    async def tell(self, event: int, request: Event, answer: type[Answer]) -> Answer | None:
        """Its answer, or None when it does not want to know, or is gone.

        A plugin that does not answer in time, or not properly, is let go: nothing waits for it
        again. Raises HookFailed when it refuses.
        """
        if not self.wants(event) or self.connection.closed.is_set():
            return None
        method = METHODS[event]
        try:
            return answer.FromString(await self._relay(event, method, request))
        except CallRefused as error:
            raise HookFailed(
                f"the NRI plugin {self.name} refused {method}: {error.message}"
            ) from error
        except (PluginTimeout, Disconnected, DecodeError, ProtocolError) as error:
            log.error("the NRI plugin %s is disconnected: %s", self.name, error)
            self.connection.close()
            return None

    async def _relay(self, event: int, method: str, request: Event) -> bytes:
        timeout = self._settings.request_timeout
        if event not in self._old:
            try:
                return await self.connection.call(method, request.SerializeToString(), timeout)
            except CallRefused as error:
                if error.code != ttrpc.UNIMPLEMENTED or event not in STATE_CHANGES:
                    raise
            log.info("the NRI plugin %s is told %s as a StateChange", self.name, method)
            self._old.add(event)
        change = pb.StateChangeEvent(
            event=pb.Event.Name(event),
            pod=request.pod,
            container=getattr(request, "container", None),
        )
        await self.connection.call("StateChange", change.SerializeToString(), timeout)
        return b""

    async def _call(self, method: str, request: Message, timeout: float) -> bytes:
        return await self.connection.call(method, request.SerializeToString(), timeout)

    async def shut_down(self, timeout: float) -> None:
        """Tell it that the daemon ends, and close the connection."""
        try:
            await self._call("Shutdown", pb.Empty(), timeout)
        except NriError as error:
            log.debug("shutting down the NRI plugin %s: %s", self.name, error)
        self.connection.close()

    # What it calls

    async def serve(self, method: str, payload: bytes) -> bytes:
        """Answer a call of the plugin."""
        if method == "RegisterPlugin":
            self._register(pb.RegisterPluginRequest.FromString(payload))
            return b""
        if method == "UpdateContainers":
            if not self._ready:
                raise CallRefused(ttrpc.INVALID_ARGUMENT, "the plugin is not configured")
            request = pb.UpdateContainersRequest.FromString(payload)
            return (await self._updates(self, request)).SerializeToString()
        raise CallRefused(ttrpc.UNIMPLEMENTED, f"method {method}")

    def _register(self, request: pb.RegisterPluginRequest) -> None:
        if self._registered.is_set():
            raise CallRefused(ttrpc.INVALID_ARGUMENT, "the plugin is registered already")
        if not self._given:
            check_name(request.plugin_idx, request.plugin_name)
            self.index, self.base = request.plugin_idx, request.plugin_name
        log.info(
            "the NRI plugin %s registered (NRI %s)", self.name, request.NRI_version or "unknown"
        )
        self._registered.set()


def check_name(index: str, base: str) -> None:
    """Raises RegistrationFailed: two digits, and letters, digits and ``-_.+``."""
    if not re.fullmatch(r"[0-9]{2}", index, re.ASCII):
        raise RegistrationFailed(f"the index {index!r} of an NRI plugin is not two digits")
    if not re.fullmatch(r"[A-Za-z0-9_.+-]+", base):
        raise RegistrationFailed(f"{base!r} cannot be the name of an NRI plugin")


def chunks(
    pods: Iterable[pod_pb2.PodSandbox], containers: Iterable[pod_pb2.Container]
) -> list[pb.SynchronizeRequest]:
    """Requests that are not too long; all but the last say that there is more."""
    requests = [pb.SynchronizeRequest()]
    size = 0

    def room(length: int) -> pb.SynchronizeRequest:
        nonlocal size
        if size and size + length > CHUNK:
            requests[-1].more = True
            requests.append(pb.SynchronizeRequest())
            size = 0
        size += length
        return requests[-1]

    for pod in pods:
        room(pod.ByteSize() + 8).pods.append(pod)
    for container in containers:
        room(container.ByteSize() + 8).containers.append(container)
    return requests

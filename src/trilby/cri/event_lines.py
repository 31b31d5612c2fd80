"""A container event as one line says it: for the page of past events, and for the command."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from trilby.cri.proto import container_pb2, sandbox_pb2
from trilby.cri.proto import runtime_pb2 as pb

TYPES: Final[dict[int, str]] = {
    pb.CONTAINER_CREATED_EVENT: "created",
    pb.CONTAINER_STARTED_EVENT: "started",
    pb.CONTAINER_STOPPED_EVENT: "stopped",
    pb.CONTAINER_DELETED_EVENT: "deleted",
}
#: Of how many containers the names are known after they are gone.
REMEMBERED: Final = 600


class EventLine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``at`` is in nanoseconds. Of a pod's sandbox ``container`` and ``container_id`` are empty.

    ``state``, ``exit_code`` and ``reason`` are those of the moment when the event was told.
    """

    at: int
    type: str
    pod_id: str
    pod: str = ""
    namespace: str = ""
    container_id: str = ""
    container: str = ""
    state: str = ""
    exit_code: int | None = None
    reason: str = ""


class Lines:
    """Makes lines; what is deleted has no names in its event, so those from before are kept."""

    def __init__(self) -> None:
        self._known: dict[str, EventLine] = {}

    def seed(self, lines: Iterable[EventLine]) -> None:
        """What happened before, for its names."""
        for line in lines:
            self._keep(line.container_id or line.pod_id, line)

    def line(self, event: pb.ContainerEventResponse) -> EventLine:
        known = self._known.get(event.container_id)
        pod = event.pod_sandbox_status
        is_pod = event.container_id == pod.id or (
            known is not None and known.pod_id == event.container_id
        )
        line = EventLine(
            at=event.created_at,
            type=TYPES.get(event.container_event_type, "?"),
            pod_id=pod.id or (known.pod_id if known else ""),
            pod=pod.metadata.name or (known.pod if known else ""),
            namespace=pod.metadata.namespace or (known.namespace if known else ""),
        )
        if is_pod:
            ready = pod.id and pod.state == sandbox_pb2.SANDBOX_READY
            state = "ready" if ready else "notready"
            line = msgspec.structs.replace(line, state=state if pod.id else "")
        else:
            line = self._with_container(line, event, known)
        self._keep(event.container_id, line)
        return line

    def _with_container(
        self, line: EventLine, event: pb.ContainerEventResponse, known: EventLine | None
    ) -> EventLine:
        status = next(
            (one for one in event.containers_statuses if one.id == event.container_id), None
        )
        if status is None:
            name = known.container if known else ""
            return msgspec.structs.replace(line, container_id=event.container_id, container=name)
        exited = status.state == container_pb2.CONTAINER_EXITED
        return msgspec.structs.replace(
            line,
            container_id=status.id,
            container=status.metadata.name,
            state=container_pb2.ContainerState.Name(status.state)
            .removeprefix("CONTAINER_")
            .lower(),
            exit_code=status.exit_code if exited else None,
            reason=status.reason,
        )

    def _keep(self, container_id: str, line: EventLine) -> None:
        """The last ones, in the order of their last events."""
        self._known.pop(container_id, None)
        self._known[container_id] = line
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]

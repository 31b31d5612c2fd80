"""trilby events."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import click

from trilby.cli.host import daemon_option
from trilby.cli.output import json_flag
from trilby.errors import TrilbyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trilby.cri.client.connection import Connection
    from trilby.cri.event_lines import EventLine

    Wanted = Callable[[EventLine], bool]

FILTERS = ("container", "namespace", "pod", "type")


@click.command("events", epilog="Example: trilby events -f --since 10m --filter type=stopped")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on.")
@click.option("--since", default="", metavar="TIME|AGE", help="RFC 3339, or an age such as 10m.")
@click.option(
    "--filter", "filters", metavar="KEY=VALUE", multiple=True,
    help="pod=, namespace=, container= (a name or the beginning of an id), type=; all must fit.",
)  # fmt: skip
@click.option("--format", metavar="FORMAT", default="", help="json: one object a line.")
@daemon_option
def command(follow: bool, since: str, filters: tuple[str, ...], format: str, host: str) -> None:
    """Show what happened to pods and containers: created, started, stopped, deleted.

    Without --follow these are the last events that the daemon remembers, since its start. With
    --follow only new ones, or with --since also those that it remembers from that time on. Other
    runtimes than trilbyd remember nothing, and can only be followed.
    """
    from trilby.cli.pod.logs import since_time
    from trilby.cri.client.address import chosen

    as_json = json_flag(format)
    path = chosen(host)
    oldest = since_time(since) if since else 0
    wanted = _filter(filters)
    show = _show_json if as_json else _show

    newest = 0
    if not follow or since:
        for line in _remembered(path):
            newest = max(newest, line.at)
            if line.at >= oldest and wanted(line):
                show(line)
    if follow:
        from trilby.cli.running import run_async

        after = newest if since else time.time_ns()
        run_async(_follow(path, after, wanted, show))


def _remembered(path: str) -> list[EventLine]:
    from trilby.cri.client.pages import get
    from trilby.cri.event_lines import EventLine

    return get(path, "/events", list[EventLine])


async def _follow(path: str, after: int, wanted: Wanted, show: Callable[[EventLine], None]) -> None:
    """Until the daemon ends the stream. Of what waited there, only what is later than ``after``."""
    from trilby.cri.client.connection import Connection
    from trilby.cri.event_lines import Lines
    from trilby.cri.proto import runtime_pb2 as pb

    lines = Lines()
    async with Connection(path) as connection:
        lines.seed(await _present(connection))
        with contextlib.suppress(TrilbyError):  # other runtimes remember nothing
            lines.seed(_remembered(path))
        async for event in connection.stream(pb.GetEventsRequest(), pb.ContainerEventResponse):
            line = lines.line(event)
            if line.at > after and wanted(line):
                show(line)


async def _present(connection: Connection) -> list[EventLine]:
    """What is there already, for its names."""
    from trilby.cri.event_lines import EventLine
    from trilby.cri.proto import container_pb2, sandbox_pb2

    pods = await connection.call(
        sandbox_pb2.ListPodSandboxRequest(), sandbox_pb2.ListPodSandboxResponse
    )
    found = {
        pod.id: EventLine(
            at=0, type="", pod_id=pod.id, pod=pod.metadata.name, namespace=pod.metadata.namespace
        )
        for pod in pods.items
    }
    listed = await connection.call(
        container_pb2.ListContainersRequest(), container_pb2.ListContainersResponse
    )
    lines = list(found.values())
    for one in listed.containers:
        pod = found.get(one.pod_sandbox_id)
        lines.append(
            EventLine(
                at=0,
                type="",
                pod_id=one.pod_sandbox_id,
                pod=pod.pod if pod else "",
                namespace=pod.namespace if pod else "",
                container_id=one.id,
                container=one.metadata.name,
            )
        )
    return lines


def _filter(filters: tuple[str, ...]) -> Wanted:
    """Raises click.UsageError for a key that is not known."""
    pairs = []
    for each in filters:
        key, equals, value = each.partition("=")
        if key not in FILTERS or not equals:
            raise click.UsageError(f"--filter {each}: there are {', '.join(FILTERS)}, with =VALUE")
        pairs.append((key, value))

    def wanted(line: EventLine) -> bool:
        values = {
            "container": (line.container, line.container_id),
            "namespace": (line.namespace, ""),
            "pod": (line.pod, line.pod_id),
            "type": (line.type, ""),
        }
        return all(
            value == values[key][0] or (len(value) >= 3 and values[key][1].startswith(value))
            for key, value in pairs
        )

    return wanted


def _show_json(line: EventLine) -> None:
    import msgspec

    click.echo(msgspec.json.encode({**msgspec.to_builtins(line), "time": clock(line.at)}))


def _show(line: EventLine) -> None:
    click.echo(text(line))


def text(line: EventLine) -> str:
    """Time, type, pod, container, state, exit code and reason."""
    pod = f"{line.namespace}/{line.pod}" if line.pod else line.pod_id[:12] or "?"
    subject = f"pod {pod}"
    if line.container_id:
        subject += f" container {line.container or '?'} ({line.container_id[:12]})"
    else:
        subject += f" ({line.pod_id[:12]})"
    words = [clock(line.at), f"{line.type:7}", subject, line.state]
    if line.exit_code is not None:
        words.append(f"exit code {line.exit_code}")
    if line.reason and line.reason != "Completed":
        words.append(line.reason)
    return "  ".join(word for word in words if word)


def clock(at: int) -> str:
    """RFC 3339 with microseconds, in the local zone as logs have it."""
    from datetime import datetime

    moment = datetime.fromtimestamp(at // 1_000_000_000).astimezone()
    return moment.replace(microsecond=at // 1000 % 1_000_000).isoformat(timespec="microseconds")

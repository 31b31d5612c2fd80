"""trilby pod stats."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
import msgspec

from trilby.cli.host import host_option
from trilby.cli.names import pod_names
from trilby.cli.output import Column, human_size, print_rows
from trilby.cli.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trilby.pods.model_status import ContainerStats, SandboxStats

INTERVAL = 1.0


class Row:
    """One container, or the pod itself with an empty name."""

    __slots__ = ("container", "pod", "stats")

    def __init__(self, pod: str, container: str, stats: SandboxStats | ContainerStats) -> None:
        self.pod = pod
        self.container = container
        self.stats = stats


@click.command("stats", epilog="Example: trilby pod stats --no-stream --format json hello")
@click.argument("pods", metavar="[POD]...", nargs=-1, shell_complete=pod_names)
@click.option("--no-stream", is_flag=True, help="Measure once and end.")
@click.option("--format", metavar="FORMAT", default="", help="json, table or {{.Field}} template.")
@host_option
@click.pass_obj
def command(
    settings: Settings, pods: tuple[str, ...], no_stream: bool, format: str, host: str
) -> None:
    """Show what pods and their containers use: CPU (of one core), memory, processes, network."""
    from trilby.cli.running import run_async

    run_async(_show(settings, host, pods, no_stream or not sys.stdout.isatty(), format))


async def _show(
    settings: Settings, host: str, pods: tuple[str, ...], once: bool, format: str
) -> None:
    import asyncio

    from trilby.cli.pod.stop import select
    from trilby.cli.pod.target import open_target

    async with open_target(settings, host) as target:
        while True:
            chosen = select(await target.listing(), pods, False)
            found = [view for view in chosen if view.running]
            for view in found:
                await target.engine.read_stats(view.id)
            # CPU use is a rate, so it takes two measurements.
            await asyncio.sleep(INTERVAL)
            rows: list[Row] = []
            for view in found:
                stats = await target.engine.read_stats(view.id)
                rows.append(Row(view.name, "", stats))
                rows += [Row(view.name, each.name, each) for each in stats.containers if each.cpu]
            if not once:
                click.clear()
            _print(rows, format)
            if once:
                return


def _print(rows: Sequence[Row], format: str) -> None:
    columns = [
        Column[Row]("POD", "Pod", lambda row: row.pod),
        Column[Row]("CONTAINER", "Container", lambda row: row.container or "(pod)"),
        Column[Row]("CPU %", "CPU", _cpu),
        Column[Row]("MEM USAGE", "Memory", _memory),
        Column[Row]("PIDS", "PIDs", lambda row: _number(row.stats.process_count)),
        Column[Row]("NET IN / OUT", "Net", _network),
    ]
    print_rows(rows, columns, format=format, json=lambda row: msgspec.to_builtins(row.stats))


def _cpu(row: Row) -> str:
    cpu = row.stats.cpu
    if cpu is None or cpu.usage_nano_cores is None:
        return "--"
    return f"{cpu.usage_nano_cores / 1e7:.2f}%"


def _memory(row: Row) -> str:
    return human_size(row.stats.memory.working_set) if row.stats.memory else "--"


def _number(value: int | None) -> str:
    return "--" if value is None else str(value)


def _network(row: Row) -> str:
    interfaces = getattr(row.stats, "interfaces", ())
    if not interfaces:
        return "--"
    received = sum(each.rx_bytes for each in interfaces)
    sent = sum(each.tx_bytes for each in interfaces)
    return f"{human_size(received)} / {human_size(sent)}"

"""trilby pod ps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
import msgspec

from trilby.cli.host import host_option
from trilby.cli.output import Column, human_age, print_rows
from trilby.cli.settings import Settings

if TYPE_CHECKING:
    from trilby.pods.embedded.listing import PodView


@click.command("ps", epilog="Example: trilby pod ps --format '{{.Name}} {{.IP}}'")
@click.option(
    "-a", "--all", "everything", is_flag=True, help="Accepted; stopped pods are shown too."
)
@click.option("--format", metavar="FORMAT", default="", help="json, table or {{.Field}} template.")
@click.option("-n", "--noheading", is_flag=True, help="No headings.")
@click.option("--no-trunc", is_flag=True, help="Whole ids.")
@click.option("-q", "--quiet", is_flag=True, help="Only ids.")
@host_option
@click.pass_obj
def command(
    settings: Settings,
    everything: bool,
    format: str,
    noheading: bool,
    no_trunc: bool,
    quiet: bool,
    host: str,
) -> None:
    """List the pods, the newest first."""
    from trilby.cli.pod.target import pods_of

    pods = pods_of(settings, host).all()
    if quiet:
        for view in pods:
            click.echo(view.id if no_trunc else view.id[:12])
        return
    print_rows(
        pods, _columns(no_trunc), format=format, heading=not noheading, json=document, more=_MORE
    )


def _columns(no_trunc: bool) -> list[Column[PodView]]:
    now = time.time()
    return [
        Column("POD ID", "ID", lambda pod: pod.id if no_trunc else pod.id[:12]),
        Column("NAME", "Name", lambda pod: pod.name),
        Column("READY", "Ready", lambda pod: "/".join(map(str, pod.ready()))),
        Column("STATUS", "Status", lambda pod: pod.phase),
        Column("RESTARTS", "Restarts", lambda pod: str(pod.restarts())),
        Column("AGE", "Created", lambda pod: human_age(now - pod.created)),
        Column("IP", "IP", _first_ip),
    ]


def _first_ip(pod: PodView) -> str:
    return pod.sandbox.ips[0] if pod.sandbox and pod.sandbox.ips else ""


_MORE: list[Column[PodView]] = [
    Column("NAMESPACE", "Namespace", lambda pod: pod.namespace),
    Column("UID", "UID", lambda pod: pod.uid),
]


def document(pod: PodView) -> dict[str, object]:
    """A pod for machines; the fields are those of the CRI where it has them."""
    ready, total = pod.ready()
    return {
        "id": pod.id,
        "name": pod.name,
        "namespace": pod.namespace,
        "uid": pod.uid,
        "phase": pod.phase,
        "ready": ready,
        "total": total,
        "restarts": pod.restarts(),
        "created": pod.created,
        "runner": pod.runner,
        "sandbox": msgspec.to_builtins(pod.sandbox),
        "containers": [msgspec.to_builtins(each) for each in pod.containers],
    }

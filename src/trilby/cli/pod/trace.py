"""trilby pod trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trilby.cli.host import daemon_option
from trilby.cli.names import pod_names

if TYPE_CHECKING:
    from trilby.cli.pod.trace_model import Trace

FORMATS = ("table", "json", "chrome", "html")
_BY_NAME = {".html": "html", ".htm": "html", ".json": "chrome"}


@click.command(
    "trace",
    epilog="Example: trilby pod trace -o hello.html hello",
)
@click.argument("pod", metavar="POD", shell_complete=pod_names)
@click.option(
    "--format", type=click.Choice(FORMATS), default=None,
    help="table: in the terminal; html: a page; chrome: for chrome://tracing or Perfetto; json: the"
    " stages [default: by the name of --output, else table].",
)  # fmt: skip
@click.option(
    "-o", "--output", metavar="FILE", default="", help="Write to a file instead of stdout."
)
@daemon_option
def command(pod: str, format: str | None, output: str, host: str) -> None:
    """Show where the time of a pod's start and end went, stage by stage.

    POD is a pod's name, namespace/name, uid, or the beginning of its id. The daemon keeps the
    stages of its last 128 pods, also of removed ones.
    """
    from trilby.cri.client.address import chosen

    trace = load(chosen(host), pod)
    how = format or _by_name(output) or "table"
    if how == "table" and not output:
        from trilby.cli.pod.trace_table import show

        show(trace)
        return
    text = _render(trace, how)
    if not output:
        click.echo(text, nl=False)
        return
    with open(output, "w", encoding="utf-8") as file:
        file.write(text)


def _by_name(output: str) -> str:
    return next((how for end, how in _BY_NAME.items() if output.endswith(end)), "")


def _render(trace: Trace, how: str) -> str:
    import msgspec

    if how == "html":
        from trilby.cli.pod.trace_html import page

        return page(trace)
    if how == "chrome":
        from trilby.cli.pod.trace_chrome import document

        return msgspec.json.encode(document(trace)).decode() + "\n"
    if how == "table":
        raise click.UsageError("--output wants --format html, chrome or json")
    return msgspec.json.format(msgspec.json.encode(trace), indent=2).decode() + "\n"


def load(path: str, pod: str) -> Trace:
    """The stages of a pod. Raises NoDaemon, NotByCri, PodNotFound, AmbiguousPod."""
    from urllib.parse import quote

    from trilby.cli.pod.trace_model import Trace
    from trilby.cri.client.pages import get
    from trilby.cri.errors import NoSuchObject
    from trilby.pods.embedded.errors import PodNotFound
    from trilby.pods.trace import Stage

    sandbox_id, name = _find(path, pod)
    try:
        stages = get(path, f"/trace/{quote(sandbox_id, safe='')}", list[Stage])
    except NoSuchObject:
        raise PodNotFound(
            f"the daemon has no pod {pod}",
            hint="trilby pod ps --host lists the pods, trilby events those that are gone",
        ) from None
    if not stages:
        raise PodNotFound(
            f"the daemon knows nothing of how pod {pod} was made",
            hint="it was made before the daemon's last start",
        )
    return Trace(sandbox_id=stages[0].sandbox_id, name=name, stages=tuple(stages))


def _find(path: str, pod: str) -> tuple[str, str]:
    """The id of a pod and what it is called; what is not there (any more) may be an id."""
    from trilby.cli.running import run_async
    from trilby.cri.client.connection import Connection
    from trilby.cri.proto import sandbox_pb2 as pb
    from trilby.pods.embedded.errors import AmbiguousPod

    async def ask() -> pb.ListPodSandboxResponse:
        async with Connection(path) as connection:
            return await connection.call(pb.ListPodSandboxRequest(), pb.ListPodSandboxResponse)

    def full(sandbox: pb.PodSandbox) -> str:
        return f"{sandbox.metadata.namespace}/{sandbox.metadata.name}"

    found = [
        each
        for each in run_async(ask()).items
        if pod in (each.metadata.name, full(each), each.metadata.uid)
        or (len(pod) >= 3 and each.id.startswith(pod))
    ]
    if not found:
        return _find_removed(path, pod)
    if len({each.metadata.uid for each in found}) > 1:
        ids = ", ".join(each.id[:12] for each in found)
        raise AmbiguousPod(f"{pod} fits several pods: {ids}")
    # Of several sandboxes of one pod, as a restarted one has, the last.
    last = max(found, key=lambda each: each.metadata.attempt)
    return last.id, full(last)


def _find_removed(path: str, pod: str) -> tuple[str, str]:
    """A pod that is gone, by what happened: the last one of the name. Else it may be an id."""
    from trilby.cri.client.errors import NotByCri
    from trilby.cri.client.pages import get
    from trilby.cri.event_lines import EventLine

    try:
        lines = get(path, "/events", list[EventLine])
    except NotByCri:
        lines = []
    for line in reversed(lines):
        full = f"{line.namespace}/{line.pod}"
        if pod in (line.pod, full) or (len(pod) >= 3 and line.pod_id.startswith(pod)):
            return line.pod_id, full
    return pod, ""

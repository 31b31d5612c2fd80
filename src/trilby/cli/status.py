"""trilby status."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from trilby.cli.host import daemon_option
from trilby.cli.output import human_size, json_flag, print_json

if TYPE_CHECKING:
    from trilby.cri.client.report import DaemonStatus, Pull

INTERVAL = 1.0
#: The daemon answers, and would run no pods.
NOT_READY = 1
_FEATURES = {
    "recursive_read_only": "recursive read-only mounts",
    "user_namespaces": "user namespaces",
}


@click.command("status", epilog="Example: trilby status --format json --host /run/crio/crio.sock")
@click.option("--format", metavar="FORMAT", default="", help="json, for machines.")
@click.option("-w", "--watch", is_flag=True, help="Show it anew each second until interrupted.")
@daemon_option
def command(format: str, watch: bool, host: str) -> int:
    """Show how a daemon is: version, conditions, handlers, storage, pods, pulls under way.

    Ends with 0 if runtime and network are ready, with 1 if not, and with 5 if no daemon answers.
    Other runtimes that serve the CRI tell less of themselves.
    """
    from trilby.cri.client.address import chosen
    from trilby.cri.client.report import status_of

    as_json = json_flag(format)
    path = chosen(host)
    if watch:
        _watch(path, as_json)
    found = status_of(path)
    if as_json:
        print_json({**_document(found), "ready": found.ready, "socket": path})
    else:
        click.echo(text(found, path))
    return 0 if found.ready else NOT_READY


def _document(status: DaemonStatus) -> dict[str, object]:
    import msgspec

    found: dict[str, object] = msgspec.to_builtins(status)
    return found


def _watch(path: str, as_json: bool) -> None:
    """Never returns: SIGINT ends it, or the daemon's end."""
    from trilby.cri.client.report import status_of

    if as_json:
        raise click.UsageError("--watch and --format json exclude each other")
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False) as live:
        while True:
            live.update(Text(text(status_of(path), path)), refresh=True)
            time.sleep(INTERVAL)


def text(status: DaemonStatus, path: str) -> str:
    """The page for people: a word on the left, what there is to say of it on the right."""
    state = "ready" if status.ready else "not ready"
    rows = [
        ("daemon", [f"{status.name} {status.version} at {path}: {state}"]),
        ("conditions", _conditions(status)),
        ("handlers", _handlers(status)),
        ("storage", _storage(status)),
        (
            "cgroups",
            [" below ".join(filter(None, (status.cgroups.manager, status.cgroups.parent)))],
        ),
        ("network", _network(status)),
        ("pods", [_numbers(status.pods)]),
        ("containers", [_numbers(status.containers)]),
        ("pulls", [_pull(one) for one in status.pulls]),
    ]
    lines = []
    for title, values in rows:
        for number, value in enumerate(value for value in values if value):
            lines.append(f"{'' if number else title:11} {value}")
    return "\n".join(lines)


def _conditions(status: DaemonStatus) -> list[str]:
    width = max((len(one.type) for one in status.conditions), default=0) + 1
    lines = []
    for one in status.conditions:
        why = ": ".join(filter(None, (one.reason, one.message)))
        lines.append(f"{one.type:{width}} {'yes' if one.status else 'no   ' + why}".rstrip())
    return lines


def _handlers(status: DaemonStatus) -> list[str]:
    """The default handler is told by its features alone, when only one has them."""
    named = {name: features for name, features in status.handlers.items() if name}
    lines = []
    for name, features in named.items():
        can = ", ".join(_FEATURES.get(key, key) for key, there in features.items() if there)
        lines.append(f"{name:13} {can or 'no special features'}")
    return lines


def _storage(status: DaemonStatus) -> list[str]:
    storage = status.storage
    images = f"{storage.images} image{'' if storage.images == 1 else 's'}"
    return [", ".join(filter(None, (storage.driver, storage.graph_root, images)))]


def _network(status: DaemonStatus) -> list[str]:
    if not status.network.name:
        return []
    return [f"{status.network.name} ({status.network.file or 'built in'})"]


def _numbers(states: dict[str, int]) -> str:
    return ", ".join(f"{number} {state}" for state, number in states.items()) or "none"


def _pull(pull: Pull) -> str:
    return (
        f"{pull.image}  {pull.percent:.0f} %, {human_size(pull.bytes)} of {human_size(pull.size)},"
        f" {human_size(pull.rate)}/s, {pull.layers} of {pull.layers_total} layers"
    )

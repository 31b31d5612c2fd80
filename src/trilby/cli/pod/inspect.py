"""trilby pod inspect."""

from __future__ import annotations

import click
import msgspec

from trilby.cli.host import host_option
from trilby.cli.names import pod_names
from trilby.cli.output import print_json, render
from trilby.cli.settings import Settings


@click.command("inspect", epilog="Example: trilby pod inspect --format '{{.phase}}' hello")
@click.argument("pods", metavar="POD...", nargs=-1, required=True, shell_complete=pod_names)
@click.option("--format", metavar="FORMAT", default="", help="json, or a {{.Field}} template.")
@host_option
@click.pass_obj
def command(settings: Settings, pods: tuple[str, ...], format: str, host: str) -> None:
    """Show all that is known of pods, as a JSON array: state, containers, manifest."""
    from trilby.cli.pod.ps import document
    from trilby.cli.pod.target import pods_of

    listing = pods_of(settings, host)
    found = []
    for ref in pods:
        view = listing.find(ref)
        record = view.record
        manifest = msgspec.to_builtins(record.pod) if record else None
        found.append({**document(view), "manifest": manifest, "source": record and record.source})
    if format in ("", "json"):
        print_json(found)
        return
    for each in found:
        fields = {
            key: value if isinstance(value, str) else msgspec.json.encode(value).decode()
            for key, value in each.items()
        }
        click.echo(render(format, fields))

"""trilby config reload."""

from __future__ import annotations

import os

import click
import msgspec

from trilby.cli.config.files import dir_option, overrides, place
from trilby.cli.host import daemon_option
from trilby.cli.output import json_flag, print_json
from trilby.cli.settings import Settings


class Answer(msgspec.Struct, frozen=True):
    """What the daemon took over: keys of options."""

    applied: list[str] = []
    new_pods: list[str] = []
    restart: list[str] = []
    warnings: list[str] = []


@click.command("reload", epilog="Example: trilby config check && trilby config reload")
@dir_option
@click.option("--format", metavar="FORMAT", default="", help="json, for machines.")
@daemon_option
@click.pass_obj
def command(settings: Settings, config_dir: str, format: str, host: str) -> None:
    """Let the running daemon read its configuration files again.

    The daemon reads the files that it was started with. If anything is wrong in them it changes
    nothing, and says what. If no daemon is named it is the one whose socket trilby.conf names.
    """
    from trilby.cri.client.pages import get

    as_json = json_flag(format)
    path = socket_of(settings, config_dir, host)
    answer = get(path, "/config/reload", Answer, method="POST")
    if as_json:
        print_json(answer)
        return
    for warning in answer.warnings:
        click.echo(f"Warning: {warning}", err=True)
    for words, keys in (
        ("taken over", answer.applied),
        ("taken over, for new pods", answer.new_pods),
        ("needs a restart of the daemon", answer.restart),
    ):
        for key in keys:
            click.echo(f"{key}: {words}")
    if not (answer.applied or answer.new_pods or answer.restart):
        click.echo("nothing has changed")


def socket_of(settings: Settings, config_dir: str, host: str) -> str:
    """The daemon's socket: named by flag or environment, else by the files, else the usual one.

    Raises:
        InvalidEngineConfig: the files cannot say it, and there is no usual one.
    """
    from trilby.cri.client.address import DEFAULT_SOCKET, chosen
    from trilby.cri.config_load import read_layers

    path = chosen(host)
    if path != DEFAULT_SOCKET:
        return path
    # Whatever else is wrong with the files, the daemon is to say.
    layers = read_layers(place(settings.config), place(config_dir), overrides(settings))
    path = str(layers.values.get("trilby.api.listen", path))
    if not os.path.exists(path):
        layers.raise_mistakes()
    return path

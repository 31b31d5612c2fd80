"""trilby config check."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from trilby.cli.output import json_flag, print_json
from trilby.cli.settings import Settings
from trilby.errors import InvalidInput, TrilbyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@click.command("check", epilog="Example: trilby config check --format json")
@click.option(
    "--authfile",
    metavar="FILE",
    default="",
    envvar="REGISTRY_AUTH_FILE",
    help="auth.json to read instead of the default ones (also REGISTRY_AUTH_FILE).",
)
@click.option("--format", metavar="FORMAT", default="", help="json, for machines.")
@click.pass_obj
def command(settings: Settings, authfile: str, format: str) -> None:
    """Read every configuration file as the other commands would, and tell each mistake.

    storage.conf, registries.conf, registries.d, policy.json, auth.json, trilby.conf and the CNI
    conflists, with their drop-ins. An unknown key is a mistake here, and a warning elsewhere.
    Ends with 2 if there is any.
    """
    from trilby.image.config_check import check_files

    as_json = json_flag(format)
    found = [
        *_complaints(lambda: settings.storage_config().warnings),
        *check_files(authfile=authfile or None),
        *_complaints(lambda: _engine(settings)),
        *_complaints(lambda: _networks(settings)),
    ]
    if as_json:
        print_json(found)
    else:
        for each in found:
            click.echo(each)
    if found:
        count = len(found)
        raise InvalidInput(f"{count} mistake{'s' if count > 1 else ''} in configuration files")


def _engine(settings: Settings) -> Sequence[str]:
    from trilby.cri.config_load import daemon_options
    from trilby.pods.config import EngineConfig
    from trilby.pods.config_load import load_config

    return load_config(EngineConfig(), settings.config, daemon_options()).warnings


def _networks(settings: Settings) -> Sequence[str]:
    from trilby.pods.config import EngineConfig
    from trilby.pods.config_load import load_config
    from trilby.pods.network.conflist import discover

    directories: Sequence[str] = [os.path.abspath(each) for each in settings.network_config_dirs]
    if not directories:
        try:
            directories = load_config(EngineConfig(), settings.config).config.cni_config_dirs
        except TrilbyError:
            return ()  # told already
    return [str(error) for error in discover(directories).errors]


def _complaints(read: Callable[[], Sequence[str]]) -> list[str]:
    try:
        return list(read())
    except TrilbyError as error:
        return [str(error)]

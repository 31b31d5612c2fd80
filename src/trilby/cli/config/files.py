"""What the config commands share: which files are meant, and what the global flags say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trilby.cli.settings import Settings
    from trilby.cri.config_load import Loaded
    from trilby.cri.config_text import Row

dir_option = click.option(
    "--config-dir",
    metavar="DIR",
    default="",
    help="Directory of drop-ins in place of FILE.d or /etc/trilby/trilby.conf.d.",
)


def place(text: str) -> Path | None:
    """A flag's path, None where it was not given."""
    return Path(os.path.abspath(text)) if text else None


def overrides(settings: Settings) -> dict[str, object]:
    """The options that the global flags set, by their keys."""
    found: dict[str, object] = {}
    if settings.root:
        found["trilby.root"] = os.path.abspath(settings.root)
    if settings.runroot:
        found["trilby.runroot"] = os.path.abspath(settings.runroot)
    if settings.storage_driver:
        found["trilby.storage_driver"] = settings.storage_driver
    if settings.storage_opts:
        found["trilby.storage_option"] = settings.storage_opts
    if settings.conmon:
        found["trilby.runtime.conmon"] = settings.conmon
    if settings.cgroup_manager:
        found["trilby.runtime.cgroup_manager"] = settings.cgroup_manager
    if settings.network_config_dirs:
        found["trilby.network.network_dir"] = [*map(os.path.abspath, settings.network_config_dirs)]
    if settings.runtime:
        name = os.path.basename(settings.runtime)
        if "/" in settings.runtime:
            path = os.path.abspath(settings.runtime)
            found[f"trilby.runtime.runtimes.{name}.runtime_path"] = path
        found["trilby.runtime.default_runtime"] = name
    return found


def loaded(settings: Settings, config_dir: str) -> Loaded:
    """The configuration of files and flags; unknown options are told on stderr.

    Raises:
        InvalidEngineConfig, StorageConfigError: with file and line.
    """
    from trilby.cri.config_load import load

    found = load(place(settings.config), place(config_dir), overrides(settings))
    for warning in found.warnings:
        click.echo(f"Warning: {warning}", err=True)
    return found


def rows_of_host(host: str) -> list[Row]:
    """What counts in a running daemon."""
    from trilby.cri.client.address import chosen
    from trilby.cri.client.pages import get
    from trilby.cri.config_text import Row

    return get(chosen(host), "/config", list[Row])


def below(rows: Sequence[Row], key: str) -> list[Row]:
    """The rows of an option, or of a table.

    Raises:
        click.UsageError: there is nothing of that name.
    """
    found = [row for row in rows if row.key == key or row.key.startswith(f"{key}.")]
    if not found:
        from trilby.pods.config_layers import close_to

        hint = close_to(key.split("."), [row.key for row in rows])
        raise click.UsageError(f"no option {key}{f'; {hint}' if hint else ''}")
    return found

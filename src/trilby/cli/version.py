"""trilby version."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import click

from trilby.cli.output import json_flag, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

TOOLS: dict[str, Sequence[str]] = {
    "crun": ("crun", "--version"),
    "runc": ("runc", "--version"),
    "conmon": ("conmon", "--version"),
}


@click.command("version", epilog="Example: trilby version --format json")
@click.option("--format", metavar="FORMAT", default="", help="json, for machines.")
def command(format: str) -> None:
    """Show the versions of trilby, Python and the programs that run containers."""
    from importlib.metadata import version
    from platform import python_version, release

    from trilby.system.process import run

    as_json = json_flag(format)
    found = {"trilby": version("trilby"), "python": python_version(), "kernel": release()}
    for name, argv in TOOLS.items():
        if shutil.which(name) is None:
            found[name] = "not installed"
            continue
        first = run(argv).stdout.decode(errors="replace").splitlines()[:1]
        found[name] = (first[0] if first else "").split("version")[-1].strip(" :")
    if as_json:
        print_json(found)
        return
    for name, text in found.items():
        click.echo(f"{name:8} {text}")

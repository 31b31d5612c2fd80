"""trilby rpm sign."""

from __future__ import annotations

import click

from trilby.cli.rpm.options import (
    key_home_option,
    key_kind_option,
    key_of,
    packages_of,
    tools_of,
    tools_option,
)


@click.command("sign", epilog="Example: trilby rpm sign --key-home ~/keys build/rpms")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@key_home_option
@key_kind_option
@click.option(
    "--new-key",
    metavar="USER",
    default="",
    help="Make a key without a password there first, for 'Name <mail>'.",
)
@tools_option
def command(paths: tuple[str, ...], key_home: str, how: str, new_key: str, tools: str) -> None:
    """Sign packages in place; directories mean all packages below.

    A signature that is there already is replaced. Sign before `trilby rpm repo`, which has the
    packages' checksums.
    """
    from trilby.rpm.sign import make_key, sign

    if not key_home:
        raise click.UsageError("which key? --key-home names the directory that keeps it")
    packages = packages_of(paths)
    place = tools_of(tools)
    if new_key:
        make_key(key_home, new_key, how="sq" if how == "sq" else "gpg", tools=place)
    key = key_of(key_home, how, place)
    sign(packages, key, tools=place)
    click.echo(f"{len(packages)} packages signed with {key.fingerprint}")

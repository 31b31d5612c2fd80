"""trilby rpm repo."""

from __future__ import annotations

import click

from trilby.cli.rpm.options import key_home_option, key_kind_option, key_of, tools_of, tools_option


@click.command("repo", epilog="Example: trilby rpm repo build/rpms --key-home ~/keys")
@click.argument("directory", metavar="DIRECTORY")
@key_home_option
@key_kind_option
@click.option("--name", metavar="NAME", default="", help="Its name in the .repo file.")
@click.option(
    "--url", metavar="URL", default="", help="Where it will be served, for the .repo file."
)
@tools_option
def command(directory: str, key_home: str, how: str, name: str, url: str, tools: str) -> None:
    """Make a directory of packages a repository, and print the .repo file that uses it.

    With --key-home the metadata are signed, and the public key is put beside them. Packages are
    signed by `trilby rpm sign`, before.
    """
    from trilby.rpm.repo import make_repository, repo_file

    place = tools_of(tools)
    key = key_of(key_home, how, place) if key_home else None
    click.echo(
        repo_file(make_repository(directory, tools=place, key=key), name=name, url=url), nl=False
    )

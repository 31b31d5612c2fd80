"""trilby rpm srpm."""

from __future__ import annotations

import tempfile

import click

from trilby.cli.rpm.options import (
    folder_option,
    options_of,
    project_argument,
    release_option,
    template_option,
    tools_of,
    tools_option,
    version_option,
)


@click.command("srpm", epilog="Example: trilby rpm srpm --results build/srpm")
@project_argument
@template_option
@version_option
@release_option
@folder_option
@click.option(
    "--results",
    metavar="DIR",
    default=".",
    show_default=True,
    help="Where the source package goes.",
)
@tools_option
def command(
    project: str,
    template: str,
    version: str,
    release: str,
    folder: str,
    results: str,
    tools: str,
) -> None:
    """Make a source package: the spec and an archive of the project's files.

    Of a git clone the files that git tracks are taken, as they are in the working tree.
    """
    from trilby.rpm.build import make_srpm
    from trilby.rpm.prepare import prepare

    with tempfile.TemporaryDirectory(prefix="trilby-rpm-") as work:
        options = options_of(version, release)
        source = prepare(project, work, options, folder=folder, template=template)
        click.echo(make_srpm(source, tools_of(tools), results))

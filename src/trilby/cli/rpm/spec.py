"""trilby rpm spec."""

from __future__ import annotations

import difflib
import os

import click

from trilby.cli.rpm.options import (
    options_of,
    project_argument,
    release_option,
    template_option,
    version_option,
)


@click.command("spec", epilog="Example: trilby rpm spec --output spec/trilby.spec")
@project_argument
@template_option
@version_option
@release_option
@click.option(
    "--autospec", is_flag=True, help="Leave release and changelog to Fedora's rpmautospec."
)
@click.option("-o", "--output", metavar="FILE", default="", help="Write to a file, not to stdout.")
@click.option(
    "--check", metavar="FILE", default="", help="Only compare with a file; 1 if it is not the same."
)
def command(
    project: str,
    template: str,
    version: str,
    release: str,
    autospec: bool,
    output: str,
    check: str,
) -> int:
    """Write the spec of a project from its own metadata.

    The template is the project's own one, spec/NAME.spec.in, or one that suits any Python project.
    A .yaml about programs that are built already gives their spec.
    """
    from trilby.rpm.prepare import spec_text
    from trilby.system.files import atomic_write

    text = spec_text(project, options_of(version, release, autospec=autospec), template=template)
    if check:
        return _compare(check, text)
    if output:
        atomic_write(os.path.abspath(output), text.encode(), mode=0o644, fsync=False)
    else:
        click.echo(text, nl=False)
    return 0


def _compare(path: str, text: str) -> int:
    with open(path, encoding="utf-8") as file:
        old = file.read()
    lines = difflib.unified_diff(
        old.splitlines(True), text.splitlines(True), path, "as it should be"
    )
    click.echo("".join(lines), nl=False)
    return int(old != text)

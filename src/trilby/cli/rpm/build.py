"""trilby rpm build."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING

import click
import msgspec

from trilby.cli.output import json_flag, print_json
from trilby.cli.rpm.options import (
    define_of,
    folder_option,
    options_of,
    project_argument,
    release_option,
    repository_of,
    template_option,
    tools_of,
    tools_option,
    version_option,
    watched,
)

if TYPE_CHECKING:
    from trilby.rpm.build import Built, Source
    from trilby.rpm.progress import Progress


class Order(msgspec.Struct, kw_only=True):
    """Where and how to build, as the flags say."""

    repo: tuple[str, ...]
    tools: str
    mock: str
    here: bool
    define: tuple[str, ...]
    releasever: str
    no_check: bool
    work: str
    results: str


@click.command(
    "build",
    epilog="Example: trilby rpm build --mock fedora-rawhide-x86_64 --results build/rpms",
)
@project_argument
@template_option
@version_option
@release_option
@folder_option
@click.option(
    "--repo",
    metavar="NAME=URL",
    multiple=True,
    help="A repository that fills the build root, URL or path; may be given again. Without it the"
    " host's own.",
)
@click.option(
    "--mock",
    metavar="CONFIG",
    default="",
    help="Build with mock and this configuration of it, a name or a .cfg file; --repo adds to what"
    " it has. `own` is one of the repositories of --repo alone.",
)
@click.option(
    "--here",
    is_flag=True,
    help="Take this root as the build root, and install into it: for containers.",
)
@tools_option
@click.option(
    "--define", metavar="NAME=VALUE", multiple=True, help="An rpm macro; may be given again."
)
@click.option(
    "--releasever",
    metavar="NUMBER",
    default="",
    help="Fedora's number, for URLs that have it; without it this host's.",
)
@click.option("--no-check", is_flag=True, help="Leave %check out.")
@click.option("--work", metavar="DIR", default="", help="Where the build root is made.")
@click.option(
    "--results",
    metavar="DIR",
    default="results",
    show_default=True,
    help="Where packages and logs go.",
)
@click.option("--format", metavar="FORMAT", default="", help="json, for machines.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
def command(
    project: str,
    template: str,
    version: str,
    release: str,
    folder: str,
    format: str,
    quiet: bool,
    **flags: object,
) -> None:
    """Build the source package and the packages of a project.

    In a fresh root that has nothing but what the spec asks for, filled by dnf5 from the
    repositories, as an ordinary user and without a network; or by mock. Two builds of the same
    sources are equal, byte by byte. If the build fails, the part of the log that tells why is
    shown first, with the line of the spec.
    """
    from trilby.rpm.prepare import prepare

    as_json = json_flag(format)
    order = msgspec.convert(flags, Order)
    with tempfile.TemporaryDirectory(prefix="trilby-rpm-") as base, watched(quiet) as progress:
        source = prepare(
            project, base, options_of(version, release), folder=folder, template=template
        )
        built = _build(_kept(source, base, order.results), order, progress)
    if as_json:
        print_json(msgspec.to_builtins(built))
        return
    for path in (*filter(None, [built.srpm]), *built.packages):
        click.echo(path)


def _kept(source: Source, temporary: str, results: str) -> Source:
    """The source with a spec that outlives us: messages name its lines."""
    if not source.spec.startswith(temporary):
        return source
    os.makedirs(results, exist_ok=True)
    spec = shutil.copyfile(source.spec, os.path.join(results, os.path.basename(source.spec)))
    return msgspec.structs.replace(source, spec=spec)


def _build(source: Source, order: Order, progress: Progress) -> Built:
    from trilby.rpm.build import Place, build_here, build_in_root

    place = Place(
        tools=tools_of(order.tools),
        repositories=tuple(repository_of(text) for text in order.repo),
        release=order.releasever,
        defines=dict(define_of(text) for text in order.define),
        work=order.work,
        check=not order.no_check,
    )
    if order.mock:
        from trilby.rpm.mock import build_with_mock

        return build_with_mock(source, place, order.results, config=order.mock, progress=progress)
    if order.here:
        return build_here(source, place, order.results, progress=progress)
    return build_in_root(source, place, order.results, progress=progress)

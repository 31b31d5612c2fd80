"""trilby node lock."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from trilby.cli.node.settings import format_option, host_options, node_of
from trilby.cli.output import print_json
from trilby.cli.settings import Settings

if TYPE_CHECKING:
    from trilby.node.lock import Difference, Lock

SECTIONS = ("system", "programs", "packages", "images", "files")


def _sections(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """For completion."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in SECTIONS if name.startswith(last)]


def _chosen(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[str]:
    named = [name for value in values for name in value.split(",") if name]
    for name in named:
        if name not in SECTIONS:
            raise click.BadParameter(f"{name} is none of {', '.join(SECTIONS)}")
    return [name for name in SECTIONS if name in named] or list(SECTIONS)


@click.command("lock", epilog="Example: trilby node lock --check node.lock --only packages,images")
@host_options
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default="",
    type=click.Path(dir_okay=False),
    help="Write the lock file there; without it it is printed.",
)
@click.option(
    "--check",
    "locked",
    metavar="FILE",
    default="",
    help="Compare the host with a lock file, - is stdin, and say each difference.",
)
@click.option(
    "--only",
    "sections",
    metavar="SECTION,...",
    multiple=True,
    callback=_chosen,
    shell_complete=_sections,
    help=f"With --check: of {', '.join(SECTIONS)} only these; may be repeated.",
)
@format_option("With --check: lines, or json for machines.")
@click.pass_obj
def command(
    settings: Settings,
    config_file: str,
    kubelet_config: str,
    host_root: str,
    output: str,
    locked: str,
    sections: list[str],
    format: str,
) -> int:
    """Write down what a host runs, or compare a host with what was written.

    A lock file has the kernel, the versions of programs, of the RPM packages that pods depend on,
    the digests of images by their names, and SHA-256 of configuration files; JSON, one fact a line,
    in an order that stays. Keep it with the inventory: the playbooks install what it says
    (trilby_node_lock), and compare each node with it.

    Images beside those of the lock file are no difference. Files of one node may rightly differ
    from those of another, as its range of pods does: --only packages,images compares nodes.

    With --check it ends with 0 if nothing differs, with 1 if something does, with 2 if there is no
    such lock file or it is none.
    """
    from trilby.node.lock import encode, lock_of

    wanted = _read(locked) if locked else None
    found = lock_of(node_of(settings, config_file, host_root, kubelet_config))
    if wanted is not None:
        return _check(wanted, found, sections, format)
    if not output:
        click.echo(encode(found), nl=False)
        return 0
    from trilby.system.files import atomic_write

    atomic_write(output, encode(found), mode=0o644)
    return 0


def _read(path: str) -> Lock:
    from trilby.node.errors import LockUnusable
    from trilby.node.lock import decode

    if path == "-":
        return decode(sys.stdin.buffer.read(), "stdin")
    try:
        with open(path, "rb") as file:
            return decode(file.read(), path)
    except OSError as error:
        raise LockUnusable(f"{path}: {error.strerror}") from None


def _check(wanted: Lock, found: Lock, sections: list[str], format: str) -> int:
    from trilby.node.lock import compare

    differences = compare(wanted, found, sections)
    if format == "json":
        print_json({"status": min(len(differences), 1), "differences": _fields(differences)})
    else:
        for each in differences:
            click.echo(each.text)
        number = len(differences)
        click.echo(f"{number or 'no'} difference{'' if number == 1 else 's'} in {_and(sections)}")
    return min(len(differences), 1)


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _fields(differences: list[Difference]) -> object:
    import msgspec

    return msgspec.to_builtins(differences)

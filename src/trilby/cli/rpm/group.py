"""The table of the rpm commands."""

from __future__ import annotations

import click

from trilby.cli.lazy import LazyGroup
from trilby.cli.running import terminable

_HERE = "trilby.cli.rpm"

COMMANDS = {
    "build": (f"{_HERE}.build", "Build packages in a fresh root or with mock"),
    "lint": (f"{_HERE}.lint", "Check packages and specs with rpmlint"),
    "repo": (f"{_HERE}.repo", "Make a directory of packages a repository"),
    "sign": (f"{_HERE}.sign", "Sign packages"),
    "spec": (f"{_HERE}.spec", "Write the spec of a project"),
    "srpm": (f"{_HERE}.srpm", "Make a source package"),
    "verify": (f"{_HERE}.verify", "Check digests and signatures of packages"),
}

command = LazyGroup(
    "rpm",
    COMMANDS,
    help="Build, sign and check RPM packages of Python projects and of programs built already.",
    epilog="""PROJECT is a directory with setup.cfg or pyproject.toml, or a .yaml that describes a
folder of programs; see docs/PACKAGING.md.""",
)


@click.pass_context
def _ends_well(ctx: click.Context) -> None:
    """Build roots are large, and nobody else's: no signal may leave one behind."""
    ctx.with_resource(terminable())


command.callback = _ends_well

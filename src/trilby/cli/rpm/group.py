"""The table of the rpm commands."""

from __future__ import annotations

from trilby.cli.lazy import LazyGroup

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

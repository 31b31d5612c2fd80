"""The table of the node commands."""

from __future__ import annotations

from trilby.cli.lazy import LazyGroup

COMMANDS = {
    "check": ("trilby.cli.node.check", "Check whether a host is fit to run pods"),
    "lock": ("trilby.cli.node.lock", "Write down what a host runs, or compare with that"),
    "facts": ("trilby.cli.node.facts", "Show versions and settings that pods depend on"),
}

command = LazyGroup("node", COMMANDS, help="Look at a host that is to run pods.")

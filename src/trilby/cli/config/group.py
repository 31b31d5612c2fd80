"""The table of the config commands."""

from __future__ import annotations

from trilby.cli.lazy import LazyGroup

COMMANDS = {
    "check": ("trilby.cli.config.check", "Read every configuration file and tell mistakes"),
    "default": ("trilby.cli.config.default", "Print a trilby.conf with every option"),
    "diff": ("trilby.cli.config.diff", "Show what differs from the defaults or another file"),
    "reload": ("trilby.cli.config.reload", "Let the running daemon read its files again"),
    "show": ("trilby.cli.config.show", "Show every option's value and where it comes from"),
}

command = LazyGroup(
    "config", COMMANDS, help="Look at the configuration files that trilby and its peers read."
)

"""The table of the config commands."""

from __future__ import annotations

from trilby.cli.lazy import LazyGroup

COMMANDS = {"check": ("trilby.cli.config.check", "Read every configuration file and tell mistakes")}

command = LazyGroup(
    "config", COMMANDS, help="Look at the configuration files that trilby and its peers read."
)

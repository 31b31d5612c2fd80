"""The page trilbyd(8), out of the daemon's command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import click

from trilby.cli.daemon import command
from trilby.cli.manpage_roff import Page, bold, italic
from trilby.cli.manpage_topics import ENVIRONMENT, POD, REGISTRY, STORE, File

BRIEF: Final = "serve the Kubernetes Container Runtime Interface on a node"
#: The blocks of the epilog that are sections here: rows of a word and its meaning.
SECTIONS: Final = {"Signals": "SIGNALS", "Exit status": "EXIT STATUS"}

DESCRIPTION: Final = (
    "The daemon is ready when its socket answers. Besides gRPC it answers HTTP there: what"
    " cAdvisor asks of CRI-O (`/info`, `/containers/ID`), what trilby(1) asks, and `/healthz`."
    " A second daemon on the same socket or the same run root ends at once.",
    "Each container is in a cgroup of its own and held by a conmon(8): it keeps running when the"
    " daemon ends, is killed, or is started again, and the daemon takes it over as it is. A start"
    " undoes what an interrupted request left half-made, and repairs the store.",
    "Log lines go to stderr. In the journal they carry their priority; elsewhere they begin with"
    " time and level. Lines of one request end with `request=NUMBER`.",
)
VARIABLES: Final = (
    ("NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID, JOURNAL_STREAM", "As systemd sets them."),
    *ENVIRONMENT,
)
EXAMPLES: Final = (
    ("As a service:", ("systemctl enable --now trilby.service",)),
    (
        "In the foreground, beside another daemon, with roots, socket and bridge of its own:",
        (
            "trilbyd --config /etc/trilby/second.conf --listen /run/second.sock \\",
            "    --root /var/lib/second --runroot /run/second",
        ),
    ),
    (
        "Another configuration for the running daemon:",
        ("trilby config check && trilby config reload",),
    ),
    (
        "How it is:",
        ("trilby status", "crictl --runtime-endpoint unix:///run/trilby/trilby.sock ps"),
    ),
)
FILES: Final[tuple[File, ...]] = (
    ("/run/trilby/trilby.sock", "The socket."),
    (
        "/etc/trilby/trilby.conf, /etc/trilby/trilby.conf.d/*.conf",
        "Its settings; see trilby.conf(5).",
    ),
    *(file for file in POD if "trilby.conf" not in file[0]),
    ("/run/containers/storage/trilby/daemon.lock", "Held while a daemon works there."),
    ("/var/log/trilby/pods", "Logs of pods whose creator names no directory."),
    *STORE,
    *REGISTRY,
)
RELATED: Final = (
    *("trilby.conf(5)", "trilby(1)", "trilby-status(1)", "trilby-config(1)", "crictl(1)"),
    *("kubelet(1)", "conmon(8)", "crun(1)", "runc(8)", "containers-storage.conf(5)"),
)


def daemon_page(version: str, option_term: Callable[[click.Option], str]) -> str:
    """The page; ``option_term`` writes an option as the other pages do."""
    page = Page("trilbyd", 8, version)
    page.section("NAME")
    page.line(rf"trilbyd \- {BRIEF}")
    page.section("SYNOPSIS")
    page.line(f"{bold('trilbyd')} [{italic('OPTIONS')}]")
    page.section("DESCRIPTION")
    for paragraph in (*(command.help or "").split("\n\n"), *DESCRIPTION):
        page.paragraph(paragraph)
    page.section("OPTIONS")
    for param in command.params:
        if isinstance(param, click.Option):
            page.item(option_term(param), param.help or "")
    page.item(bold("--help"), "Show a summary and exit.")
    for title, rows in blocks().items():
        page.section(SECTIONS[title])
        for word, meaning in rows:
            page.item(bold(word), f"{meaning[:1].upper()}{meaning[1:]}.")
    _rest(page)
    return page.text()


def _rest(page: Page) -> None:
    page.section("ENVIRONMENT")
    for name, meaning in VARIABLES:
        page.item(bold(name), meaning)
    page.section("EXAMPLES")
    for what, lines in EXAMPLES:
        page.paragraph(what)
        page.verbatim(lines)
    page.section("FILES")
    for path, about in FILES:
        page.item(italic(path), about)
    page.section("SEE ALSO")
    page.references(RELATED)


def blocks() -> dict[str, list[tuple[str, str]]]:
    """Title -> rows of the blocks in the epilog that keep their lines."""
    found: dict[str, list[tuple[str, str]]] = {}
    for block in (command.epilog or "").split("\b\n")[1:]:
        title, *lines = block.partition("\n\n")[0].splitlines()
        rows = [line.strip().partition("  ") for line in lines]
        found[title.rstrip(":")] = [(word, meaning.strip()) for word, _, meaning in rows]
    return found


__all__ = ["blocks", "daemon_page"]

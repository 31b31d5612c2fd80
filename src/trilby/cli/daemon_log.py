"""How the daemon logs: lines on stderr, for the journal with their priority.

``time level area message key=value``. The journal has its own time and takes the level from a
number in front (sd-daemon(3)), so there a line begins with ``<6>``.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Final

from trilby.cri.request import request_id

LEVELS: Final = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "panic": logging.CRITICAL,
}
_PRIORITIES: Final = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


class LineFormatter(logging.Formatter):
    """One line for one event; what follows an exception is indented below it."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        area = record.name.removeprefix("trilby.")
        text = record.getMessage()
        if number := request_id.get():
            text = f"{text} request={number}"
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        text = text.replace("\n", "\n    ")
        if self._journal:
            return f"<{_priority(record.levelno)}>{area}: {text}"
        milliseconds = int(record.msecs)
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{at}.{milliseconds:03}Z {record.levelname.lower()} {area}: {text}"


def _priority(level: int) -> int:
    return next((number for least, number in _PRIORITIES if level >= least), 7)


def configure(level: str, env: Mapping[str, str] = os.environ) -> None:
    """Log to stderr from ``level`` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(journal=_is_journal(env.get("JOURNAL_STREAM", ""))))
    logging.basicConfig(handlers=[handler], force=True)
    set_level(level)


def set_level(level: str) -> None:
    """For a reload. What libraries say below a warning is of no use to an operator."""
    logging.getLogger().setLevel(max(LEVELS[level], logging.WARNING))
    logging.getLogger("trilby").setLevel(LEVELS[level])


def _is_journal(stream: str) -> bool:
    """Whether stderr is what ``JOURNAL_STREAM`` names as device:inode."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"

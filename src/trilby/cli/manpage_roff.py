"""The language of man pages: text made safe for roff, and the few macros of man(7) that we use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

# What roff would take for something else, or print as a typographic character.
_ESCAPES: Final = str.maketrans(
    {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
)
# In prose: `code` and --options stand out.
_MARKED: Final = re.compile(r"`([^`]+)`|(?<![\w-])(--[a-z][a-z-]*)")


def escape(text: str) -> str:
    """Text exactly as it is: for commands, options, file names. Control lines are defused."""
    safe = "".join(_unicode(char) for char in text.translate(_ESCAPES))
    return _guarded(safe)


def prose(text: str) -> str:
    """A sentence: backquoted words and options in bold."""
    parts: list[str] = []
    end = 0
    for match in _MARKED.finditer(text):
        parts += [_plain(text[end : match.start()]), bold(match[1] or match[2])]
        end = match.end()
    return _guarded("".join([*parts, _plain(text[end:])]))


def bold(text: str) -> str:
    return f"\\fB{_inner(text)}\\fR"


def italic(text: str) -> str:
    return f"\\fI{_inner(text)}\\fR"


class Page:
    """One page, as it grows: lines of roff."""

    def __init__(self, name: str, section: int, version: str) -> None:
        # No date: the same sources give the same page.
        self.lines = [
            '.\\" Written by trilby.cli.manpage; change the command, not this file.',
            f'.TH "{escape(name.upper())}" "{section}" "" "trilby {escape(version)}" "Trilby"',
            ".nh",
            ".ad l",
        ]

    def section(self, title: str) -> None:
        self.lines.append(f'.SH "{title}"')

    def subsection(self, title: str) -> None:
        self.lines.append(f'.SS "{escape(title)}"')

    def paragraph(self, text: str) -> None:
        """A paragraph of prose; line ends in it mean nothing."""
        self.lines += [".PP", prose(" ".join(text.split()))]

    def line(self, roff: str) -> None:
        """A line that is roff already."""
        self.lines.append(roff)

    def item(self, term: str, *texts: str) -> None:
        """A term (roff) with its explanation (prose), which may have several paragraphs."""
        self.lines += [".TP", term]
        first, *more = [text for text in texts if text] or [""]
        self.lines.append(prose(first) or "\\&")
        for text in more:
            self.lines += [".IP", prose(text)]

    def verbatim(self, lines: Iterable[str]) -> None:
        """Lines that stay as they are, indented."""
        self.lines += [".PP", ".RS 4", ".nf", *map(escape, lines), ".fi", ".RE"]

    def references(self, pages: Sequence[str]) -> None:
        """``trilby(1), podman(1)``: the name in bold."""
        shown = []
        for page in pages:
            name, _, rest = page.partition("(")
            shown.append(f"{bold(name)}({rest}")
        self.lines += [".PP", ", ".join(shown)]

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def _plain(text: str) -> str:
    # A typographic apostrophe is right in prose.
    return "".join(_unicode(char) for char in text.translate({92: r"\e", 45: r"\-"}))


def _inner(text: str) -> str:
    return "".join(_unicode(char) for char in text.translate(_ESCAPES))


def _unicode(char: str) -> str:
    return char if ord(char) < 128 else f"\\[u{ord(char):04X}]"


def _guarded(line: str) -> str:
    return f"\\&{line}" if line.startswith((".", "'")) else line

"""Why a build failed: the section, the spec's line, and the part of the log that tells."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Final

import msgspec

from trilby.rpm.errors import BuildFailed, InvalidSpec, MissingDependency, RpmError

__all__ = ["Failure", "explain", "find_failure"]

_PARSE: Final = re.compile(r"^error: (?:(?P<file>/\S+): )?line (?P<line>\d+): (?P<text>.*)$")
_UNPARSED: Final = re.compile(r"^error: (?!Bad exit status|Failed build)(?P<text>.+)$")
# Where a run of rpmbuild begins: in our logs, and in mock's.
_RUN: Final = re.compile(r"^(?:\$ (?:env .* )?rpmbuild |ENTER \['do)")
_EXIT: Final = re.compile(r"^error: Bad exit status from \S+ \((?P<section>%\w+)\)")
_EXECUTING: Final = re.compile(r"^Executing\((?P<section>%\w+)\): ")
_COMMAND: Final = re.compile(r"^\++ (?P<text>.+)$")
_MISSING: Final = "error: Failed build dependencies:"
_SUMMARY: Final = re.compile(r"^=+ (?:short test summary info|ERRORS|FAILURES) =+$")
_TELLING: Final = re.compile(
    r"(?i)\b(error|failed|failure|cannot|not found|no such file|traceback|fatal|undefined)\b"
)
_PATH: Final = re.compile(r"(?:File|Directory) not found: (?P<path>\S+)")
_HEADING: Final = re.compile(r"%(?:prep|build|install|check|files)\b")
_ASSIGNMENT: Final = re.compile(r"\w+=")
_LONGEST: Final = 120
_SHOWN: Final = 40
_TOLD: Final = 12


class Failure(msgspec.Struct, frozen=True):
    """What the log says. ``line`` is the spec's, 0 when nothing points at one."""

    section: str
    line: int
    reason: str
    excerpt: tuple[str, ...]


def explain(log: str, spec: str, log_path: str, status: int) -> RpmError:
    """The error of a build whose log this is; ``spec`` is the spec's path."""
    with open(spec, encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    found = find_failure(log, lines)
    place = f"{spec}:{found.line}" if found.line else spec
    reason = found.reason or f"rpmbuild ended with status {status}"
    message = "\n".join([f"{place}: {reason}", *(f"  {line}" for line in found.excerpt)])
    hint = f"the whole log is {log_path}"
    if found.section == "parse":
        return InvalidSpec(message, hint=hint)
    if found.section == "requirements":
        return MissingDependency(message, hint=hint)
    return BuildFailed(message, log=log_path, hint=hint)


def find_failure(log: str, spec: Sequence[str]) -> Failure:
    """What failed, from the log of the last rpmbuild in it and the spec's lines."""
    lines = _of_the_last_run(log.splitlines())
    for number in range(len(lines) - 1, -1, -1):
        line = lines[number]
        if match := _EXIT.match(line):
            return _in_section(lines[:number], match["section"], spec)
        if line == _MISSING:
            wanted = tuple(each.strip() for each in lines[number + 1 :] if each.startswith("\t"))
            where = _line_with(spec, wanted[0].split()[0]) if wanted else 0
            return Failure("requirements", where, "build requirements are missing", wanted)
    for line in lines:
        if match := _PARSE.match(line):
            return Failure("parse", int(match["line"]), match["text"], ())
    return _at_the_end(lines, spec)


def _of_the_last_run(lines: Sequence[str]) -> Sequence[str]:
    """The rounds before it ended as they should, with errors about what was not there yet."""
    begins = [number for number, line in enumerate(lines) if _RUN.match(line)]
    return lines[begins[-1] :] if begins else lines


def _in_section(lines: Sequence[str], section: str, spec: Sequence[str]) -> Failure:
    """A command of a section's script failed."""
    begin = 0
    for number, line in enumerate(lines):
        if (match := _EXECUTING.match(line)) and match["section"] == section:
            begin = number
    part = lines[begin + 1 :]
    commands = [match["text"] for line in part if (match := _COMMAND.match(line))]
    commands = [text for text in commands if not text.startswith("RPM_EC=")]
    where = _line_with(spec, commands[-1], section) if commands else 0
    where = where or (_line_beginning(spec, commands[-1].split()[0], section) if commands else 0)
    where = where or _line_with(spec, section)
    command = f" in `{_short(commands[-1])}`" if commands else ""
    return Failure(section, where, f"{section} failed{command}", _excerpt(part))


def _short(command: str) -> str:
    """A command without the variables before it, and not longer than a message may be."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    given = 0
    while len(words) > 1 and _ASSIGNMENT.match(words[0]):
        del words[0]
        given += 1
    # Not every shell quotes what it traces: a value's further words look like commands.
    paths = [number for number, word in enumerate(words) if word.startswith("/")]
    if given and paths:
        del words[: paths[0]]
    text = " ".join(words)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _at_the_end(lines: Sequence[str], spec: Sequence[str]) -> Failure:
    """After the scripts: files that are not there, or that no %files names; a broken spec."""
    # mock's log has what goes to stderr out of its place: the heading before what it is about.
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    errors += [number for number, line in enumerate(lines) if line == "RPM build errors:"]
    if not errors:
        return Failure("", 0, "", tuple(lines[-_SHOWN:]))
    first = lines[errors[0]]
    match = _PATH.search(first)
    where = _line_with(spec, match["path"].rpartition("/")[2], "%files") if match else 0
    reason = first.removeprefix("error: ")
    section = "%files" if any(_EXECUTING.match(line) for line in lines) else "parse"
    # rpm sums up at the end what it said before.
    told = {"", "RPM build errors:", reason.strip()}
    rest: dict[str, None] = {}
    for line in lines[errors[0] + 1 :]:
        if line.removeprefix("error: ").strip() not in told:
            rest.setdefault(line)
    return Failure(section, where, reason, tuple(rest)[:_SHOWN])


def _excerpt(part: Sequence[str]) -> tuple[str, ...]:
    """The telling lines of a failed script: the test summary, or errors and the end."""
    for number in range(len(part) - 1, -1, -1):
        if _SUMMARY.match(part[number]):
            wrong = [line for line in part[:number] if line.startswith("E   ")]
            summary = [line for line in part[number:] if not line.startswith("SKIPPED ")]
            return tuple([*summary[:_SHOWN], *wrong[:_TOLD]])
    # What the shell traces is left out: the command that failed is told already.
    said = [line for line in part if not _COMMAND.match(line)]
    told = [line for line in said[:-_SHOWN] if _TELLING.search(line)]
    tail = said[-_SHOWN:]
    return tuple([*told[-_TOLD:], "...", *tail] if told else tail)


def _line_beginning(spec: Sequence[str], word: str, section: str) -> int:
    """The only line of a section that begins with a word, 0 if there are none or several."""
    part = ""
    found = []
    for number, line in enumerate(spec, 1):
        first = (line.split() or [""])[0]
        part = first if _HEADING.fullmatch(first) else part
        if part == section and first == word:
            found.append(number)
    return found[0] if len(found) == 1 else 0


def _line_with(spec: Sequence[str], text: str, section: str = "") -> int:
    """The spec's line, from 1, that has a text or begins the command; below a section if given.

    Macros are expanded in the log and not in the spec: the longest common words decide.
    """
    begin = 0
    if section:
        begin = next((n for n, line in enumerate(spec) if line.split()[:1] == [section]), 0)
    words = [word for word in re.split(r"[\s'\"=]+", text) if len(word) > 3]
    best, score = 0, 0
    for number, line in enumerate(spec[begin:], begin + 1):
        if (
            section
            and number > begin + 1
            and re.match(r"%(?:prep|build|install|check|files)\b", line)
        ):
            if section != "%files":
                break
        if text in line:
            return number
        hits = sum(word in line for word in words)
        if hits > score:
            best, score = number, hits
    return best

"""What docs/ says is true: links, files, functions, fields, messages, options and exit codes.

How the documents cite the code, always in backquotes:

* ``pods/engine.py`` or ``tests/unit/``: a path, from the root or from src/trilby;
* ``pods/engine.py:Engine.run_sandbox()``: a name in that file; a method, an attribute, a constant;
* ``create_pinned()``: a function or method of that name is somewhere in the code.

A table under ``<!-- fields: trilby.pods.state:SandboxRecord -->`` has the fields of that class in
its first column, and one under ``<!-- messages -->`` parts of messages that the code has, with
``…`` for what is filled in. Below ``<!-- codes -->`` is the table of gRPC codes, below
``<!-- streams -->`` that of the streams' protocols. ``unshare(2)`` is a manual page, and no concern of ours.
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from trilby import errors
from trilby.cli import manpage_conf

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "trilby"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*DOCS, *(path for path in [ROOT / "README.md"] if path.exists())]
IDS = [path.name for path in PAGES]

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
CITED = re.compile(r"([\w./-]+\.py):([A-Za-z_][\w.]*)(?:\(\))?")
CALL = re.compile(r"([A-Za-z_][\w.]*)\(\)")
ROOMS = sorted(path.name for path in SRC.iterdir() if (path / "__init__.py").exists())
PATH = re.compile(
    r"(?:src|tests|docs|examples|scripts|\.ci)/[\w./-]*|[\w-]+(?:/[\w-]+)*\.py"
    rf"|(?:{'|'.join(ROOMS)})/(?:[\w-]+/)*"
)


def without_fences(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors that forges make of headings."""
    found = set()
    for title in re.findall(r"^#+ (.+)$", without_fences(text), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", title.lower())
        found.add(plain.replace(" ", "-"))
    return found


@functools.cache
def names_of(path: Path) -> frozenset[str]:
    """Names that a module defines: ``f``, ``C``, ``C.method``, ``C.field``, ``CONSTANT``."""
    return frozenset(_names(ast.parse(path.read_text()).body, ""))


def _names(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name
        elif isinstance(node, ast.ClassDef):
            yield prefix + node.name
            yield from _names(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign):
            yield from (
                prefix + target.id for target in node.targets if isinstance(target, ast.Name)
            )
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield prefix + node.target.id


@functools.cache
def functions() -> frozenset[str]:
    """The last part of every name that the code defines, and ``Class.method``."""
    found = set()
    for path in SRC.rglob("*.py"):
        for name in names_of(path):
            found |= {name, name.rpartition(".")[2]}
    return frozenset(found)


@functools.cache
def messages() -> str:
    """Every text of the code, ``…`` where something is filled in, one per line."""
    found = []
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def resolve(path: str) -> Path | None:
    """A path of the documents: from the root, or from src/trilby."""
    return next((base / path for base in (ROOT, SRC) if (base / path).exists()), None)


def codes(page: Path) -> list[str]:
    return CODE.findall(without_fences(page.read_text()))


def tables_under(text: str, mark: str) -> list[tuple[str, list[str]]]:
    """(what follows the mark's colon, the first cells of the table below it) for each mark."""
    found = []
    for match in re.finditer(rf"<!-- {mark}:? ?(.*?) -->\n((?:\s*\n)*(?:\|.*\n)+)", text):
        rows = [row for row in match[2].splitlines() if row.startswith("|")][2:]
        found.append((match[1], [row.split("|")[1].strip() for row in rows]))
    return found


def test_the_documents_are_there() -> None:
    names = {path.name for path in DOCS}
    assert {"ARCHITECTURE.md", "HACKING.md", "OPERATIONS.md", "FORMATS.md"} <= names


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_resolve(page: Path) -> None:
    for target in LINK.findall(without_fences(page.read_text())):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), f"{page.name}: {target}"
        if anchor and other.suffix == ".md":
            assert anchor in anchors(other.read_text()), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_cited_code_exists(page: Path) -> None:
    for code in codes(page):
        if match := CITED.fullmatch(code):
            path = resolve(match[1])
            assert path is not None, f"{page.name}: there is no file {match[1]}"
            assert match[2] in names_of(path), f"{page.name}: {match[1]} has no {match[2]}"
        elif match := CALL.fullmatch(code):
            assert match[1] in functions(), f"{page.name}: nothing is called {code}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_cited_paths_exist(page: Path) -> None:
    for code in codes(page):
        if PATH.fullmatch(code):
            assert resolve(code) is not None, f"{page.name}: there is no {code}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_fields_are_those_of_the_classes(page: Path) -> None:
    for place, cells in tables_under(page.read_text(), "fields"):
        module, _, name = place.partition(":")
        kind = getattr(importlib.import_module(module), name)
        fields = list(kind.__struct_encode_fields__)
        if kind.__struct_config__.tag_field:
            fields.insert(0, kind.__struct_config__.tag_field)
        shown = [field for cell in cells for field in CODE.findall(cell)]
        assert sorted(shown) == sorted(fields), f"{page.name}: the fields of {place}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_messages_are_those_of_the_code(page: Path) -> None:
    for _, cells in tables_under(page.read_text(), "messages"):
        for cell in cells:
            for part in CODE.findall(cell)[0].split("…"):
                assert part.strip() in messages(), f"{page.name}: no message has {part!r}"


def test_the_options_are_those_of_the_code() -> None:
    """``python -m trilby.cli.manpage_conf`` prints what has to stand there."""
    text = (ROOT / "docs" / "OPERATIONS.md").read_text()
    begin, end = "<!-- options: begin -->\n", "<!-- options: end -->"
    assert begin in text and end in text
    assert text.partition(begin)[2].partition(end)[0].strip() == manpage_conf.markdown().strip()


def test_the_exit_codes_are_those_of_the_errors() -> None:
    text = (ROOT / "docs" / "OPERATIONS.md").read_text()
    kinds = {
        kind.__name__: kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.TrilbyError)
    }
    shown = {}
    for row in re.findall(r"^\| (\d+) \| `(\w+)` \|", text, re.MULTILINE):
        shown[row[1]] = int(row[0])
    assert shown == kinds


def test_the_codes_are_those_of_the_table() -> None:
    from trilby.cri.codes import CODES

    text = (ROOT / "docs" / "FORMATS.md").read_text().partition("<!-- codes -->")[2]
    shown = re.findall(r"^\| `(\w+)` \| `(\w+)` \|$", text, re.MULTILINE)
    assert shown == [(kind.__name__, code.name) for kind, code in CODES]


def test_the_protocols_of_streams_are_those_of_the_code() -> None:
    from trilby.cri.streaming import command, forwarding

    text = (ROOT / "docs" / "FORMATS.md").read_text().partition("<!-- streams -->")[2]
    spdy, websocket = re.findall(r"^\| (?:SPDY/3\.1|WebSocket), .*$", text, re.MULTILINE)
    for row, exec_, forward in (
        (spdy, command.SPDY_PROTOCOLS, (forwarding.PROTOCOL,)),
        (websocket, command.WEBSOCKET_PROTOCOLS, forwarding.WEBSOCKET_PROTOCOLS),
    ):
        cells = [cell for cell in row.split("|")[2:] if cell.strip()]
        assert [CODE.findall(cell) for cell in cells] == [
            list(filter(None, exec_)), list(filter(None, forward)),
        ]  # fmt: skip


def test_every_room_is_described() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    for room in ROOMS:
        assert f"`{room}/`" in text, f"ARCHITECTURE.md does not describe {room}/"


def test_every_kind_of_step_is_described() -> None:
    from trilby.pods import journal

    text = (ROOT / "docs" / "FORMATS.md").read_text()
    for kind in journal.Step.__subclasses__():
        assert f"`{kind.__struct_config__.tag}`" in text


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_shown_exist(page: Path) -> None:
    """Lines of shell blocks that call us name commands and options that there are."""
    import click

    from trilby.cli import daemon
    from trilby.cli.main import root_group

    for block in re.findall(r"^```(?:sh|console)\n(.*?)^```", page.read_text(), re.DOTALL | re.M):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.strip().removeprefix("# ").removeprefix("$ ")
            if line.startswith("trilbyd "):
                flags = {word for word in shlex.split(line, comments=True) if word[0] == "-"}
                assert flags <= option_names(daemon.command), f"{page.name}: {line}"
            if not line.startswith("trilby "):
                continue
            words = shlex.split(line, comments=True)[1:]
            command: click.Command = root_group()
            allowed = option_names(command)
            for word in words:
                if word.startswith("-"):
                    name = word.partition("=")[0]
                    assert name in allowed, f"{page.name}: {line}: no option {name}"
                elif isinstance(command, click.Group):
                    found = command.get_command(click.Context(command), word)
                    if found is not None:
                        command = found
                        allowed |= option_names(command)
            assert not isinstance(command, click.Group) or "--help" in words or "--version" in words


def option_names(command: object) -> set[str]:
    import click

    assert isinstance(command, click.Command)
    names = {"--help"}
    for param in command.params:
        if isinstance(param, click.Option):
            names |= {*param.opts, *param.secondary_opts}
    return names


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_style(page: Path) -> None:
    text = page.read_text()
    assert text.endswith("\n") and not text.endswith("\n\n")
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        fenced ^= line.startswith("```")
        assert line == line.rstrip(), f"{page.name}:{number}: spaces at the end"
        assert len(line) <= 100 or "|" in line or fenced or "](" in line, f"{page.name}:{number}"
    assert not fenced

"""Man pages out of the command definitions: ``python -m trilby.cli.manpage DIRECTORY``.

A page says what ``--help`` says, in the form of man-pages(7): nothing is written twice. Which
files a command reads, and where to read on, stands in manpage_topics.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version

import click
import msgspec

from trilby.cli.lazy import LazyGroup
from trilby.cli.main import EXIT_STATUS, root_group
from trilby.cli.manpage_conf import conf_page
from trilby.cli.manpage_daemon import daemon_page
from trilby.cli.manpage_roff import Page, bold, escape, italic
from trilby.cli.manpage_topics import ENVIRONMENT, SHOWN, exits_of, files_of, related_of

EXAMPLES = ("Example:", "Examples:")


class Node(msgspec.Struct, frozen=True):
    """A command in its place. ``words`` begin with "trilby"; ``brief`` is its line in the table."""

    words: tuple[str, ...]
    command: click.Command
    brief: str
    aliases: tuple[str, ...] = ()

    @property
    def page(self) -> str:
        """The name of its page, which is also that of its file without the section."""
        return "-".join(self.words)


def walk() -> Iterator[Node]:
    """Every command that is not hidden, parents first."""
    root = root_group()
    yield from _walk(Node(("trilby",), root, "run images and pods without a daemon"))


def _walk(node: Node) -> Iterator[Node]:
    yield node
    group = node.command
    if not isinstance(group, LazyGroup):
        return
    for name, (_, brief) in group.table.items():
        child = group.get_command(click.Context(group), name)
        assert child is not None, "the table has it"
        if child.hidden:
            continue
        aliases = tuple(alias for alias, target in group.aliases.items() if target == name)
        yield from _walk(Node((*node.words, name), child, brief, aliases))


def pages() -> dict[str, str]:
    """File name -> content of every page, trilbyd(8) and trilby.conf(5) too."""
    version = _version()
    nodes = list(walk())
    found = {f"{node.page}.1": render(node, nodes, version) for node in nodes}
    return {
        **found,
        "trilbyd.8": daemon_page(version, option_term),
        "trilby.conf.5": conf_page(version),
    }


def render(node: Node, nodes: list[Node], version: str) -> str:
    """The page of one command; ``nodes`` are all commands."""
    page = Page(node.page, 1, version)
    page.section("NAME")
    brief = node.brief[:1].lower() + node.brief[1:]
    page.line(f"{escape(node.page)} \\- {escape(brief.rstrip('.'))}")
    page.section("SYNOPSIS")
    page.line(synopsis(node))
    for alias in node.aliases:
        page.line(".br")
        page.line(synopsis(node, alias))
    page.section("DESCRIPTION")
    _text(page, node.command.help or node.brief)
    _options(page, node)
    if isinstance(node.command, LazyGroup):
        page.section("COMMANDS")
        for child in nodes:
            if child.words[:-1] == node.words:
                page.item(f"{bold(child.page)}(1)", child.brief + ".")
    notes, examples = split_epilog(node.command.epilog or "")
    if len(node.words) == 1:
        _exit_status(page)
    else:
        if notes:
            page.section("NOTES")
            _text(page, notes)
        page.section("EXIT STATUS")
        for sentence in exits_of(node.words):
            page.paragraph(sentence)
    _environment(page, node)
    page.section("EXAMPLES")
    page.verbatim(examples or examples_below(node, nodes))
    page.section("FILES")
    for path, meaning in files_of(node.words):
        page.item(italic(path), meaning)
    page.section("SEE ALSO")
    page.references(see_also(node, nodes))
    return page.text()


def synopsis(node: Node, alias: str = "") -> str:
    """One line of roff: the command and what may follow it."""
    words = [*node.words[:-1], alias] if alias else list(node.words)
    parts = [bold(" ".join(words))]
    if any(isinstance(param, click.Option) for param in node.command.params):
        parts.append(f"[{italic('OPTIONS')}]")
    if isinstance(node.command, click.Group):
        parts += [italic("COMMAND"), f"[{italic('ARGUMENTS')}]"]
    parts += [
        italic(argument_name(param))
        for param in node.command.params
        if isinstance(param, click.Argument)
    ]
    return " ".join(parts)


def argument_name(argument: click.Argument) -> str:
    """As it stands in the synopsis: ``IMAGE...``, ``[NAME]``."""
    if argument.metavar:
        return argument.metavar
    if isinstance(argument.type, click.Choice):
        name = "|".join(map(str, argument.type.choices))
    else:
        name = (argument.name or "").upper()
    name = f"{name}..." if argument.nargs == -1 else name
    return name if argument.required else f"[{name}]"


def split_epilog(epilog: str) -> tuple[str, list[str]]:
    """The epilog's notes, and its examples: what follows "Example:", line by line."""
    for word in EXAMPLES:
        notes, found, examples = epilog.replace("\b", "").partition(word)
        if found:
            lines = [line.strip() for line in examples.splitlines()]
            return notes.strip(), [line for line in lines if line]
    return epilog.strip(), []


def see_also(node: Node, nodes: list[Node]) -> list[str]:
    """The parents, the neighbours or children, and pages of other projects."""
    parents = ["-".join(node.words[:end]) for end in range(1, len(node.words))]
    near = [
        other.page
        for other in nodes
        if len(other.words) > 1 and other != node and other.words[:-1] == node.words[:-1]
    ]
    children = [other.page for other in nodes if other.words[:-1] == node.words]
    own = dict.fromkeys([*parents, *(children or near)])
    return [*(f"{page}(1)" for page in own), *related_of(node.words)]


def _text(page: Page, text: str) -> None:
    """Help text as click understands it: blank lines part paragraphs, \\b keeps line ends."""
    import inspect

    for block in inspect.cleandoc(text).split("\n\n"):
        if block.startswith("\b"):
            page.verbatim(block.removeprefix("\b").strip("\n").splitlines())
        elif block.strip():
            page.paragraph(block)


def _options(page: Page, node: Node) -> None:
    page.section("OPTIONS")
    for param in node.command.params:
        if isinstance(param, click.Option) and not param.hidden:
            page.item(option_term(param), *_about(param))
    page.item(bold("--help"), "Show a summary and exit.")
    if len(node.words) > 1:
        page.paragraph("The options of trilby(1) stand before the first word of the command.")


def option_term(option: click.Option) -> str:
    """``-q, --quiet``, ``--sort created|id``, ``--tls-verify, --no-tls-verify``, in roff."""
    names = ", ".join(bold(name) for name in (*option.opts, *option.secondary_opts))
    if option.is_flag or option.count:
        return names
    return f"{names} {italic(_value_name(option))}"


def _value_name(option: click.Option) -> str:
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return "|".join(map(str, option.type.choices))
    if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType):
        return "NUMBER"
    return (option.name or "").upper()


def _about(option: click.Option) -> list[str]:
    texts = [option.help or ""]
    if option.show_default and not option.is_flag and option.default not in (None, ""):
        texts.append(f"Default: {option.default}")
    return texts


def _exit_status(page: Page) -> None:
    """The table that ends ``trilby --help``."""
    page.section("EXIT STATUS")
    rows, rest = exit_rows()
    for number, meaning in rows:
        page.item(bold(number), meaning)
    for line in rest:
        page.paragraph(line)


def exit_rows() -> tuple[list[tuple[str, str]], list[str]]:
    """The rows of the table in the command's help, and the lines after it."""
    rows: list[tuple[str, str]] = []
    rest: list[str] = []
    for line in EXIT_STATUS.replace("\b", "").strip().splitlines()[1:]:
        number, _, meaning = line.strip().partition(" ")
        if number.isdigit():
            rows.append((number, meaning.strip()))
        else:
            rest.append(line.strip())
    return rows, rest


def _environment(page: Page, node: Node) -> None:
    rows = list(ENVIRONMENT) if len(node.words) == 1 else []
    for param in node.command.params:
        if isinstance(param, click.Option) and param.envvar:
            names = [param.envvar] if isinstance(param.envvar, str) else list(param.envvar)
            rows.append((", ".join(names), f"The same as {param.opts[-1]}."))
    if rows:
        page.section("ENVIRONMENT")
        for name, meaning in rows:
            page.item(bold(name), meaning)


def examples_below(node: Node, nodes: list[Node]) -> list[str]:
    """The examples of a group: those of its commands, of the whole program a few."""
    wanted = SHOWN if len(node.words) == 1 else ()
    found: list[str] = []
    for other in nodes:
        if other.words in wanted or (not wanted and other.words[:-1] == node.words):
            found += split_epilog(other.command.epilog or "")[1]
    return found


def _version() -> str:
    try:
        return package_version("trilby")
    except PackageNotFoundError:
        return "(not installed)"


def write(directory: str) -> list[str]:
    """Write all pages to a directory, which is made if missing; their paths."""
    os.makedirs(directory, exist_ok=True)
    written = []
    for name, text in pages().items():
        path = os.path.join(directory, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        written.append(path)
    return written


def main(argv: list[str]) -> int:
    if len(argv) != 1 or argv[0].startswith("-"):
        print("usage: python -m trilby.cli.manpage DIRECTORY", file=sys.stderr)
        return 2
    for path in write(argv[0]):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Man pages say what the commands say, all of it, in roff that formatters take without a word."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from trilby.cli import (
    manpage,
    manpage_conf,
    manpage_daemon,
    manpage_roff,
    manpage_topics,
)
from trilby.cli.lazy import LazyGroup

if importlib.util.find_spec("trilby.cli.pod.group") is None:
    pytest.skip("the pod commands are not there yet", allow_module_level=True)

NODES = list(manpage.walk())
NAMES = [node.page for node in NODES]
PAGES = manpage.pages()
MACROS = {".TH", ".SH", ".SS", ".PP", ".TP", ".IP", ".RS", ".RE", ".nf", ".fi", ".br", ".nh", ".ad"}


def text_of(name: str) -> str:
    """A page as a reader sees it, near enough: without roff's marks."""
    text = PAGES[name]
    text = re.sub(r"\\f[BIRP]", "", text)
    text = text.replace(r"\-", "-").replace(r"\(aq", "'").replace(r"\(ti", "~").replace(r"\&", "")
    return text.replace(r"\(ga", "`").replace(r"\(ha", "^").replace(r"\e", "\\")


def test_the_tree_is_whole() -> None:
    assert "trilby" in NAMES
    assert "trilby-image-pull" in NAMES
    assert "trilby-pod-run" in NAMES
    assert len(NAMES) == len(set(NAMES))
    assert set(PAGES) == {f"{name}.1" for name in NAMES} | {"trilbyd.8", "trilby.conf.5"}


@pytest.mark.parametrize("name", sorted(PAGES))
def test_sections_stand_in_their_order(name: str) -> None:
    found = re.findall(r'^\.SH "(.*)"$', PAGES[name], re.MULTILINE)
    order = [
        "NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "NOTES", "EXIT STATUS", "ENVIRONMENT",
        "EXAMPLES", "FILES", "SEE ALSO",
    ]  # fmt: skip
    known = [section for section in found if section in order]
    assert known == sorted(known, key=order.index)
    wanted = {"NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "FILES", "SEE ALSO"}
    assert wanted <= set(found)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_only_macros_that_are_known(name: str) -> None:
    text = PAGES[name]
    assert text.isascii()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("."):
            assert line.split()[0] in MACROS | {'.\\"'}, line
        assert not line.startswith("'"), line
    assert text.count(".nf\n") == text.count(".fi\n")
    assert text.count(".RS 4\n") == text.count(".RE\n")


@pytest.mark.parametrize("node", NODES, ids=NAMES)
def test_every_command_has_help_and_an_example(node: manpage.Node) -> None:
    assert node.command.help, f"{node.page}: say what it does"
    assert node.brief, f"{node.page}: its group's table needs a line"
    if not isinstance(node.command, LazyGroup):
        _, examples = manpage.split_epilog(node.command.epilog or "")
        assert examples, f"{node.page}: the epilog needs an example"
        for example in examples:
            assert "trilby" in example or not example.startswith("$"), example


@pytest.mark.parametrize("node", NODES, ids=NAMES)
def test_every_option_is_documented(node: manpage.Node) -> None:
    page = text_of(f"{node.page}.1")
    for param in node.command.params:
        if isinstance(param, click.Option) and not param.hidden:
            assert param.help, f"{node.page} {param.opts[0]}: needs a help text"
            for name in (*param.opts, *param.secondary_opts):
                assert re.search(rf"^{re.escape(name)}\b|, {re.escape(name)}\b", page, re.MULTILINE)
        elif isinstance(param, click.Argument):
            assert manpage.argument_name(param) in page.partition("DESCRIPTION")[0]


@pytest.mark.parametrize("node", NODES, ids=NAMES)
def test_examples_name_a_command_that_exists(node: manpage.Node) -> None:
    tree = {other.words for other in NODES}
    groups = {other.words for other in NODES if isinstance(other.command, LazyGroup)}
    _, examples = manpage.split_epilog(node.command.epilog or "")
    for example in examples:
        for call in re.findall(r"\btrilby ((?:[a-z][a-z-]*(?: |$|\)))+)", example):
            words = ("trilby", *call.replace(")", "").split())
            while words in groups or words not in tree:
                assert words not in groups or words == ("trilby",), f"{example}: names a group"
                words = words[:-1]
                assert words, example


@pytest.mark.parametrize("name", [f"{name}.1" for name in NAMES])
def test_every_page_shows_examples(name: str) -> None:
    block = PAGES[name].partition('.SH "EXAMPLES"')[2].partition(".SH")[0]
    assert ".nf\ntrilby " in block or "trilby " in block


def test_topics_are_about_commands_that_exist() -> None:
    words = {node.words for node in NODES}
    assert manpage_topics.RELATED.keys() <= words
    assert manpage_topics.EXITS.keys() <= words
    assert set(manpage_topics.SHOWN) <= words


def test_variables_of_options_are_told() -> None:
    page = text_of("trilby-image-pull.1")
    assert "REGISTRY_AUTH_FILE\nThe same as --authfile." in page.partition("ENVIRONMENT")[2]


def test_hidden_options_stay_hidden() -> None:
    assert "--signature-policy" not in text_of("trilby-image-pull.1")


def test_references_to_our_pages_resolve() -> None:
    for name in PAGES:
        for page, section in re.findall(r"\b(trilby[a-z.-]*)\((\d)\)", text_of(name)):
            assert f"{page}.{section}" in PAGES, f"{name}: {page}({section})"


def test_exit_status_is_that_of_the_errors() -> None:
    from trilby import errors

    rows, rest = manpage.exit_rows()
    numbers = [int(number) for number, _ in rows]
    kinds = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.TrilbyError)
    }
    assert kinds | {0, 130, 143} == set(numbers)
    assert numbers == sorted(numbers)
    assert all(meaning for _, meaning in rows)
    assert rest


def test_the_daemons_page_says_what_its_help_says() -> None:
    from trilby.cli.daemon import command

    page = text_of("trilbyd.8")
    for param in command.params:
        assert isinstance(param, click.Option)
        for name in param.opts:
            assert re.search(rf"^{name}\b|, {name}\b", page, re.MULTILINE), name
    found = manpage_daemon.blocks()
    assert [word for word, _ in found["Signals"]] == ["HUP", "TERM, INT", "USR1"]
    assert all(meaning for rows in found.values() for _, meaning in rows)
    assert "\nHUP\nRead the configuration again" in page.partition("SIGNALS")[2]


def test_the_daemons_exit_status_is_that_of_the_errors() -> None:
    from trilby import errors

    kinds = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.TrilbyError)
    }
    numbers = [int(word) for word, _ in manpage_daemon.blocks()["Exit status"]]
    assert numbers == sorted(numbers) and set(numbers) <= kinds | {0}


def test_the_unit_refers_to_pages_that_there_are() -> None:
    unit = Path(__file__).parents[3] / "src" / "systemd" / "trilby.service"
    references = re.findall(r"man:([a-z.]+)\((\d)\)", unit.read_text())
    assert {f"{name}.{section}" for name, section in references} == {"trilbyd.8", "trilby.conf.5"}
    assert all(f"{name}.{section}" in PAGES for name, section in references)


def test_the_configuration_page_has_every_option() -> None:
    page = text_of("trilby.conf.5")
    for options in manpage_conf.tables().values():
        for each in options:
            assert f"\n{each.option.name} = {each.kind}\n" in page


def test_the_examples_of_the_configuration_page_load(tmp_path: Path) -> None:
    from trilby.cri.config_load import load

    blocks = re.findall(r"\.nf\n(.*?)\.fi", PAGES["trilby.conf.5"], re.DOTALL)
    file = tmp_path / "trilby.conf"
    file.write_text("\n".join(blocks).replace(r"\-", "-"))
    loaded = load(file)
    assert loaded.warnings == []
    assert loaded.config.engine.log_size_max == 10485760
    assert loaded.config.enable_metrics


@pytest.mark.parametrize(
    ("text", "roff"),
    [
        ("a-b", r"a\-b"),
        ("it's ~x^2 `y`", r"it\(aqs \(tix\(ha2 \(gay\(ga"),
        (".start", r"\&.start"),
        ("back\\slash", r"back\eslash"),
        ("größe", r"gr\[u00F6]\[u00DF]e"),
    ],
)
def test_text_is_made_safe(text: str, roff: str) -> None:
    assert manpage_roff.escape(text) == roff


def test_prose_marks_code_and_options() -> None:
    assert manpage_roff.prose("Use `a-b` or --all, it's fine") == (
        r"Use \fBa\-b\fR or \fB\-\-all\fR, it's fine"
    )
    assert manpage_roff.prose("'quoted").startswith(r"\&")


def test_writing_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "deep" / "man"
    assert manpage.main([str(target)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(target / name) for name in PAGES]
    assert {path.name: path.read_text() for path in target.iterdir()} == PAGES
    assert manpage.main([]) == 2
    assert manpage.main(["--help"]) == 2


FORMATTERS = {
    "groff": ["groff", "-man", "-Tascii", "-ww", "-z"],
    "man": ["man", "--warnings", "-l"],
    "mandoc": ["mandoc", "-T", "lint", "-W", "error"],
}


@pytest.mark.parametrize("program", FORMATTERS)
def test_formatters_are_content(program: str, tmp_path: Path) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    for name, text in PAGES.items():
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / name) for name in PAGES]
    done = subprocess.run(
        [*FORMATTERS[program], *paths],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "MANPAGER": "cat", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_a_page_reads_as_it_should(tmp_path: Path) -> None:
    path = tmp_path / "page.1"
    path.write_text(PAGES["trilby-image-pull.1"])
    shown = subprocess.run(
        ["groff", "-man", "-Tascii", "-P-c", "-P-b", "-P-u", "-rLL=78n", str(path)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "trilby image pull [OPTIONS] IMAGE..." in shown
    assert "    trilby image pull docker.io/library/busybox:1.36\n" in shown
    assert "-q, --quiet" in shown
    assert "-fB" not in shown and "\\" not in shown

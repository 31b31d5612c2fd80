"""The command line: help, exit statuses, formats, and what it does not import."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from trilby import errors
from trilby.cli import main
from trilby.cli.image.list_filter import Row
from trilby.cli.lazy import LazyGroup
from trilby.cli.output import Column, human_age, human_size, print_rows, render
from trilby.cli.pod.exec import command as exec_command
from trilby.cli.running import Terminated, run_async
from trilby.cli.switches import spelled_out
from trilby.image.service_list import ImageSummary

ROOT = Path(__file__).resolve().parents[3]
HEAVY = "asyncio aiohttp rich yaml ssl isal zstandard pysequoia multiprocessing".split()


def commands(
    group: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    yield " ".join(path), group
    if isinstance(group, LazyGroup):
        context = click.Context(group)
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))


ALL = list(commands(main.root_group()))


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name or "trilby" for name, _ in ALL])
def test_every_command_has_help_and_every_leaf_an_example(
    name: str, command: click.Command
) -> None:
    assert command.help
    if not isinstance(command, LazyGroup):
        assert re.match(r"Example: .*\btrilby ", command.epilog or ""), name
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = main.run(main.root_group(), list(argv))
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_typo_is_answered_with_what_is_near(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, said = call(capsys, "imgae")
    assert status == 2 and "Did you mean image?" in said
    assert call(capsys, "image", "ls", "--help")[0] == 0


@pytest.mark.parametrize(
    "argv",
    [
        ["image", "pull"],
        ["image", "remove"],
        ["image", "remove", "--all", "x"],
        ["image", "inspect", "--raw", "--config", "x"],
        ["image", "pull", "--platform", "linux/arm64", "--arch", "amd64", "x"],
        ["image", "pull", "--creds", ":secret", "x"],
        ["image", "pull", "--format", "yaml", "x"],
        ["image", "push", "--format", "v1", "x"],
        ["pod", "run", "--rm", "--detach", "x"],
        ["pod", "stop"],
        ["login", "-u", "a", "-p", "b", "--password-stdin", "example.com"],
        ["--log-level", "loud", "version"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, said = call(capsys, *argv)
    assert status == 2 and out == "" and "Error: " in said


SWITCHED = click.Command(
    "switched",
    params=[
        click.Argument(["rest"], nargs=-1),
        click.Option(["--tls-verify/--no-tls-verify"], default=None),
        click.Option(["-q", "--quiet"], is_flag=True),
        click.Option(["--creds"]),
    ],
)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--tls-verify=false x", "--no-tls-verify x"),
        ("x --tls-verify=TRUE", "x --tls-verify"),
        ("--quiet=false x --quiet=1", "x --quiet"),
        ("--creds=false --unknown=true -q", "--creds=false --unknown=true -q"),
        ("-- --quiet=false", "-- --quiet=false"),
    ],
)
def test_switches_as_podman_has_them(given: str, meant: str) -> None:
    assert spelled_out(SWITCHED, given.split()) == meant.split()


def test_another_programs_switches_are_its_own() -> None:
    assert spelled_out(exec_command, ["pod", "ls", "--tty=false"]) == ["pod", "ls", "--tty=false"]


def test_a_switch_is_true_or_false(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, said = call(capsys, "image", "pull", "--tls-verify=maybe", "x")
    assert status == 2 and "--tls-verify: 'maybe' is neither true nor false" in said


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (errors.NotFound("no image x", hint="pull it"), 3, "Error: no image x\nHint: pull it\n"),
        (errors.Unauthorized("u"), 4, "Error: u\n"),
        (errors.Unavailable("u"), 5, "Error: u\n"),
        (errors.Corrupt("c"), 6, "Error: c\n"),
        (errors.Refused("r"), 7, "Error: r\n"),
        (errors.StorageFailure("s"), 8, "Error: s\n"),
        (errors.Conflict("c"), 9, "Error: c\n"),
        (errors.TrilbyError("t"), 1, "Error: t\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (Terminated(), 143, "terminated\n"),
        (OSError(28, "No space left on device", "/x"), 1, "Error: /x: No space left on device\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_errors_are_exit_statuses(
    raised: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def failing() -> None:
        raise raised

    assert main.run(failing, []) == status
    assert capsys.readouterr().err.lstrip() == said


def test_a_manifest_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, said = call(capsys, "pod", "run", f"{tmp_path}/none.yaml")
    assert status == 3 and said == f"Error: {tmp_path}/none.yaml: there is no such manifest\n"
    status, _, said = call(capsys, "pod", "run", str(tmp_path))
    assert status == 2 and f"{tmp_path}: cannot be read" in said


def test_the_help_tells_every_exit_status() -> None:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.TrilbyError):
            assert f"\n  {kind.exit_code} " in main.EXIT_STATUS


def test_sigterm_cancels_what_is_under_way() -> None:
    import asyncio
    import signal

    cleaned = []

    async def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(10)
        finally:
            cleaned.append(True)

    with pytest.raises(Terminated):
        run_async(work())
    assert cleaned == [True]


def python(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), **env}
    return subprocess.run(
        [sys.executable, "-c", *words], env=variables, capture_output=True, text=True, check=False
    )


def test_listing_imports_nothing_slow(tmp_path: Path) -> None:
    done = python(
        "import sys\nfrom trilby.cli.main import root_group, run\n"
        "assert run(root_group(), sys.argv[1:]) == 0\n"
        "print(sorted(sys.modules), file=sys.stderr)",
        f"--root={tmp_path}/s", f"--runroot={tmp_path}/r", "--storage-driver=vfs", "image", "list",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == "REPOSITORY TAG IMAGE ID CREATED SIZE".split()
    loaded = set(done.stderr.replace("'", "").strip("[]\n").split(", "))
    assert not loaded & set(HEAVY)


def test_the_help_imports_no_command() -> None:
    done = python(
        "import sys\nfrom trilby.cli.main import root_group, run\nrun(root_group(), ['--help'])\n"
        "print([name for name in sys.modules if name.startswith('trilby.')], file=sys.stderr)"
    )
    assert "Exit status:" in done.stdout
    assert "trilby.cli.image" not in done.stderr and "trilby.storage" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, said = call(capsys, "completion", shell)
    assert status == 0, said
    assert "_TRILBY_COMPLETE" in out


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_completion_of_the_daemon(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, said = call(capsys, "completion", shell, "trilbyd")
    assert status == 0, said
    assert "_TRILBYD_COMPLETE" in out and "_TRILBY_COMPLETE" not in out


def test_completion_knows_the_daemons_flags() -> None:
    done = python(
        "from trilby.cli.daemon import main; main()",
        _TRILBYD_COMPLETE="bash_complete", COMP_WORDS="trilbyd --ru", COMP_CWORD="1",
    )  # fmt: skip
    assert done.stdout == "plain,--runroot\n"


def test_completion_knows_the_commands() -> None:
    done = python(
        "from trilby.cli.main import main; main()",
        _TRILBY_COMPLETE="bash_complete", COMP_WORDS="trilby image pu", COMP_CWORD="2",
    )  # fmt: skip
    assert [line.split(",")[1] for line in done.stdout.split()] == ["pull", "push"]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (4_860_000, "4.86 MB"), (2.5e9, "2.5 GB"), (5e15, "5000 TB")],
)  # fmt: skip
def test_sizes(size: float, text: str) -> None:
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (0, "less than a second ago"), (1, "1 second ago"), (59, "59 seconds ago"),
        (61, "1 minute ago"), (7200, "2 hours ago"), (86400 * 8, "8 days ago"),
        (86400 * 15, "2 weeks ago"), (86400 * 800, "2 years ago"),
    ],
)  # fmt: skip
def test_ages(age: float, text: str) -> None:
    assert human_age(age) == text


@pytest.mark.parametrize(
    ("name", "repository", "tag"),
    [
        ("host:5000/a/b:1", "host:5000/a/b", "1"),
        (f"host:5000/a/b@sha256:{'0' * 64}", "host:5000/a/b", "<none>"),
        ("host:5000/a", "host:5000/a", "<none>"),
        ("", "<none>", "<none>"),
    ],
)
def test_names_as_repository_and_tag(name: str, repository: str, tag: str) -> None:
    image = ImageSummary(id="1", names=(), repo_digests=(), digest="", created=0, size=0)
    row = Row(image, name)
    assert (row.repository, row.tag) == (repository, tag)


COLUMNS = [
    Column[int]("NUMBER", "Number", str),
    Column[int]("TWICE", "Twice", lambda n: str(2 * n)),
]


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("", "NUMBER  TWICE\n1       2\n10      20\n"),
        ("table", "NUMBER  TWICE\n1       2\n10      20\n"),
        ("table {{.Twice}}", "TWICE\n2\n20\n"),
        ("{{.Number}}\\t{{ .Twice }}", "1\t2\n10\t20\n"),
        ("json", "[\n    1,\n    10\n]\n"),
    ],
)
def test_formats(format: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([1, 10], COLUMNS, format=format, json=lambda row: row)
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("template", ["{{.Nothing}}", "{{range .}}", "table {{.Nothing}}"])
def test_a_template_that_cannot_be(template: str) -> None:
    with pytest.raises(click.UsageError, match="--format"):
        print_rows([1], COLUMNS, format=template, json=lambda row: row)


def test_a_template_is_text() -> None:
    assert render("a {{.B}}\\n", {"B": "{{.C}}"}) == "a {{.C}}\n"

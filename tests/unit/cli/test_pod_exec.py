"""The command line of trilby pod exec: whose options are whose."""

from __future__ import annotations

import click
import pytest

from trilby.cli.pod.exec import command


@pytest.mark.parametrize(
    ("line", "options", "argv"),
    [
        ("-c c -it p sh -c x", {"container": "c", "tty": True, "interactive": True}, "sh -c x"),
        ("p -c c -it -- sh -c x", {"container": "c", "tty": True, "interactive": True}, "sh -c x"),
        ("p -e A=b -w /t -- sh", {"env": ("A=b",), "workdir": "/t"}, "sh"),
        ("p ls --tty -c x", {"container": "", "tty": False}, "ls --tty -c x"),
        ("p git checkout -- file", {}, "git checkout -- file"),
        ("p -- git checkout -- file", {}, "git checkout -- file"),
        ("p sh -c x -- -it", {"container": "", "tty": False}, "sh -c x -- -it"),
    ],
)
def test_options_stand_before_the_command(line: str, options: dict[str, object], argv: str) -> None:
    with command.make_context("exec", line.split()) as context:
        assert context.params["pod"] == "p"
        assert context.params["argv"] == tuple(argv.split())
        for name, value in options.items():
            assert context.params[name] == value, name


@pytest.mark.parametrize("line", ["p", "p --", "-c c", "p -c c --"])
def test_a_command_is_needed(line: str) -> None:
    with pytest.raises(click.UsageError):
        command.make_context("exec", line.split())

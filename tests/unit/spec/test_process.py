"""Command line, environment, working directory, exec."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from trilby.oci.image import ContainerDefaults
from trilby.oci.runtime import ConsoleSize, Process, User
from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_container import ContainerConfig, ImageSpec
from trilby.pods.spec.exec import build_exec_process
from trilby.pods.spec.process import build_args, build_cwd, build_env

PLAIN = ContainerConfig(name="c", image=ImageSpec(image="i"))
IMAGE = ContainerDefaults(entrypoint=("/entry",), cmd=("cmd", "1"), working_dir="srv")


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        ((), (), ("/entry", "cmd", "1")),
        (("x",), (), ("x",)),
        ((), ("y",), ("/entry", "y")),
        (("x",), ("y",), ("x", "y")),
    ],
)
def test_command_and_args(
    command: tuple[str, ...], args: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert build_args(replace(PLAIN, command=command, args=args), IMAGE) == expected


def test_nothing_to_run() -> None:
    with pytest.raises(InvalidPodConfig, match="no command"):
        build_args(PLAIN, ContainerDefaults())


def test_the_last_source_of_a_variable_wins() -> None:
    image = ContainerDefaults(env=("A=image", "B=image", "PATH=/bin", "odd"))
    asked = replace(PLAIN, envs=(("B", "pod"), ("C", "1"), ("C", "2=3")), tty=True)
    env = build_env(asked, image, ("A=default", "D=default"), "host")
    assert env == ("PATH=/bin", "TERM=xterm", "HOSTNAME=host", "A=image", "D=default", "B=pod",
                   "C=2=3")  # fmt: skip


@pytest.mark.parametrize("pair", [("", "x"), ("A=B", "x"), ("A", "\0"), ("A", "\udcff")])
def test_what_cannot_be_a_variable(pair: tuple[str, str]) -> None:
    with pytest.raises(InvalidPodConfig):
        build_env(replace(PLAIN, envs=(pair,)), ContainerDefaults(), (), "")


def test_the_working_directory() -> None:
    assert build_cwd(PLAIN, ContainerDefaults()) == "/"
    assert build_cwd(PLAIN, IMAGE) == "/srv"
    assert build_cwd(replace(PLAIN, working_dir="/a/../b/"), IMAGE) == "/b"
    with pytest.raises(InvalidPodConfig):
        build_cwd(replace(PLAIN, working_dir="relative"), IMAGE)


def test_an_exec_is_like_the_first_process() -> None:
    first = Process(user=User(5, 6), args=("x",), cwd="/srv", env=("A=1", "B=2"))
    done = build_exec_process(
        first, ["ls", "-l"], tty=True, env=[("B", "3")], console_size=ConsoleSize(24, 80)
    )
    assert done.user == first.user and done.cwd == "/srv" and done.args == ("ls", "-l")
    assert done.env == ("A=1", "B=3", "TERM=xterm") and done.terminal
    assert build_exec_process(first, ["ls"], console_size=ConsoleSize(1, 1)).console_size is None
    with pytest.raises(InvalidPodConfig):
        build_exec_process(first, [])

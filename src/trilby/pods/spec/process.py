"""The first process of a container: command line, environment, working directory."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from trilby.oci.image import ContainerDefaults
from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_container import ContainerConfig

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def build_args(container: ContainerConfig, image: ContainerDefaults) -> tuple[str, ...]:
    """Kubernetes' rule: a command replaces the entrypoint, and then the image's Cmd is void too."""
    if container.command:
        args = container.command + container.args
    else:
        args = image.entrypoint + (container.args or image.cmd)
    if not args:
        raise InvalidPodConfig(
            f"container {container.name}: there is no command to run",
            hint="the image has neither Entrypoint nor Cmd; give a command",
        )
    return tuple(_text("argument", word) for word in args)


def build_env(
    container: ContainerConfig,
    image: ContainerDefaults,
    defaults: Iterable[str],
    hostname: str,
) -> tuple[str, ...]:
    """``NAME=value``, each name once; later sources win: ours, defaults, image, container."""
    env = {"PATH": DEFAULT_PATH}
    if container.tty:
        env["TERM"] = "xterm"
    if hostname:
        env["HOSTNAME"] = hostname
    for line in (*defaults, *image.env):
        name, equals, value = line.partition("=")
        if name and equals:
            env[name] = value
    for name, value in container.envs:
        if not name or "=" in name:
            raise InvalidPodConfig(f"environment variable {name!r}: not a name")
        env[name] = value
    return tuple(_text("environment variable", f"{name}={value}") for name, value in env.items())


def build_cwd(container: ContainerConfig, image: ContainerDefaults) -> str:
    """The container's, else the image's, else the root; always absolute."""
    if container.working_dir and not container.working_dir.startswith("/"):
        raise InvalidPodConfig(f"working directory {container.working_dir!r} is not absolute")
    return posixpath.normpath("/" + (container.working_dir or image.working_dir).lstrip("/"))


def _text(what: str, value: str) -> str:
    """JSON carries neither NUL for exec nor bytes that are not UTF-8."""
    if "\0" in value:
        raise InvalidPodConfig(f"{what} {value!r} contains a NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidPodConfig(f"{what} {value!r} is not UTF-8") from None
    return value

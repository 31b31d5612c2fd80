"""Running CNI plugins: where they are, what they are told, what they answer.

Follows the CNI specification 1.1, sections 2 ("Execution Protocol") and 5 ("Result Types").
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

import msgspec

from trilby.oci.codec import JsonValue
from trilby.pods.network.document import JsonObject
from trilby.pods.network.errors import PluginFailed, PluginNotFound
from trilby.system import process

DEFAULT_TIMEOUT = 60.0


class PluginCall(msgspec.Struct, frozen=True, kw_only=True):
    """One execution: a program, a command such as ADD, its environment and its stdin (JSON)."""

    path: str
    command: str
    network: str
    env: dict[str, str]
    stdin: bytes

    def replay(self) -> str:
        """A shell line that runs the plugin again, exactly."""
        words = [f"{name}={value}" for name, value in self.env.items()]
        line = shlex.join(["env", *words, self.path])
        return f"printf %s {shlex.quote(self.stdin.decode())} | {line}"

    def failed(self, problem: str, *, code: int = 0) -> PluginFailed:
        name = os.path.basename(self.path)
        return PluginFailed(
            f"network {self.network}: plugin {name}, {self.command}: {problem}",
            code=code,
            hint=f"to run it again: {self.replay()}",
        )


class PluginError(msgspec.Struct, frozen=True):
    """What a failed plugin prints."""

    code: int = 0
    msg: str = ""
    details: str = ""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Which interface of which namespace a call is about."""

    container_id: str = ""
    netns: str = ""
    ifname: str = ""
    args: tuple[tuple[str, str], ...] = ()


def find_plugin(kind: str, directories: Sequence[str]) -> str:
    """The plugin's path. Raises ``PluginNotFound``, which says where was searched."""
    for directory in directories:
        path = os.path.join(directory, kind)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise PluginNotFound(
        f"the CNI plugin {kind!r} is in none of {', '.join(directories) or 'no directories'}",
        hint="install containernetworking-plugins, or the network provider's own plugins",
    )


def build_call(
    path: str,
    command: str,
    network: str,
    config: JsonObject,
    target: Target,
    directories: Sequence[str],
) -> PluginCall:
    """Put together what a plugin gets: the CNI_* variables and the configuration on stdin."""
    env = {"CNI_COMMAND": command, "CNI_PATH": os.pathsep.join(directories)}
    if command not in ("VERSION", "STATUS", "GC"):
        env["CNI_CONTAINERID"] = target.container_id
        env["CNI_NETNS"] = target.netns
        env["CNI_IFNAME"] = target.ifname
        if target.args:
            env["CNI_ARGS"] = ";".join(f"{name}={value}" for name, value in target.args)
    return PluginCall(
        path=path, command=command, network=network, env=env, stdin=msgspec.json.encode(config)
    )


async def run_plugin(call: PluginCall, timeout: float = DEFAULT_TIMEOUT) -> JsonValue:
    """Run it and return the JSON that it printed (None: nothing). Raises ``PluginFailed``."""
    try:
        done = await process.arun(
            [call.path], env=call.env, stdin=call.stdin, timeout=timeout, check=False
        )
    except process.CommandFailed as error:
        if error.timed_out:
            raise call.failed(f"did not end within {timeout:g} s") from error
        raise call.failed(error.message) from error
    if done.returncode != 0:
        said = _parse_error(done.stdout)
        problem = ": ".join(filter(None, (said.msg, said.details)))
        stderr = done.stderr.decode(errors="replace").strip()
        if not problem:
            status = process.describe_status(done.returncode)
            problem = stderr or f"{status}, and it did not say why"
        raise call.failed(problem, code=said.code)
    if not done.stdout.strip():
        return None
    try:
        printed: JsonValue = msgspec.json.decode(done.stdout)
    except msgspec.DecodeError as error:
        raise call.failed(f"it printed something that is not JSON: {error}") from error
    return printed


def _parse_error(stdout: bytes) -> PluginError:
    try:
        return msgspec.json.decode(stdout, type=PluginError)
    except msgspec.DecodeError:
        return PluginError(msg=stdout.decode(errors="replace").strip()[:500])


class SupportedVersions(msgspec.Struct, frozen=True, rename="camel"):
    """A plugin's answer to VERSION."""

    supported_versions: tuple[str, ...] = ("0.1.0",)


class VersionCache:
    """Which CNI versions each plugin speaks; asked once per plugin file."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], frozenset[str]] = {}

    async def supported(self, path: str) -> frozenset[str]:
        status = os.stat(path)
        key = (path, status.st_mtime_ns, status.st_size)
        if key not in self._known:
            call = build_call(path, "VERSION", "-", {"cniVersion": "1.0.0"}, Target(), ())
            answer = await run_plugin(call)
            try:
                versions = msgspec.convert(answer, SupportedVersions)
            except msgspec.ValidationError as error:
                raise call.failed(f"its answer is not understood: {error}") from error
            self._known[key] = frozenset(versions.supported_versions)
        return self._known[key]

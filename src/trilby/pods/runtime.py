"""The OCI runtime as a command: runc, crun, and whatever has the same command line."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from trilby.oci.runtime import LinuxResources
from trilby.pods.config import EngineConfig, RuntimeHandler
from trilby.pods.errors import HandlerUnknown, RuntimeFailed
from trilby.system import process

if TYPE_CHECKING:
    from trilby.pods.spec.host import RuntimeFeatures

TIMEOUT = 120.0
USUAL = ("crun", "runc")


class Runtime:
    """One runtime handler. ``root`` is where the runtime keeps its own state of containers."""

    def __init__(self, handler: RuntimeHandler, root: str, *, systemd_cgroup: bool) -> None:
        self.name = handler.name
        self.path = shutil.which(handler.path or handler.name) or ""
        self.root = root
        self.systemd_cgroup = systemd_cgroup
        self.handler = handler
        self._features: RuntimeFeatures | None = None
        if not self.path:
            raise HandlerUnknown(
                f"runtime handler {handler.name}: {handler.path or handler.name} is not installed",
                hint="install it, or set default_runtime",
            )

    def argv(self, *arguments: str) -> list[str]:
        """The command line for one of the runtime's verbs."""
        flags = ["--systemd-cgroup"] if self.systemd_cgroup else []
        return [self.path, "--root", self.root, *flags, *arguments]

    def exec_command(self, container_id: str, argv: Sequence[str]) -> str:
        """A command in a container, for a person to run again; its process document is gone."""
        return process.replay_command(self.argv("exec", container_id, *argv))

    def create_command(self, container_id: str, bundle: str) -> str:
        """What conmon runs to create, for a person to run again."""
        return process.replay_command(self.argv("create", "--bundle", bundle, container_id))

    async def start(self, container_id: str) -> None:
        """Let the created container's process run. Raises RuntimeFailed."""
        await self._run("start", container_id)

    async def delete(self, container_id: str) -> None:
        """Kill what is left and remove the runtime's state and cgroup; a missing one is fine."""
        if os.path.exists(f"{self.root}/{container_id}"):
            await self._run("delete", "--force", container_id)

    async def update(self, container_id: str, resources: LinuxResources) -> None:
        """Change the limits that ``resources`` has."""
        from trilby.oci import codec

        await self._run("update", "--resources", "-", container_id, stdin=codec.encode(resources))

    async def resume(self, container_id: str) -> None:
        """Thaw a paused container."""
        await self._run("resume", container_id)

    async def status(self, container_id: str) -> str:
        """``created``, ``running``, ``paused`` or ``stopped``; only for what crashes leave open."""
        from trilby.oci import codec
        from trilby.oci.runtime import State

        done = await self._run("state", container_id)
        return codec.decode(State, done.stdout, what=f"{self.name} state").status

    def features(self) -> RuntimeFeatures:
        """What the runtime says that it can do; asked once, blocking."""
        if self._features is None:
            from trilby.pods.spec.host import RuntimeFeatures, parse_features

            done = process.run([self.path, "features"], timeout=TIMEOUT, check=False)
            try:
                self._features = parse_features(done.stdout)
            except msgspec.DecodeError:
                # Older than the command: it cannot do what came later either.
                self._features = RuntimeFeatures(recursive_read_only=False)
        return self._features

    async def _run(self, *arguments: str, stdin: bytes | None = None) -> process.Completed:
        try:
            return await process.arun(self.argv(*arguments), stdin=stdin, timeout=TIMEOUT)
        except process.CommandFailed as error:
            raise RuntimeFailed(
                f"{self.name} {arguments[0]}: {said(error)}", hint=f"again: {error.command}"
            ) from error


def said(error: process.CommandFailed) -> str:
    """The last words of a runtime, without its log's decoration."""
    text = (error.stderr or error.stdout).decode(errors="replace").strip()
    return text.splitlines()[-1] if text else error.message


class Runtimes:
    """The configured handlers; each is looked up when it is first used."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._found: dict[str, Runtime] = {}

    def resolve(self, name: str) -> str:
        """The handler's name, the default for an empty one. Raises HandlerUnknown."""
        return self.get(name or self._config.default_runtime or self._installed()).name

    def _installed(self) -> str:
        """The first of the usual runtimes that is there, else the first of them."""
        found = (name for name in USUAL if name in self._config.runtimes and shutil.which(name))
        return next(found, USUAL[0])

    def root_of(self, name: str) -> str:
        """Where a handler's runtime keeps its state, whether or not it is installed."""
        handler = self._config.runtimes.get(name)
        return (handler.root if handler else "") or f"{self._config.run_root}/runtime/{name}"

    def programs(self) -> set[str]:
        """The names of all handlers' programs."""
        handlers = self._config.runtimes.values()
        return {os.path.basename(handler.path or handler.name) for handler in handlers}

    def get(self, name: str) -> Runtime:
        """Raises HandlerUnknown."""
        if name not in self._found:
            handler = self._config.runtimes.get(name)
            if handler is None:
                known = ", ".join(sorted(self._config.runtimes))
                raise HandlerUnknown(f"no runtime handler {name!r}", hint=f"there are: {known}")
            self._found[name] = Runtime(
                handler,
                self.root_of(name),
                systemd_cgroup=self._config.cgroup_manager == "systemd",
            )
        return self._found[name]


def warm_cgroups(own_cgroup_files: Sequence[str] = ()) -> None:
    """Have the kernel prepare for moving processes between cgroups, while the runtime starts.

    The first move in a while waits for an RCU grace period, some milliseconds; those just after
    it do not. A process that is "moved" to where it is pays for the runtime that is starting,
    at the same time. Does nothing where that is not possible.
    """
    files = own_cgroup_files or _own_cgroup_files()
    if files:
        threading.Thread(target=_write_own, args=(files[0],), daemon=True).start()


def _write_own(path: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(fd, b"0")
    except OSError:
        pass
    finally:
        os.close(fd)


_cgroup_files: list[str] = []


def _own_cgroup_files() -> list[str]:
    """cgroup.procs of the cgroup that this process is in: of the unified hierarchy, or of any."""
    if not _cgroup_files:
        with open("/proc/self/cgroup") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
        for number, controllers, path in sorted(lines):
            folders = ["", "unified/"] if number == "0" else [controllers.removeprefix("name=")]
            for folder in folders:
                candidate = f"/sys/fs/cgroup/{folder}{path}/cgroup.procs"
                if os.path.exists(candidate):
                    _cgroup_files.append(candidate)
    return _cgroup_files

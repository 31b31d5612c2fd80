"""The engine: what a kubelet or a person asks of sandboxes and containers, as one class.

Every method that changes something is a coroutine; blocking work runs in threads. Reading methods
are plain functions: they read state files without locks and are quick. Modules are imported by the
methods that need them, because a command line imports them anew each time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from trilby.pods.config import EngineConfig
from trilby.pods.container_rootfs import RootfsProvider
from trilby.pods.engine_parts import Parts
from trilby.pods.model_status import ContainerState, ContainerStatus, SandboxStatus
from trilby.system import process

if TYPE_CHECKING:
    import socket
    from types import TracebackType

    from trilby.pods.attach import AttachedStreams
    from trilby.pods.events import ContainerEvent
    from trilby.pods.exec import ExecResult, ExecSession, ExecStreams
    from trilby.pods.handlers import HandlerFeatures
    from trilby.pods.hooks import HookedContainer, HookedSandbox, HookPoint, Update
    from trilby.pods.logs import Entry
    from trilby.pods.logs_read import LogOptions
    from trilby.pods.model_common import Resources
    from trilby.pods.model_container import ContainerConfig
    from trilby.pods.model_sandbox import SandboxConfig
    from trilby.pods.model_status import ContainerStats, SandboxStats
    from trilby.pods.stats import Sampler
    from trilby.pods.trace import Stage


class Engine:
    """Sandboxes and containers under one pair of roots; several processes may use it at once.

    Only list and inspect? ``trilby.pods.state_status.Inventory`` does that with fewer imports.
    """

    def __init__(self, config: EngineConfig, rootfs: RootfsProvider) -> None:
        self._parts = Parts(config, rootfs)
        self._sampler: Sampler | None = None

    async def start(self, *, recover: bool = True) -> list[str]:
        """Make the roots; finish or undo what interrupted calls left behind, and say what.

        ``recover=False`` for a short-lived process that leaves that to others. Work that other
        processes are at is never touched.
        """
        await asyncio.to_thread(self._parts.layout.make)
        process.become_subreaper()
        if not recover:
            return []
        from trilby.pods import recovery

        return await recovery.recover(self._parts)

    async def follow(self) -> None:
        """For a daemon: see containers' ends and changes of the network configuration at once."""
        self._parts.events.watch()
        self._parts.follow()
        await self._parts.network.start()

    async def check_network(self) -> None:
        """Raises NetworkNotReady or PluginNotFound when no pod could be attached now."""
        await self._parts.network.status()

    def network_name(self) -> tuple[str, str]:
        """The network of new pods and its file, "" for the built-in one. Raises NetworkNotReady."""
        chosen = self._parts.network.configuration()
        return chosen.name, chosen.path

    async def close(self) -> None:
        """Wait for networks being set up, and stop watching. Containers keep running."""
        from trilby.pods.recovery_undo import reap_adopted

        for pending in list(self._parts.pending.values()):
            await asyncio.wait([pending.task])
        await self._parts.close()
        config = self._parts.config
        reap_adopted({os.path.basename(config.conmon), *self._parts.runtimes.programs()})

    async def __aenter__(self) -> Engine:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def config(self) -> EngineConfig:
        return self._parts.config

    def replace_config(self, config: EngineConfig) -> None:
        """Settings for the sandboxes and containers that are made from now on.

        The roots, the cgroup manager and the network's places stay those of the start.
        """
        self._parts.replace_config(config)

    def handlers(self) -> list[str]:
        """Names of the runtime handlers whose program is installed."""
        from trilby.pods import handlers

        return handlers.installed(self._parts)

    async def handler_features(self) -> dict[str, HandlerFeatures]:
        """What each installed handler can do; the default one also under the name ""."""
        from trilby.pods import handlers

        return await asyncio.to_thread(handlers.features, self._parts)

    # Sandboxes

    async def run_sandbox(self, config: SandboxConfig, *, wait_network: bool = True) -> str:
        """Make a sandbox and return its id; the same request again returns the same id.

        With ``wait_network=False`` the id is returned while the network is still being set up:
        containers can be created meanwhile, and ``start_container`` waits for the network.

        Raises: InvalidPodConfig, HandlerUnknown, NameInUse, NetworkFailed, RuntimeFailed.
        """
        from trilby.pods import sandbox

        return await sandbox.run_sandbox(self._parts, config, wait_network=wait_network)

    async def wait_network(self, sandbox_id: str) -> None:
        """Return when the network of ``run_sandbox(wait_network=False)`` is up, or raise why not.

        After a failure the sandbox and its containers are gone.
        """
        from trilby.pods import sandbox

        await sandbox.wait_network(self._parts, sandbox_id)

    async def stop_sandbox(self, sandbox_id: str, *, timeout: float = 0) -> None:
        """Stop all containers (``timeout`` seconds of grace) and the network; idempotent."""
        from trilby.pods import sandbox_stop

        await sandbox_stop.stop_sandbox(self._parts, sandbox_id, timeout)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Kill and remove the sandbox and all its containers; a missing one is no error."""
        from trilby.pods import sandbox_stop

        await sandbox_stop.remove_sandbox(self._parts, sandbox_id)

    def sandbox_status(self, sandbox_id: str) -> SandboxStatus:
        """Raises SandboxNotFound. ``sandbox_id`` may be a unique prefix."""
        return self._parts.inventory.sandbox(sandbox_id)

    def sandbox_details(self, sandbox_id: str) -> dict[str, object]:
        """What is known besides the status, for people. Raises SandboxNotFound."""
        from trilby.pods import details

        return details.sandbox_details(self._parts, sandbox_id)

    async def update_sandbox_resources(
        self, sandbox_id: str, *, overhead: Resources | None, resources: Resources | None
    ) -> None:
        """Record new limits of the whole pod. Raises SandboxNotFound, SandboxNotReady."""
        from trilby.pods import sandbox_update

        await sandbox_update.update_sandbox_resources(self._parts, sandbox_id, overhead, resources)

    async def read_sandbox(self, sandbox_id: str) -> SandboxStatus:
        """sandbox_status() for whoever may have an engine elsewhere; see embedded/api.py."""
        return self.sandbox_status(sandbox_id)

    def list_sandboxes(self) -> list[SandboxStatus]:
        """All sandboxes, newest first."""
        return self._parts.inventory.sandboxes()

    # Containers

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        """Create, do not start; the same name and attempt again returns the same id.

        Raises: SandboxNotFound, SandboxNotReady, InvalidPodConfig, NameInUse, RuntimeFailed,
        MonitorFailed, and the store's errors (an image that is not there is a NotFound).
        """
        from trilby.pods import container

        return await container.create_container(self._parts, sandbox_id, config)

    async def start_container(self, container_id: str) -> None:
        """Raises StartFailed (the container is then EXITED 128), WrongContainerState."""
        from trilby.pods import container_start

        await container_start.start_container(self._parts, container_id)

    async def stop_container(self, container_id: str, timeout: float = 10) -> None:
        """Stop signal, ``timeout`` seconds of grace, then SIGKILL; returns when it has exited.

        Raises StopFailed when even SIGKILL does not help.
        """
        from trilby.pods import container_stop

        await container_stop.stop_container(self._parts, container_id, timeout)

    async def remove_container(self, container_id: str) -> None:
        """Remove it, by force if it runs; a missing one is no error."""
        from trilby.pods import container_stop

        await container_stop.remove_container(self._parts, container_id)

    async def wait_container(self, container_id: str) -> int:
        """Return the exit code when it has exited."""
        from trilby.pods import container_stop

        sandbox_id, container_id = self._parts.layout.find_container(container_id)
        record = self._parts.layout.load_container(sandbox_id, container_id)
        return await container_stop.wait_exit(self._parts, record, None)

    def container_status(self, container_id: str) -> ContainerStatus:
        """Raises ContainerNotFound. ``container_id`` may be a unique prefix."""
        return self._parts.inventory.container(container_id)

    def container_details(self, container_id: str) -> dict[str, object]:
        """What is known besides the status, for people. Raises ContainerNotFound."""
        from trilby.pods import details

        return details.container_details(self._parts, container_id)

    async def read_container(self, container_id: str) -> ContainerStatus:
        """container_status() for whoever may have an engine elsewhere; see embedded/api.py."""
        return self.container_status(container_id)

    def list_containers(self, sandbox_id: str | None = None) -> list[ContainerStatus]:
        """All containers (of one sandbox), newest first. Raises SandboxNotFound."""
        if sandbox_id is not None:
            sandbox_id = self._parts.layout.find_sandbox(sandbox_id)
        return self._parts.inventory.containers(sandbox_id)

    async def update_resources(self, container_id: str, resources: Resources) -> None:
        """Change limits; fields that are not set keep their values."""
        from trilby.pods import container_update

        await container_update.update_resources(self._parts, container_id, resources)

    # Inside a container

    async def exec(
        self,
        container_id: str,
        argv: Sequence[str],
        *,
        streams: ExecStreams,
        tty: bool = False,
        user: str = "",
        working_dir: str = "",
        env: Sequence[str] = (),
    ) -> ExecSession:
        """Start a command in a running container.

        Without ``tty`` it gets the descriptors of ``streams`` themselves. With it, the session's
        ``terminal`` is the master of a new terminal. The session has ``wait() -> exit code``,
        ``resize(rows, columns)``, ``kill()`` and ``close()``, which whoever called has to call.

        Raises ContainerNotFound, WrongContainerState, RuntimeFailed (no such command).
        """
        from trilby.pods.exec import ExecRequest, start_exec

        request = ExecRequest(
            argv=tuple(argv), tty=tty, user=user, working_dir=working_dir, env=tuple(env)
        )
        return await start_exec(self._parts, container_id, request, streams)

    async def exec_sync(
        self, container_id: str, argv: Sequence[str], *, timeout: float | None = None
    ) -> ExecResult:
        """Run a command and collect its output, at most 16 MiB of each stream.

        Raises ExecTimeout (``timeout`` in seconds, 0 or None: no limit), WrongContainerState,
        RuntimeFailed.
        """
        from trilby.pods import exec

        request = exec.ExecRequest(argv=tuple(argv))
        return await exec.exec_sync(self._parts, container_id, request, timeout)

    async def attach(self, container_id: str) -> AttachedStreams:
        """Connect to the streams of a running container's first process."""
        from trilby.pods import attach

        return await attach.attach(self._parts, container_id)

    async def reopen_log(self, container_id: str) -> None:
        """Have conmon reopen the log file after it was rotated; returns when it has.

        Raises WrongContainerState, MonitorFailed (also when conmon does not do it in time).
        """
        from trilby.pods import monitor
        from trilby.pods.exec import running

        record = running(self._parts, container_id)
        await monitor.reopen_log(self._parts.layout.bundle(record.id), record.log_path)

    def log_path(self, container_id: str) -> Path:
        """Where the container's log is."""
        return Path(self._parts.inventory.container(container_id).log_path)

    async def logs(self, container_id: str, options: LogOptions) -> AsyncIterator[Entry]:
        """Entries of the container's log; with ``follow`` until it has ended."""
        from trilby.pods.logs_read import follow_log, read_log

        status = self._parts.inventory.container(container_id)
        if not options.follow:
            for entry in read_log(status.log_path, options):
                yield entry
            return
        wake = asyncio.Event()
        task = asyncio.create_task(self._set_when_ended(status.id, wake))

        def ended() -> bool:
            return task.done()

        try:
            async for entry in follow_log(status.log_path, options, ended, wake):
                yield entry
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _set_when_ended(self, container_id: str, wake: asyncio.Event) -> None:
        status = self._parts.inventory.container(container_id)
        try:
            if status.state is not ContainerState.EXITED:
                await self.wait_container(container_id)
        finally:
            # The task has to be done before whoever waits looks at it.
            asyncio.get_running_loop().call_soon(wake.set)

    async def port_forward(self, sandbox_id: str, port: int) -> socket.socket:
        """A connected socket to a port on the loopback interface inside the sandbox.

        It does not block (for ``loop.sock_*`` or ``asyncio.open_connection(sock=...)``); the
        caller closes it. Raises SandboxNotReady, StreamFailed.
        """
        from trilby.pods import portforward

        return await portforward.port_forward(self._parts, sandbox_id, port)

    # Watching

    def trace(self, sandbox_id: str) -> list[Stage]:
        """The stages of what this engine did for a sandbox, by their beginning.

        Also of one that is removed, for a while. Raises SandboxNotFound.
        """
        traces = self._parts.traces
        known = traces.find(sandbox_id) if len(sandbox_id) >= 3 else []
        one = known[0] if len(known) == 1 else self._parts.layout.find_sandbox(sandbox_id)
        return traces.of(one)

    def on_stage(self, listener: Callable[[Stage], None] | None) -> None:
        """Have every stage told, when it ends; by the task or thread that it ends in."""
        self._parts.traces.listener = listener

    def tracing(self, pod_uid: str, operation: str, subject: str) -> AbstractContextManager[None]:
        """Records what is done for a pod elsewhere, such as a pull, if it has a sandbox."""
        known = self.list_sandboxes() if pod_uid else []
        found = next((sandbox.id for sandbox in known if sandbox.uid == pod_uid), "")
        stage = self._parts.traces.stage
        return stage(found, operation, subject=subject) if found else nullcontext()

    def container_stats(self, container_id: str) -> ContainerStats:
        """What it uses; rates from the second call on. Reads the writable layer: use a thread."""
        return self.sampler.container(container_id)

    def sandbox_stats(self, sandbox_id: str) -> SandboxStats:
        """What the pod and its containers use; see container_stats."""
        return self.sampler.sandbox(sandbox_id)

    async def read_stats(self, sandbox_id: str) -> SandboxStats:
        """sandbox_stats() in a thread."""
        return await asyncio.to_thread(self.sandbox_stats, sandbox_id)

    @property
    def sampler(self) -> Sampler:
        """Statistics of many at once. Its methods block: use a thread."""
        if self._sampler is None:
            from trilby.pods.stats import Sampler

            self._sampler = Sampler(self._parts)
        return self._sampler

    # For whoever is hooked in; see trilby.pods.hooks

    @property
    def hook_point(self) -> HookPoint:
        """Where hooks are put."""
        return self._parts.hooks

    async def hooked_state(self) -> tuple[list[HookedSandbox], list[HookedContainer]]:
        """All that there is, as hooks see it."""
        from trilby.pods import hooked

        return await asyncio.to_thread(hooked.state, self._parts.layout)

    async def apply_updates(self, updates: Iterable[Update]) -> list[str]:
        """Change limits without asking hooks; the ids of those that failed."""
        from trilby.pods import hooked

        return await hooked.apply_updates(self._parts, updates)

    async def tell_end(self, sandbox_id: str, container_id: str) -> None:
        """A container was seen to end: hooks that do not know it yet are told."""
        from trilby.pods import hooked

        await hooked.end(self._parts, sandbox_id, container_id)

    def subscribe(self) -> AsyncIterator[ContainerEvent]:
        """Events from now on: created, started, stopped, deleted, OOM."""
        return self._parts.events.subscribe()

"""Stopping and removing pods, whoever runs them: this process, another one, or nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from trilby.pods.embedded.api import PodEngine
from trilby.pods.embedded.errors import PodRunning
from trilby.pods.embedded.events import Emit
from trilby.pods.embedded.folder import PodFolder
from trilby.pods.embedded.listing import PodView
from trilby.pods.embedded.termination import stop_containers
from trilby.pods.errors import SandboxNotFound
from trilby.pods.model_status import ContainerState
from trilby.system.events import wait_pidfd


async def stop_pod(
    engine: PodEngine, folder: PodFolder, view: PodView, grace: float | None, emit: Emit
) -> None:
    """Stop a pod within ``grace`` seconds (default: the manifest's own)."""
    if grace is None:
        grace = 30.0
        if view.record is not None:
            grace = float(view.record.pod.spec.termination_grace_period_seconds)
    await _stop_runner(folder, grace)
    if view.sandbox is None:
        return
    if view.record is not None:
        running = {
            each.name: each.id for each in view.containers if each.state is ContainerState.RUNNING
        }
        address = view.sandbox.ips[0] if view.sandbox.ips else "127.0.0.1"
        await stop_containers(engine, view.record.pod.spec, running, address, grace, emit)
    # A runner that was told to may have removed it by now.
    with contextlib.suppress(SandboxNotFound):
        await engine.stop_sandbox(view.sandbox.id, timeout=grace)


async def remove_pod(
    engine: PodEngine,
    folder: PodFolder,
    view: PodView,
    *,
    force: bool,
    grace: float | None,
    emit: Emit,
) -> None:
    """Remove a pod with all that it has.

    Raises:
        PodRunning: it runs and ``force`` was not given.
    """
    if view.running:
        if not force:
            raise PodRunning(
                f"pod {view.name} is {view.phase.lower()}",
                hint="stop it first, or remove it with --force",
            )
        await stop_pod(engine, folder, view, grace, emit)
    if view.sandbox is not None:
        await engine.remove_sandbox(view.sandbox.id)
    await asyncio.to_thread(folder.remove)


async def _stop_runner(folder: PodFolder, grace: float) -> None:
    """Ask the process that runs the pod to end it, and wait until it has."""
    pid = folder.runner()
    if not pid or pid == os.getpid():
        return
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Still the runner: the number was not reused before the descriptor was opened.
        if folder.runner() != pid:
            return
        folder.request_stop(grace)
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        await wait_pidfd(pidfd)
    finally:
        os.close(pidfd)

"""Undoing what journals say: for failed calls, removals, and after a crash; all idempotent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Collection, Sequence
from typing import Final

from trilby.errors import TrilbyError
from trilby.pods import sandbox_network
from trilby.pods.engine_parts import Parts
from trilby.pods.engine_tasks import in_thread
from trilby.pods.errors import HandlerUnknown, PodsError, StopFailed
from trilby.pods.journal import (
    AnyStep,
    Attachment,
    Cgroup,
    Home,
    Mountpoint,
    Name,
    Pin,
    Processes,
    Rootfs,
    Step,
    Tree,
    by_rank,
)
from trilby.pods.monitor import read_pid
from trilby.pods.sandbox_cgroup import cgroup_path, whole_cgroup
from trilby.pods.state_process import why_stuck
from trilby.pods.trace import part
from trilby.system import process
from trilby.system.events import wait_pidfd
from trilby.system.files import remove_tree
from trilby.system.mounts import unmount
from trilby.system.namespaces import unpin
from trilby.system.process_child import own_children
from trilby.system.process_orphans import children

log = logging.getLogger(__name__)

#: What traces call the undoing of a step.
_PARTS: Final[dict[type[Step], str]] = {
    Processes: "processes",
    Attachment: "leave the network",
    Rootfs: "root file system",
    Mountpoint: "unmount",
    Pin: "namespaces",
    Cgroup: "cgroup",
}

# After SIGKILL: what has not died by then hangs in the kernel.
KILL_TIMEOUT = 20.0
SYSTEMCTL_TIMEOUT = 10.0
#: When whatever lost its parent in an interrupted create has ended, in seconds.
LATE = 1.0


async def undo(parts: Parts, steps: Sequence[AnyStep]) -> None:
    """Undo all steps, rank by rank. Raises the first failure; the steps after it stay."""
    for group in by_rank(_without_nested(steps)):
        results = await asyncio.gather(
            *(_undo_one(parts, step) for step in group), return_exceptions=True
        )
        failures = [result for result in results if isinstance(result, BaseException)]
        for failure in failures[1:]:
            log.warning("undoing: %s", failure)
        if failures:
            raise failures[0]


def _without_nested(steps: Sequence[AnyStep]) -> list[AnyStep]:
    """A container's directory goes with its sandbox' one, not at the same time."""
    homes = {step.path for step in steps if isinstance(step, Home)}
    return [
        step
        for step in dict.fromkeys(steps)
        if not (isinstance(step, Home) and os.path.dirname(step.path) in homes)
    ]


async def undo_after_failure(parts: Parts, steps: Sequence[AnyStep]) -> None:
    """undo() whose own failure is logged: the journal stays for the next recovery."""
    try:
        await undo(parts, steps)
    except (TrilbyError, OSError) as error:
        log.warning("cleaning up after a failed call: %s; the next start tries again", error)


async def _undo_one(parts: Parts, step: AnyStep) -> None:
    try:
        with part(_PARTS.get(type(step), "files")):
            await _undo_step(parts, step)
    except OSError as error:
        raise PodsError(f"undoing {step}: {error}") from error


async def _undo_step(parts: Parts, step: AnyStep) -> None:
    match step:
        case Processes():
            await end_processes(parts, step)
        case Attachment():
            await _detach(parts, step.sandbox_id)
        case Rootfs():
            await in_thread(parts.rootfs.remove, step.container_id)
        case Mountpoint():
            await in_thread(_unmount_all, step.path)
        case Pin():
            await in_thread(unpin, step.path)
        case Cgroup():
            await in_thread(_remove_cgroup, step.path)
            await in_thread(_remove_empty_parent, parts, step.path)
            await _forget_slice(step.path)
        case Tree() | Home():
            await in_thread(remove_tree, step.path)
        case Name():
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(step.link) == step.id:
                    os.unlink(step.link)


async def _detach(parts: Parts, sandbox_id: str) -> None:
    """A network that cannot be left must not keep the pod: its namespace ends anyway.

    What a plugin keeps elsewhere, such as the address, stays in the CNI cache for its garbage
    collection.
    """
    try:
        await sandbox_network.detach(parts, sandbox_id)
    except TrilbyError as error:
        log.warning("sandbox %s leaves its network without a farewell: %s", sandbox_id, error)


async def end_processes(parts: Parts, step: Processes) -> None:
    """Kill a container's processes, remove the runtime's state, and wait for conmon's end."""
    container_id = step.container_id
    bundle = parts.layout.bundle(container_id)
    live = parts.layout.load_container_live(container_id)
    if live is None or not live.pid:
        # Interrupted while it was created: whoever names the bundle in its arguments belongs to it.
        await _end_creators(parts, bundle)
    else:
        pidfds = _open_alive([(live.pid, live.pid_start)])
        await kill_and_wait(pidfds, container_id)
        process.reap(live.pid)  # ours only if its monitor died before it
    with contextlib.suppress(HandlerUnknown):
        await parts.runtimes.get(step.handler).delete(container_id)
    monitor = (live.monitor_pid if live else 0) or read_pid(f"{bundle}/conmon.pid")
    await end_monitor(monitor, live.monitor_start if live else 0, container_id)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(parts.layout.exit_file(container_id))
    if os.path.exists(f"{parts.runtimes.root_of(step.handler)}/{container_id}"):
        raise PodsError(f"removing container {container_id}: the runtime still knows it")
    if step.cgroup:
        await in_thread(_remove_cgroup, step.cgroup)


async def kill_and_wait(pidfds: Sequence[int], what: str) -> None:
    """SIGKILL processes, wait until they are gone, close their pidfds. Raises StopFailed."""
    try:
        for pidfd in pidfds:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        for pidfd in pidfds:
            if not await wait_pidfd(pidfd, KILL_TIMEOUT):
                raise StopFailed(
                    f"stopping {what}: a process did not die of SIGKILL in {KILL_TIMEOUT:g} s: "
                    f"{why_stuck(_pid_of(pidfd))}"
                )
    finally:
        for pidfd in pidfds:
            os.close(pidfd)


async def end_monitor(pid: int, start: int, container_id: str) -> None:
    """Wait for a monitor whose container is gone; kill it if it stays. Reap it if it is ours."""
    from trilby.pods.state_process import open_alive, start_time

    pidfd = open_alive(pid, start or start_time(pid))
    if pidfd is not None:
        if not await wait_pidfd(pidfd, 2.0):
            log.warning("monitor %d of %s does not end, killing it", pid, container_id)
            await kill_and_wait([pidfd], f"the monitor of {container_id}")
        else:
            os.close(pidfd)
    if pid:
        process.reap(pid)


async def _end_creators(parts: Parts, bundle: str) -> None:
    """conmon and a runtime that is just creating: killed together, so that neither goes on."""
    programs = {os.path.basename(parts.config.conmon), *parts.runtimes.programs()}
    sessions: set[int] = set()
    while pids := [pid for pid in _pids() if _creates(pid, programs, bundle)]:
        pidfds = []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                pidfds.append(os.pidfd_open(pid))
                sessions.add(os.getsid(pid))
        await kill_and_wait(pidfds, bundle)
    sessions.discard(os.getsid(0))
    reap_adopted(programs, sessions)
    # What runc had forked just then ends by itself, when it sees that runc is gone.
    asyncio.get_running_loop().call_later(LATE, reap_adopted, programs, sessions)


def reap_adopted(programs: Collection[str], sessions: Collection[int] = ()) -> None:
    """Take the statuses of monitors and runtimes that detached themselves, or lost their parent.

    Known by their names, or by the session of a monitor that was killed: other orphans of this
    process may be somebody else's business.
    """
    for pid in children() - own_children:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                head, _, tail = file.read().rpartition(b")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        # runc's own children call themselves runc:[2:INIT], and before that exe.
        name = head.partition(b"(")[2].decode(errors="replace").partition(":")[0]
        state, _, _, session = tail.split()[:4]
        if state == b"Z" and (name in programs or int(session) in sessions):
            process.reap(pid)


def _open_alive(processes: Sequence[tuple[int, int]]) -> list[int]:
    from trilby.pods.state_process import open_alive

    return [fd for fd in (open_alive(*one) for one in processes) if fd is not None]


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _creates(pid: int, programs: set[str], bundle: str) -> bool:
    """Whether a process is one of ``programs`` and has the bundle among its arguments."""
    try:
        program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return program in programs and bundle.encode() in file.read().split(b"\0")
    except OSError:
        return False  # gone, a zombie, or guarded from us: not what we started


def _pid_of(pidfd: int) -> int:
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        found = [line.split()[1] for line in file if line.startswith("Pid:")]
    return int(found[0]) if found else 0


def _unmount_all(path: str) -> None:
    while unmount(path, lazy=True):
        pass


async def _forget_slice(path: str) -> None:
    """systemd made a slice for the pod when the runtime asked for a scope in it, and keeps it."""
    name = os.path.basename(path)
    if not name.endswith(".slice") or not os.path.isdir("/run/systemd/system"):
        return
    try:
        await process.arun(["systemctl", "stop", name], timeout=SYSTEMCTL_TIMEOUT)
    except (process.CommandFailed, OSError) as error:
        log.warning("slice %s stays: %s", name, error)


def _remove_cgroup(path: str) -> None:
    cgroup = whole_cgroup(path)
    if cgroup.exists():
        cgroup.kill_all()
        cgroup.remove()


def _remove_empty_parent(parts: Parts, path: str) -> None:
    """The engine's own parent of all pods goes with the last pod."""
    parent = whole_cgroup(path).parent
    if parent.path == cgroup_path(parts.config.cgroup_parent):
        parent.remove_if_empty()

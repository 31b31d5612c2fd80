"""The only door to other processes: run one and wait, with a clean environment and clear errors.

Three ways in, one set of rules: run() blocks, arun() awaits, aspawn() hands out a running process.
The environment is built from nothing, stdin is /dev/null, the child has a process group of its own
(a terminal's Ctrl-C is for us, not for it), and nothing outlives a time limit or a cancellation.
Output that a background grandchild writes after the process itself ended is not waited for.
"""

from __future__ import annotations

import select
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from trilby.system.process_child import (
    Child,
    CommandFailed,
    Completed,
    describe_status,
    environment,
    replay_command,
)
from trilby.system.process_orphans import (
    become_subreaper,
    claim,
    reap,
    reap_orphans,
    unclaim,
)

if TYPE_CHECKING:
    from trilby.system.process_async import Process

__all__ = [
    "CAPTURE",
    "DISCARD",
    "STDOUT",
    "Child",
    "CommandFailed",
    "Completed",
    "arun",
    "aspawn",
    "become_subreaper",
    "claim",
    "describe_status",
    "environment",
    "reap",
    "reap_orphans",
    "replay_command",
    "run",
    "unclaim",
]

# Values of the stdout and stderr parameters besides a descriptor of the caller's (subprocess' own).
CAPTURE: Final = -1
STDOUT: Final = -2
DISCARD: Final = -3


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdin: bytes | int | None = None,
    stdout: int = CAPTURE,
    stderr: int = CAPTURE,
    timeout: float | None = None,
    cwd: str | None = None,
    check: bool = True,
    pass_fds: Sequence[int] = (),
    own_group: bool = True,
) -> Completed:
    """Run a command to its end and return what it said.

    ``env`` is added to environment(); ``stdin`` is bytes, a descriptor, or None for /dev/null;
    ``stdout`` and ``stderr`` are CAPTURE, DISCARD, a descriptor, and for stderr STDOUT;
    ``timeout`` is in seconds: the process group is killed then. Raises CommandFailed when the
    program is missing or the time is over, and with ``check`` when it fails.
    """
    child = Child(
        argv,
        env=env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        pass_fds=pass_fds,
        own_group=own_group,
    )
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        in_time = _wait(child, deadline)
    except BaseException:
        child.kill()
        child.reap(block=True)
        child.close()
        raise
    if not in_time:
        child.kill()
    child.reap(block=True)
    child.finish_output()
    return child.completed(check, None if in_time else timeout)


async def arun(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdin: bytes | int | None = None,
    stdout: int = CAPTURE,
    stderr: int = CAPTURE,
    timeout: float | None = None,
    cwd: str | None = None,
    check: bool = True,
    pass_fds: Sequence[int] = (),
    own_group: bool = True,
) -> Completed:
    """run() for asyncio, without a thread; a cancellation kills the process and reaps it."""
    from trilby.system.process_async import run_child

    child = Child(
        argv,
        env=env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        pass_fds=pass_fds,
        own_group=own_group,
    )
    return await run_child(child, check, timeout)


async def aspawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdin: bytes | int | None = None,
    stdout: int = DISCARD,
    stderr: int = CAPTURE,
    cwd: str | None = None,
    pass_fds: Sequence[int] = (),
    own_group: bool = True,
) -> Process:
    """Start a command and return its handle; see run() for the parameters.

    Captured output is collected while the process runs. Whoever spawns must wait() or close().
    """
    from trilby.system.process_async import Process

    return Process(
        Child(
            argv,
            env=env,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            pass_fds=pass_fds,
            own_group=own_group,
        )
    )


def _wait(child: Child, deadline: float | None) -> bool:
    """Feed and read the child until it ended (True) or the time is over (False)."""
    poll = select.poll()
    poll.register(child.pidfd, select.POLLIN)
    pumps = {pump.fd: pump for pump in (*child.readers, child.feeder) if pump}
    for pump in pumps.values():
        poll.register(pump.fd, pump.events)
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        ready = poll.poll(left)
        if not ready:
            return False
        for fd, _ in ready:
            if fd != child.pidfd and not pumps[fd].pump():
                poll.unregister(fd)
                if pumps[fd] is child.feeder:
                    child.feeder.close()
        if any(fd == child.pidfd for fd, _ in ready):
            return True

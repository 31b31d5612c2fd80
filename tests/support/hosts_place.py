"""Where hosts for Molecule are, and what their launchers have in common: files and processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.support.host import ENVIRONMENT

from trilby.pods.state_process import is_alive, start_time

__all__ = [
    "ROOT",
    "address_of",
    "alive",
    "argv",
    "enter_by",
    "fabric",
    "fabric_pid",
    "locked",
    "pid_of",
    "place",
    "remember",
    "start",
    "wait",
    "wait_end",
]

ROOT = Path(__file__).resolve().parents[2]


def place() -> Path:
    """Where hosts are."""
    return Path(os.environ.get("TRILBY_HOSTS") or "/dev/shm/trilby-hosts")


def fabric() -> Path:
    """Where the network is that they hang on."""
    return place() / "fabric"


def fabric_pid() -> int:
    """The process that is the network; 0 when there is none."""
    return alive(fabric() / "ready")


def pid_of(name: str) -> int:
    """The process that is a host, as the machine numbers it; 0 when it does not run."""
    return alive(place() / name / "pid")


def address_of(name: str) -> str:
    return (place() / name / "address").read_text()


def enter_by(name: str, *words: str) -> None:
    """Say with which words before it a command runs in the host; Ansible's plugin reads this."""
    new = place() / name / ".enter"
    new.write_text(json.dumps(words))
    new.rename(place() / name / "enter")


def argv(name: str, command: Sequence[str]) -> list[str]:
    """The command line on the machine that runs a command in a host."""
    if not pid_of(name):
        raise SystemExit(f"hosts: {name} does not run")
    words: list[str] = json.loads((place() / name / "enter").read_text())
    environment = ENVIRONMENT | {"TERM": os.environ.get("TERM", "dumb")}
    return [*words, "env", "-i", *(f"{k}={v}" for k, v in environment.items()), *command]


def start(*command: str, log: Path, environment: dict[str, str] | None = None) -> int:
    """A process of its own session, which stays when we end; returns its number."""
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=os.environ | (environment or {}),
            start_new_session=True,
        ).pid


def remember(path: Path, pid: int) -> None:
    """Write down which process it is: its number, and since when it has it."""
    new = path.with_name(f".{path.name}")
    new.write_text(f"{pid} {start_time(pid)}\n")
    new.rename(path)


def alive(path: Path) -> int:
    """The process of such a file, if it is there; another one of that number is not it."""
    with contextlib.suppress(OSError, ValueError):
        pid, since = map(int, path.read_text().split())
        return pid if is_alive(pid, since) else 0
    return 0


def wait(look: Callable[[], bool], what: str, log: Path, timeout: float = 60) -> None:
    """Until it is so; SystemExit with the log when it takes too long."""
    end = time.monotonic() + timeout
    while not look():
        if time.monotonic() > end:
            said = log.read_text(errors="replace")
            raise SystemExit(f"hosts: {what} is not up after {timeout} s: {said}")
        time.sleep(0.1)


def wait_end(pid: int, timeout: float = 30) -> None:
    end = time.monotonic() + timeout
    since = start_time(pid)
    while is_alive(pid, since) and time.monotonic() < end:
        time.sleep(0.05)


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    (place() / name).mkdir(parents=True, exist_ok=True)
    with (place() / f"{name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield

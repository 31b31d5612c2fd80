"""Commands in other roots end with whoever started them, and so does what they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from trilby.rpm.tools import Inside, Tools

PARENT = """
from trilby.rpm.tools import Inside, Tools
script = "sleep {seconds} & sleep {seconds}; true"
Tools("/").run(["sh", "-c", script], Inside(network=False))
"""


def sleeping(seconds: int) -> list[str]:
    """The processes that sleep so long, those that nobody waits for left out."""
    wanted = f"sleep\0{seconds}\0".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == wanted:
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def wait_for(count: int, seconds: int) -> None:
    end = time.monotonic() + 30
    while len(sleeping(seconds)) != count:
        assert time.monotonic() < end, sleeping(seconds)
        time.sleep(0.05)


def test_a_killed_parent_leaves_nothing() -> None:
    seconds = 100_000 + os.getpid()
    command = [sys.executable, "-c", PARENT.format(seconds=seconds)]
    parent = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    wait_for(2, seconds)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(0, seconds)


def test_what_a_command_left_behind_ends_with_it() -> None:
    seconds = 200_000 + os.getpid()
    done = Tools("/").run(
        ["sh", "-c", f"sleep {seconds} & exit 3"], Inside(user=(0, 0)), check=False
    )
    assert done.returncode == 3
    assert sleeping(seconds) == []


def test_a_signal_is_told_as_shells_tell_it() -> None:
    done = Tools("/").run(["sh", "-c", "kill -9 $$"], Inside(user=(0, 0)), check=False)
    assert done.returncode == 128 + 9

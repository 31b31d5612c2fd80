"""Running processes: results, environment, time limits, cancellation, orphans."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from trilby.system.events import exited, wait_pidfd, wait_readable
from trilby.system.process import (
    DISCARD,
    STDOUT,
    CommandFailed,
    Completed,
    arun,
    aspawn,
    describe_status,
    environment,
    replay_command,
    run,
)
from trilby.system.process_child import OUTPUT_LIMIT, own_children

BIG = b"x" * 1_000_000


async def both(*argv: str, **options: object) -> list[Completed]:
    """The results of run() and arun(), which have to be the same."""
    return [run(argv, **options), await arun(argv, **options)]  # type: ignore[arg-type]


async def failures(*argv: str, **options: object) -> list[CommandFailed]:
    found = []
    with pytest.raises(CommandFailed) as caught:
        run(argv, **options)  # type: ignore[arg-type]
    found.append(caught.value)
    with pytest.raises(CommandFailed) as caught:
        await arun(argv, **options)  # type: ignore[arg-type]
    return [*found, caught.value]


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


async def test_output_and_status() -> None:
    for done in await both("sh", "-c", "echo out; echo err >&2; exit 3", check=False):
        assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
        assert done.text == "out"


async def test_input_and_output_larger_than_pipes() -> None:
    before = open_fds()
    for done in await both("cat", stdin=BIG):
        assert done.stdout == BIG
    # A loop opens its own descriptors at its first use; none is left of the processes.
    assert len(open_fds()) <= len(before)
    assert not own_children


async def test_a_child_that_does_not_read_its_input() -> None:
    for done in await both("true", stdin=BIG):
        assert done.returncode == 0


async def test_input_is_empty_by_default_and_output_can_be_merged_or_dropped() -> None:
    for done in await both("cat"):
        assert done.stdout == b""
    for done in await both("sh", "-c", "echo a; echo b >&2", stderr=STDOUT):
        assert done.stdout == b"a\nb\n"
    for done in await both("echo", "a", stdout=DISCARD):
        assert done.stdout == b""


async def test_output_goes_to_a_descriptor(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as file:
        run(["echo", "a"], stdout=file.fileno())
        await arun(["echo", "b"], stdout=file.fileno())
    assert (tmp_path / "out").read_bytes() == b"a\nb\n"


async def test_output_is_bounded() -> None:
    for done in await both("head", "-c", str(OUTPUT_LIMIT + 5), "/dev/zero"):
        assert len(done.stdout) == OUTPUT_LIMIT
        assert done.truncated


async def test_a_failure_can_be_replayed(tmp_path: Path) -> None:
    script = "printf '%s' \"$WHO\"; pwd; echo it broke >&2; exit 7"
    for error in await failures("sh", "-c", script, env={"WHO": "a b"}, cwd=str(tmp_path)):
        assert error.returncode == 7
        assert str(error) == f"{error.command}: exit status 7: it broke"
        again = run(["sh", "-c", error.command], check=False)
        assert again.returncode == 7
        assert again.stdout == error.stdout == b"a b" + os.fsencode(tmp_path) + b"\n"


async def test_programs_that_cannot_start(tmp_path: Path) -> None:
    for error in await failures("no-such-program"):
        assert "no-such-program is not installed" in str(error)
    for error in await failures("true", cwd=str(tmp_path / "missing")):
        assert "there is no directory" in str(error)
    (tmp_path / "data").write_text("no program")
    for error in await failures(str(tmp_path / "data")):
        assert "cannot be started" in str(error)


async def test_signals_have_names() -> None:
    for error in await failures("sh", "-c", "kill -SEGV $$"):
        assert "killed by SIGSEGV" in str(error)
        assert error.returncode == -signal.SIGSEGV
    assert describe_status(-64) == "killed by SIGRTMAX"
    assert describe_status(-60) == "killed by signal 60"


async def test_time_limits_kill_the_whole_group(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    # Both the shell and its child hold the fifo open: its end says that both are gone.
    script = f"exec 9>{fifo}; echo begun; sleep 1000 & sleep 1000"
    for error in await failures("sh", "-c", script, timeout=0.2):
        assert error.timed_out
        assert error.stdout == b"begun\n"
        assert "did not end within 0.2 s" in str(error)
        os.set_blocking(reader, True)
        assert os.read(reader, 1) == b""
    os.close(reader)
    assert not own_children


async def test_a_background_grandchild_does_not_keep_us() -> None:
    began = time.monotonic()
    for done in await both("sh", "-c", "sleep 5 & echo $!"):
        os.kill(int(done.text), signal.SIGKILL)
    assert time.monotonic() - began < 4


async def test_cancellation_kills_and_reaps() -> None:
    task = asyncio.create_task(arun(["sleep", "1000"]))
    await asyncio.sleep(0)
    pidfd = os.pidfd_open(next(iter(own_children)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert exited(pidfd)
    os.close(pidfd)
    assert not own_children


async def test_a_second_cancellation_still_reaps() -> None:
    task = asyncio.create_task(arun(["sleep", "1000"]))
    await asyncio.sleep(0)
    pidfd = os.pidfd_open(next(iter(own_children)))
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await wait_pidfd(pidfd, timeout=10)
    os.close(pidfd)
    # The loop takes the status in the round in which it sees the exit, or the next one.
    for _ in range(3):
        await asyncio.sleep(0)
    assert not own_children


def test_an_interrupted_run_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def register(self, fd: int, events: int) -> None:
            pass

        def poll(self, timeout: float | None) -> list[tuple[int, int]]:
            raise KeyboardInterrupt

    monkeypatch.setattr("trilby.system.process.select.poll", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(["sleep", "1000"])
    assert not own_children


async def test_spawned_processes_have_many_waiters_and_signals() -> None:
    ready, told = os.pipe()
    script = "trap 'exit 9' TERM; echo ready; sleep 1000 & wait"
    process = await aspawn(["sh", "-c", script], stdout=told)
    waiters = [asyncio.create_task(process.wait()) for _ in range(3)]
    await wait_readable(ready)
    os.close(ready)
    os.close(told)
    waiters[0].cancel()
    assert process.returncode is None
    process.signal(signal.SIGTERM)
    assert await asyncio.gather(*waiters[1:]) == [9, 9]
    process.signal(signal.SIGTERM)
    process.kill()
    await process.close()
    assert process.pidfd == -1


async def test_many_at_once() -> None:
    results = await asyncio.gather(*(arun(["echo", str(n)]) for n in range(30)))
    assert [done.text for done in results] == [str(n) for n in range(30)]


def test_run_from_threads() -> None:
    found: list[str] = []

    def work(number: int) -> None:
        found.append(run(["echo", str(number)]).text)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found, key=int) == [str(n) for n in range(12)]


def test_the_environment_is_built_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s")
    monkeypatch.setenv("PATH", "/mine:relative:/usr/bin")
    built = environment({"A": "1"})
    assert "SECRET" not in built
    assert built["LANG"] == "C.UTF-8"
    assert built["A"] == "1"
    folders = built["PATH"].split(":")
    assert folders[:2] == ["/mine", "/usr/bin"]
    assert "relative" not in folders
    assert "/usr/sbin" in folders
    assert b"SECRET" not in run(["env"]).stdout


def test_descriptors_are_passed_only_when_asked() -> None:
    read_end, write_end = os.pipe()
    try:
        os.set_inheritable(write_end, True)
        assert run(["test", "-e", f"/proc/self/fd/{write_end}"], check=False).returncode == 1
        run(["sh", "-c", f"echo hi >/proc/self/fd/{write_end}"], pass_fds=[write_end])
        assert os.read(read_end, 10) == b"hi\n"
    finally:
        os.close(read_end)
        os.close(write_end)


def test_replay_command_quotes() -> None:
    line = replay_command(["a b", "c'd"], {"E": "f g"}, "/x y")
    assert line == """cd '/x y' && env 'E=f g' 'a b' 'c'"'"'d'"""


ORPHANS = """
import os, select, subprocess
from trilby.system.process import become_subreaper, claim, reap, reap_orphans, run, unclaim
from trilby.system.process_orphans import children
become_subreaper()
ours = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
gate, release = os.pipe()
script = f"(sh -c 'read x; exit $0' $1 </proc/self/fd/{gate} >&2 & echo $!)"
pids = [
    int(run(["sh", "-c", script, "sh", code], pass_fds=[gate]).text) for code in ("5", "6")
]
assert set(pids) <= children(), (pids, children())
assert reap(pids[0]) is None
pidfds = [os.pidfd_open(pid) for pid in pids]
os.close(release)
for pidfd in pidfds:
    select.select([pidfd], [], [])
assert reap(pids[0]) == 5
assert reap(pids[0]) is None
claim(pids[1])
assert reap_orphans() == {}
unclaim(pids[1])
assert reap_orphans() == {pids[1]: 6}
ours.communicate()
print("fine")
"""


def test_a_subreaper_gets_the_orphans_and_reaps_only_them() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ORPHANS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "fine\n", done.stderr

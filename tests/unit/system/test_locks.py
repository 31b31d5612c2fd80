"""Record locks among threads and among processes, and the last writer's token."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trilby.system import locks
from trilby.system.errors import LockBusy, LockFailed
from trilby.system.locks import RecordLock, new_token

# Takes the lock as fcntl(2) alone, as a stranger does: kind, then "held" on stdout, until stdin ends.
STRANGER = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.lockf(fd, fcntl.LOCK_EX if sys.argv[2] == "w" else fcntl.LOCK_SH)
print("held", flush=True)
sys.stdin.read()
"""

COUNTER = """
import sys, threading
from pathlib import Path
from trilby.system.locks import RecordLock
lock, counter = RecordLock(sys.argv[1]), Path(sys.argv[2])
def write():
    for _ in range(100):
        with lock.exclusive():
            counter.write_text(str(int(counter.read_text()) + 1))
def read():
    for _ in range(100):
        with lock.shared():
            # A file that is being written is empty for a moment.
            seen.append(int(counter.read_text()))
seen = []
threads = [threading.Thread(target=target) for target in (write, write, read, read)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(len(seen) != 200)
"""


@contextmanager
def stranger(path: Path, kind: str, *, waits: bool = False) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-ISc", STRANGER, str(path), kind]
    with subprocess.Popen(argv, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdin and process.stdout
        try:
            if not waits:
                assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.stdin.close()
            if waits:
                process.kill()
            process.wait()


@contextmanager
def thread(target: object) -> Iterator[threading.Thread]:
    started = threading.Thread(target=target)  # type: ignore[arg-type]
    started.start()
    yield started
    started.join(10)
    assert not started.is_alive()


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "layers.lock"
    assert not any(os.readlink(f"/proc/self/fd/{fd}").startswith(str(tmp_path)) for fd in fds())


def fds() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{fd}")]


def test_readers_share_and_a_writer_excludes_other_processes(path: Path) -> None:
    lock = RecordLock(path)
    with stranger(path, "r"):
        with lock.shared(timeout=0):
            assert lock.held()
        with pytest.raises(LockBusy, match=r"layers\.lock: somebody else"):
            lock.exclusive(timeout=0)
    with stranger(path, "w"), pytest.raises(LockBusy):
        lock.shared(timeout=0.05)
    assert not lock.held()
    with lock.exclusive(timeout=0):
        pass


def test_a_stranger_waits_for_us_and_closing_other_locks_does_not_let_it_in(path: Path) -> None:
    lock = RecordLock(path)
    with lock.exclusive(), stranger(path, "w", waits=True) as process:
        # Another object for the path, spelled otherwise, uses the one descriptor: closing a second
        # one would drop the process' lock.
        again = RecordLock(str(path.parent) + "/./" + path.name)
        again.exclusive().release()
        assert process.poll() is None


def test_a_link_to_the_directory_is_the_same_lock(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with RecordLock(path).exclusive():
        results: list[object] = []

        def attempt() -> None:
            try:
                RecordLock(tmp_path / "link" / path.name).shared(timeout=0)
            except LockBusy as error:
                results.append(error)

        with thread(attempt):
            pass
        assert len(results) == 1


def test_threads_exclude_each_other(path: Path) -> None:
    lock = RecordLock(path)
    inside = 0
    most = 0
    total = 0

    def work() -> None:
        nonlocal inside, most, total
        for _ in range(50):
            with lock.exclusive():
                inside += 1
                most = max(most, inside)
                total += 1
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (most, total) == (1, 300)


def test_readers_of_a_process_are_in_together(path: Path) -> None:
    lock = RecordLock(path)
    meeting = threading.Barrier(4, timeout=10)

    def read() -> None:
        with lock.shared():
            meeting.wait()

    with thread(read), thread(read), thread(read), lock.shared():
        meeting.wait()


def test_a_waiting_writer_comes_before_new_readers(path: Path) -> None:
    lock = RecordLock(path)
    order: list[str] = []
    hold = lock.shared()

    def write() -> None:
        with lock.exclusive():
            order.append("writer")

    def read() -> None:
        with lock.shared():
            order.append("reader")

    with thread(write):
        while not lock._file._waiting_writers:
            time.sleep(0)
        with thread(read):
            # The reader that holds it may nest meanwhile; a new one may not enter.
            with lock.shared():
                assert order == []
            hold.release()
    assert order == ["writer", "reader"]


def test_overlapping_readers_make_way_for_other_processes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_READER_GROUP_SECONDS", 0.02)
    lock = RecordLock(path)
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            with lock.shared():
                stop.wait(0.01)

    with thread(read), thread(read), thread(read):
        # It gets the lock at all: without the pause of the readers it may never.
        with stranger(path, "w"):
            pass
        stop.set()


def test_nesting(path: Path) -> None:
    lock = RecordLock(path)
    with lock.exclusive():
        with lock.exclusive(), lock.shared():
            pass
        with stranger(path, "w", waits=True) as process:
            assert process.poll() is None
    with lock.shared(), lock.shared():
        with pytest.raises(RuntimeError, match="exclusive"):
            lock.exclusive()
    assert not lock.held()


def test_processes_count_without_losing_one(path: Path, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    argv = [sys.executable, "-c", COUNTER, str(path), str(counter)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [subprocess.Popen(argv, env=env) for _ in range(3)]
    lock = RecordLock(path)
    for _ in range(200):
        with lock.exclusive():
            counter.write_text(str(int(counter.read_text()) + 1))
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert counter.read_text() == "800"


def test_a_killed_holder_leaves_the_lock_free(path: Path) -> None:
    with stranger(path, "w") as process:
        process.kill()
        process.wait()
        with RecordLock(path).exclusive(timeout=5):
            pass


def test_running_a_program_does_not_drop_the_lock(path: Path) -> None:
    lock = RecordLock(path)
    with lock.exclusive():
        subprocess.run(["true"], check=True)
        probe = "import fcntl,sys; fcntl.lockf(open(sys.argv[1],'r+'), fcntl.LOCK_EX|fcntl.LOCK_NB)"
        argv = [sys.executable, "-ISc", probe, str(path)]
        assert subprocess.run(argv, capture_output=True).returncode != 0


def test_tokens(path: Path) -> None:
    lock = RecordLock(path)
    with lock.shared():
        assert lock.token() == b""
        with pytest.raises(RuntimeError):
            lock.write_token()
    with lock.exclusive():
        before = time.time_ns()
        token = lock.write_token()
        assert not lock.changed_since(token)
        assert lock.changed_since(b"")
    assert path.read_bytes() == token
    made, counter, pid = struct.unpack("<QQI", token[:20])
    assert before <= made <= time.time_ns()
    assert counter > 0
    assert pid == os.getpid()
    # The form that older writers use: 64 hexadecimal characters.
    path.write_bytes(b"ab" * 32)
    with lock.shared():
        assert lock.token() == b"ab" * 32
        assert lock.changed_since(token)
    with pytest.raises(RuntimeError):
        lock.token()


def test_new_tokens_differ() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert {len(token) for token in tokens} == {64}


def test_lock_files_are_made_with_their_directory(tmp_path: Path) -> None:
    path = tmp_path / "G" / "layers" / "layers.lock"
    with RecordLock(path).exclusive():
        assert path.stat().st_size == 0
    assert path.stat().st_mode & 0o777 == 0o644 & ~current_umask()
    assert path.parent.stat().st_mode & 0o777 == 0o700


def current_umask() -> int:
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("Umask:")).split()[1], 8)


def test_read_only_stores_have_shared_locks_only(path: Path) -> None:
    path.write_bytes(b"t" * 64)
    lock = RecordLock(path, read_only=True)
    with lock.shared():
        assert lock.token() == b"t" * 64
    with pytest.raises(LockFailed, match="read-only store"):
        lock.exclusive()
    with RecordLock(path).exclusive():
        pass


def test_a_directory_is_no_lock_file(tmp_path: Path) -> None:
    with pytest.raises(LockFailed, match="opening lock file"):
        RecordLock(tmp_path).exclusive()

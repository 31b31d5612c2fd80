"""Worker processes: the same result as here, several at a time, and what happens when one dies."""

from __future__ import annotations

import gzip
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.tars import Reader, archive, directory, member, reader, tree

from trilby.storage import unpack_pool
from trilby.storage.assemble import assemble
from trilby.storage.tarerrors import CorruptLayer, LayerWriteError
from trilby.storage.unpack import Owners, unpack, warm_up

OWNERS = Owners(ignore_chown_errors=True)


def layer(seed: int, files: int = 300) -> bytes:
    numbers = random.Random(seed)
    parts = [directory(b"d%d" % n) for n in range(10)]
    for n in range(files):
        size = numbers.randrange(20_000)
        parts.append(member(b"d%d/f%d" % (n % 10, n), numbers.randbytes(size)))
    return archive(*parts)


def test_workers_and_threads_agree(tmp_path: Path) -> None:
    data = layer(1)
    packed = gzip.compress(data, 1)
    results = {}
    for where in ("thread", "worker", "auto"):
        root = tmp_path / where
        root.mkdir()
        journal = str(tmp_path / f"{where}.gz")
        results[where] = unpack(
            reader(packed), str(root), tar_split=journal, owners=OWNERS, where=where
        )
        assert b"".join(assemble(journal, [str(root)])) == data
    assert results["thread"] == results["worker"] == results["auto"]
    assert tree(tmp_path / "thread") == tree(tmp_path / "worker") == tree(tmp_path / "auto")


def test_more_layers_than_workers(tmp_path: Path) -> None:
    warm_up(2)
    packed = [gzip.compress(layer(n), 1) for n in range(6)]

    def one(number: int) -> str:
        root = tmp_path / str(number)
        root.mkdir()
        return unpack(reader(packed[number]), str(root), owners=OWNERS, where="worker").diff_id

    with ThreadPoolExecutor(6) as threads:
        digests = list(threads.map(one, range(6)))
    assert len(set(digests)) == 6
    assert all(len(os.listdir(tmp_path / str(number))) == 10 for number in range(6))


def test_without_a_free_worker_the_caller_unpacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack_pool, "_PATIENCE", 0.0)
    monkeypatch.setattr(unpack_pool, "pool", unpack_pool.Pool(0))
    root = tmp_path / "root"
    root.mkdir()
    unpack(reader(layer(2)), str(root), owners=OWNERS, where="worker")
    assert len(os.listdir(root)) == 10


def after(count: int, source: Reader, pids: list[int]) -> Reader:
    """A source during which, after `count` reads, the workers are killed."""
    left = iter(range(count))

    def read(size: int) -> bytes:
        if next(left, None) is None:
            while pids:
                os.kill(pids.pop(), signal.SIGKILL)
        return source(min(size, 20_000))

    return read


def test_a_killed_worker_is_reported_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = unpack_pool.Pool(1)
    monkeypatch.setattr(unpack_pool, "pool", pool)
    pool.warm_up(1)
    (worker,) = pool._idle
    root = tmp_path / "root"
    root.mkdir()
    source = after(30, reader(layer(3)), [worker._child.pid])
    with pytest.raises(LayerWriteError, match="killed by SIGKILL"):
        unpack(source, str(root), owners=OWNERS, where="worker")
    again = tmp_path / "again"
    again.mkdir()
    unpack(reader(layer(3)), str(again), owners=OWNERS, where="worker")
    # One that died while it was idle is not noticed by anybody.
    (worker,) = pool._idle
    os.kill(worker._child.pid, signal.SIGKILL)
    third = tmp_path / "third"
    third.mkdir()
    unpack(reader(layer(3)), str(third), owners=OWNERS, where="worker")
    assert tree(again) == tree(third)
    pool.close()


def test_errors_come_through(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(CorruptLayer, match="wrong checksum of the header of"):
        good, bad = layer(4).removesuffix(bytes(1024)), member(b"f", b"x")
        unpack(
            reader(good + b"g" + bad[1:]),
            str(root),
            owners=OWNERS,
            where="worker",
        )


def test_idle_workers_that_left_are_buried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to ask for another one: no zombie and no pipe stays."""
    monkeypatch.setattr(unpack_pool, "_TIDY", 0.1)
    pool = unpack_pool.Pool(1)
    pipes = len(os.listdir("/proc/self/fd"))
    pool.warm_up(1)
    [worker] = pool._idle
    os.kill(worker._child.pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while pool._idle and time.monotonic() < end:
        time.sleep(0.01)
    assert pool._idle == []
    assert len(os.listdir("/proc/self/fd")) == pipes
    assert not os.path.exists(f"/proc/{worker._child.pid}")
    pool.close()

"""Several users of one set of records see each other's changes, and only then read again."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import msgspec
import pytest

from trilby.storage.recordfile import RecordFile
from trilby.storage.records import Layer
from trilby.storage.recordstore import RecordStore, Snapshot
from trilby.system.errors import LockFailed

DECODER = msgspec.json.Decoder(list[Layer])


def opened(folder: Path, *, read_only: bool = False) -> RecordStore[Layer]:
    return RecordStore(
        str(folder / "layers.lock"),
        RecordFile(str(folder / "layers.json"), DECODER),
        RecordFile(str(folder / "volatile-layers.json"), DECODER, durable=False),
        read_only=read_only,
    )


def add(store: RecordStore[Layer], identity: str, *, volatile: bool = False) -> None:
    with store.writing() as layers:
        store.save(layers.with_record(Layer(id=identity), volatile=volatile))


def test_changes_of_another_user_are_seen(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    add(one, "a")
    assert [layer.id for layer in two.snapshot().records] == ["a"]
    add(two, "b")
    assert [layer.id for layer in one.snapshot().records] == ["a", "b"]
    assert len((tmp_path / "layers.lock").read_bytes()) == 64


def test_nothing_is_read_again_without_need(tmp_path: Path) -> None:
    store = opened(tmp_path)
    add(store, "a")
    assert store.snapshot() is store.snapshot()


def test_an_edit_by_hand_is_seen(tmp_path: Path) -> None:
    store = opened(tmp_path)
    add(store, "a")
    path = tmp_path / "layers.json"
    path.write_bytes(msgspec.json.encode([Layer(id="edited")]))
    os.utime(path, ns=(1, 1))
    assert [layer.id for layer in store.snapshot().records] == ["edited"]


def test_a_token_of_another_user_means_reading_again(tmp_path: Path) -> None:
    store = opened(tmp_path)
    add(store, "a")
    before = store.snapshot()
    (tmp_path / "layers.lock").write_bytes(os.urandom(64))
    assert store.snapshot() is not before


def test_volatile_records_have_their_own_file(tmp_path: Path) -> None:
    store = opened(tmp_path)
    add(store, "a")
    stamp = (tmp_path / "layers.json").stat().st_ino
    add(store, "b", volatile=True)
    assert (tmp_path / "layers.json").stat().st_ino == stamp
    assert DECODER.decode((tmp_path / "volatile-layers.json").read_bytes())[0].id == "b"
    snapshot = opened(tmp_path).snapshot()
    assert list(snapshot.by_id) == ["a", "b"] and snapshot.volatile == {"b"}
    with store.writing() as layers:
        store.save(layers.without(["b"]))
    assert list(opened(tmp_path).snapshot().by_id) == ["a"]


def test_the_first_of_two_records_with_one_id_counts(tmp_path: Path) -> None:
    (tmp_path / "layers.json").write_bytes(msgspec.json.encode([Layer(id="a", parent="x")]))
    (tmp_path / "volatile-layers.json").write_bytes(msgspec.json.encode([Layer(id="a")]))
    snapshot = opened(tmp_path).snapshot()
    assert snapshot.by_id["a"].parent == "x" and not snapshot.volatile


def test_finding() -> None:
    first = Layer(id="aa11", names=("n", "both"))
    second = Layer(id="aa22", names=("both",))
    snapshot = Snapshot([first, second])
    assert snapshot.find("aa11") is first
    assert snapshot.find("n") is first
    assert snapshot.find("both") is second
    assert snapshot.find("aa2") is second
    assert snapshot.find("aa") is None
    assert snapshot.find("") is None
    assert snapshot.find("zz") is None


def test_a_read_only_store_is_not_written(tmp_path: Path) -> None:
    add(opened(tmp_path / "made"), "a")
    store = opened(tmp_path / "other", read_only=True)
    (tmp_path / "other" / "layers.lock").parent.mkdir(exist_ok=True)
    with pytest.raises(LockFailed), store.writing():
        pass


def test_threads_lose_nothing(tmp_path: Path) -> None:
    stores = [opened(tmp_path), opened(tmp_path)]

    def work(number: int) -> None:
        for step in range(5):
            add(stores[number % 2], f"{number}-{step}", volatile=bool(step % 2))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened(tmp_path).snapshot().records) == 20


def test_a_failed_save_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(tmp_path)
    add(store, "a")
    monkeypatch.setattr(RecordFile, "save", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError):
        add(store, "b")
    monkeypatch.undo()
    assert [layer.id for layer in store.snapshot().records] == ["a"]

"""Records are read and written as containers/storage does, and lose nothing on the way."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from trilby.storage.errors import StoreCorrupt
from trilby.storage.recordfile import RecordFile
from trilby.storage.records import (
    UNKNOWN_TIME,
    Container,
    Image,
    Layer,
    format_time,
    now,
    parse_time,
)

LAYER_BY_PODMAN = (
    b'[{"id":"69fcdb3daf05cfba7975784ef70090c0d4bbc9a164fdbedbcf5133907d78c9c2",'
    b'"created":"2026-11-24T03:16:57.908503912Z",'
    b'"compressed-diff-digest":"sha256:69fc","compressed-size":10240,'
    b'"diff-digest":"sha256:69fc","diff-size":10240,"uidset":[0],"gidset":[0]}]'
)
IMAGE_BY_PODMAN = (
    b'[{"id":"a32f","digest":"sha256:d7e2","names":["localhost/x:latest"],'
    b'"names-history":["localhost/x:latest"],"layer":"69fc","metadata":"{}",'
    b'"big-data-names":["sha256:a32f","manifest"],"big-data-sizes":{"manifest":425},'
    b'"big-data-digests":{"manifest":"sha256:d7e2"},"created":"2026-11-24T03:16:57.951853606Z"}]'
)


def layer_file(path: Path, data: bytes) -> RecordFile[Layer]:
    path.write_bytes(data)
    return RecordFile(str(path), msgspec.json.Decoder(list[Layer]))


def test_a_layer_by_podman_comes_out_byte_for_byte(tmp_path: Path) -> None:
    file = layer_file(tmp_path / "layers.json", LAYER_BY_PODMAN)
    layers = file.load()
    assert layers[0].diff_size == 10240 and layers[0].uids == (0,)
    file.save(layers)
    assert (tmp_path / "layers.json").read_bytes() == LAYER_BY_PODMAN
    assert (tmp_path / "layers.json").stat().st_mode & 0o777 == 0o600


def test_an_image_by_podman_comes_out_byte_for_byte() -> None:
    images = msgspec.json.decode(IMAGE_BY_PODMAN, type=list[Image])
    assert images[0].digests == ("sha256:d7e2",)
    assert msgspec.json.encode(images) == IMAGE_BY_PODMAN


def test_what_is_never_omitted() -> None:
    assert json.loads(msgspec.json.encode(Container(id="c"))) == {
        "id": "c",
        "image": "",
        "layer": "",
        "created": UNKNOWN_TIME,
    }
    assert json.loads(msgspec.json.encode(Layer(id="l"))) == {"id": "l", "created": UNKNOWN_TIME}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(extra=st.dictionaries(st.text(min_size=1).map("x-".__add__), JSON, max_size=4))
def test_unknown_fields_survive_a_change(
    tmp_path_factory: pytest.TempPathFactory, extra: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("records") / "layers.json"
    plain = {"id": "b" * 64, "created": UNKNOWN_TIME}
    strange = {"id": "a" * 64, "created": UNKNOWN_TIME, **extra}
    file = layer_file(path, json.dumps([strange, plain]).encode())
    layers = file.load()
    file.save([replace(layers[0], names=("new",)), layers[1]])
    assert json.loads(path.read_bytes()) == [{**strange, "names": ["new"]}, plain]
    # And again, from what was written just now.
    file.save(file.load())
    assert json.loads(path.read_bytes())[0] == {**strange, "names": ["new"]}


@pytest.mark.parametrize("data", [b"{}", b'[{"id": 1}]', b"[{", b'[{"names": []}]', b"\xff"])
def test_a_damaged_file_is_named(tmp_path: Path, data: bytes) -> None:
    file = layer_file(tmp_path / "layers.json", data)
    with pytest.raises(StoreCorrupt, match=r"layers\.json"):
        file.load()


def test_an_empty_file_is_no_records(tmp_path: Path) -> None:
    assert layer_file(tmp_path / "layers.json", b"").load() == []
    (tmp_path / "layers.json").unlink()
    assert layer_file(tmp_path / "layers.json", b"\n").load() == []


def test_flags_keep_their_types() -> None:
    text = b'[{"id":"l","created":"0001-01-01T00:00:00Z","flags":{"a":true,"b":["x"],"c":"t"}}]'
    layers = msgspec.json.decode(text, type=list[Layer])
    assert layers[0].flags == {"a": True, "b": ["x"], "c": "t"}
    assert msgspec.json.encode(layers) == text


@given(st.integers(0, 4_000_000_000 * 10**9))
def test_times_go_round(ns: int) -> None:
    assert parse_time(format_time(ns)) == ns


def test_times_as_go_writes_them() -> None:
    assert format_time(1_700_000_000_120_000_000) == "2023-11-14T22:13:20.12Z"
    assert format_time(1_700_000_000 * 10**9) == "2023-11-14T22:13:20Z"
    assert parse_time("2023-11-14T23:13:20.12+01:00") == 1_700_000_000_120_000_000
    assert parse_time(UNKNOWN_TIME) == 0
    assert parse_time(now()) > 0
    with pytest.raises(ValueError):
        parse_time("yesterday")

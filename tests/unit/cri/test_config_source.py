"""Reading the daemon's files again: all or nothing, and what needs a restart stays."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from trilby.cri.config import DaemonConfig
from trilby.cri.config_load import all_options, changes, load, values_of
from trilby.cri.config_source import ConfigFiles, merged
from trilby.errors import InvalidInput
from trilby.pods.config import CgroupManager, RuntimeHandler
from trilby.pods.config_option import Scope


class Taker:
    """Stands where the daemon stands."""

    def __init__(self) -> None:
        self.taken: list[DaemonConfig] = []

    def apply(self, config: DaemonConfig) -> None:
        self.taken.append(config)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "storage.conf").write_text("")
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))
    path = tmp_path / "trilby.conf"
    path.write_text('[trilby.runtime]\nlog_level = "info"\n')
    return path


BEFORE = """\
[trilby.runtime]
log_level = "info"
[trilby.runtime.runtimes.x]
runtime_path = "/a"
runtime_root = "/ra"
"""
AFTER = """\
[trilby]
root = "/elsewhere"
[trilby.api]
listen = "/run/other.sock"
[trilby.runtime]
log_level = "debug"
pids_limit = 7
typo = 1
[trilby.runtime.runtimes.x]
runtime_path = "/b"
runtime_root = "/rb"
[trilby.runtime.runtimes.y]
[trilby.network]
bridge_name = "other0"
"""


async def test_what_may_change_changes_and_the_rest_stays(file: Path) -> None:
    file.write_text(BEFORE)
    levels: list[str] = []
    taker = Taker()
    source = ConfigFiles(file, then=lambda config: levels.append(config.log_level))
    before = source.current()
    file.write_text(AFTER)
    told = await source.reload(taker)
    (config,) = taker.taken
    assert config == source.current()
    assert levels == ["debug"]
    assert told.applied == ["trilby.runtime.log_level"]
    assert told.restart == [
        "trilby.root",
        "trilby.api.listen",
        "trilby.network.bridge_name",
        "trilby.runtime.runtimes.x.runtime_root",
    ]
    assert "trilby.runtime.pids_limit" in told.new_pods
    assert "trilby.runtime.runtimes.y.runtime_path" in told.new_pods
    assert [warning.partition(": ")[2] for warning in told.warnings] == [
        "unknown option trilby.runtime.typo"
    ]
    assert (config.log_level, config.engine.pids_limit) == ("debug", 7)
    assert (config.root, config.listen) == (before.root, before.listen)
    assert config.engine.root == before.engine.root
    assert config.engine.bridge_name == "trilby0"
    assert config.engine.runtimes["x"] == RuntimeHandler(name="x", path="/b", root="/ra")
    assert config.engine.runtimes["y"] == RuntimeHandler(name="y")
    rows = {row.key: row for row in source.describe()}
    assert rows["trilby.runtime.log_level"].origin == f"{file}:6:1"
    assert rows["trilby.api.listen"].origin == "built in default"
    # What needs a restart is told again.
    assert (await source.reload(taker)).restart == told.restart


async def test_nothing_changes_when_anything_is_wrong(file: Path) -> None:
    source, taker = ConfigFiles(file), Taker()
    before = source.current(), source.describe()
    for text in (
        '[trilby.runtime]\nlog_level = "debug"\npids_limit = "x"\n',
        '[trilby.runtime]\nlog_level = "debug"\ndefault_runtime = "nope"\n',
        "[trilby\n",
    ):
        file.write_text(text)
        with pytest.raises(InvalidInput, match=f"^{file}:"):
            await source.reload(taker)
    file.unlink()
    with pytest.raises(InvalidInput):
        await source.reload(taker)
    assert taker.taken == []
    assert (source.current(), source.describe()) == before


def test_every_option_is_kept_or_taken(file: Path) -> None:
    """With two configurations that differ in everything, only what needs a restart is the old's."""
    old = load(file).config
    other = {key: _another(key, value) for key, value in values_of(old).items()}
    daemon = {
        declared.field: other[key]
        for key, declared in all_options().items()
        if key in other and hasattr(old, declared.field)
    }
    engine = {
        declared.field: other[key]
        for key, declared in all_options().items()
        if key in other and hasattr(old.engine, declared.field) and declared.field not in daemon
    }
    new = msgspec.structs.replace(
        old, engine=msgspec.structs.replace(old.engine, **engine), **daemon
    )
    assert len(changes(old, new)) == sum(
        not key.startswith("trilby.runtime.runtimes.") for key in other
    )
    result = merged(old, new)
    assert {change.scope for change in changes(old, result)} == {Scope.LIVE, Scope.NEW_PODS}
    assert {change.scope for change in changes(result, new)} == {Scope.RESTART}


def _another(key: str, value: object) -> object:
    if isinstance(value, CgroupManager):
        return next(each for each in CgroupManager if each is not value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    return (*value, "x") if isinstance(value, tuple) else {"a": "b"}

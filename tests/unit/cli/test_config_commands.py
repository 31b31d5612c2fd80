"""trilby config default, show, diff and reload."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trilby.cli.main import root_group, run
from trilby.cri.config import DaemonConfig
from trilby.cri.config_load import all_options, load, values_of
from trilby.cri.config_source import ConfigFiles
from trilby.cri.config_text import default_file
from trilby.cri.http import make_runner


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "storage.conf").write_text("")
    (tmp_path / "trilby.conf").write_text(
        f'[trilby.api]\nlisten = "{tmp_path}/s"\n[trilby.runtime]\nlog_level = "debug"\n'
    )
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))
    for name in ("TRILBY_HOST", "CONTAINER_RUNTIME_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def trilby(place: Path, *words: str) -> int:
    return run(root_group(), ["--config", f"{place}/trilby.conf", "config", *words])


def test_default_is_a_whole_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "trilby.conf").write_text("[nonsense")
    assert trilby(place, "default") == 0
    text = capsys.readouterr().out
    assert text == default_file()
    for key in all_options():
        assert f"\n#{key.rpartition('.')[2]} = " in text


def test_show(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trilby(place, "show") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["OPTION", "VALUE", "ORIGIN"]
    assert [line.split()[0] for line in lines[1:]] == list(
        values_of(load(place / "trilby.conf").config)
    )
    assert trilby(place, "show", "--changed") == 0
    shown = capsys.readouterr().out.splitlines()[1:]
    assert [line.split() for line in shown] == [
        ["trilby.api.listen", f"{place}/s", f"{place}/trilby.conf:2:1"],
        ["trilby.runtime.log_level", "debug", f"{place}/trilby.conf:4:1"],
    ]
    assert trilby(place, "show", "--sources") == 0
    assert capsys.readouterr().out == f"{place}/trilby.conf\n"
    template = "{{.Value}} {{.Scope}} {{.Default}}"
    assert trilby(place, "show", "trilby.runtime.log_level", "--format", template) == 0
    assert capsys.readouterr().out == "debug live false\n"
    assert trilby(place, "show", "trilby.tracing", "--format", "json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 3


def test_show_of_what_is_not_there(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trilby(place, "show", "trilby.api.liste") == 2
    assert "no option trilby.api.liste; did you mean listen?" in capsys.readouterr().err
    (place / "trilby.conf").write_text("[trilby.api]\nlisten = 1\n")
    assert trilby(place, "show") == 2
    assert f"{place}/trilby.conf:2:1: trilby.api.listen" in capsys.readouterr().err
    (place / "trilby.conf").write_text("[trilby.api]\nliste = 1\n")
    assert trilby(place, "show", "trilby.stats") == 0
    assert f"Warning: {place}/trilby.conf:2:1: unknown option" in capsys.readouterr().err


def test_global_flags_are_origins(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        *("--config", f"{place}/trilby.conf", "--root", "/r", "--runroot", "/rr"),
        *("--storage-driver", "vfs", "--storage-opt", "a=b", "--runtime", "/opt/fast"),
        *("--conmon", "/c", "--cgroup-manager", "cgroupfs", "--network-config-dir", "/n"),
        *("config", "show", "--format", "{{.Key}} {{.Value}} {{.Origin}}"),
    ]
    assert run(root_group(), words) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if line.endswith(" flag")]
    assert shown == [
        "trilby.root /r flag",
        "trilby.runroot /rr flag",
        "trilby.storage_driver vfs flag",
        'trilby.storage_option ["a=b"] flag',
        "trilby.runtime.default_runtime fast flag",
        "trilby.runtime.conmon /c flag",
        "trilby.runtime.cgroup_manager cgroupfs flag",
        'trilby.network.network_dir ["/n"] flag',
        "trilby.runtime.runtimes.fast.runtime_path /opt/fast flag",
    ]


def test_diff(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def rows() -> list[list[str]]:
        return [line.split() for line in capsys.readouterr().out.splitlines()]

    assert trilby(place, "diff", "-n") == 0
    assert rows() == [
        ["trilby.api.listen", '"/run/trilby/trilby.sock"', f'"{place}/s"', "restart"],
        ["trilby.runtime.log_level", '"info"', '"debug"', "live"],
    ]
    other = place / "other.conf"
    other.write_text(
        f'[trilby.api]\nlisten = "{place}/s"\nsocket_mode = "0600"\n[trilby.runtime.runtimes.x]\n'
    )
    assert trilby(place, "diff", "-n", str(other)) == 0
    assert [row[0] for row in rows()] == [
        "trilby.api.listen",
        "trilby.api.socket_mode",
        "trilby.runtime.runtimes.x.runtime_path",
    ]
    assert trilby(place, "diff", "-n", f"{place}/trilby.conf", str(other)) == 0
    assert rows() == [
        ["trilby.api.socket_mode", '"0660"', '"0600"', "restart"],
        ["trilby.runtime.log_level", '"debug"', '"info"', "live"],
        ["trilby.runtime.runtimes.x.runtime_path", '""', "new", "pods"],
    ]
    assert trilby(place, "diff", str(other), "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)[1] == {
        **{"key": "trilby.api.socket_mode", "old": 0o660, "new": 0o600, "scope": "restart"}
    }
    assert trilby(place, "diff", "a", "b", "c") == 2
    assert trilby(place, "diff", "--host", "/x", "a") == 2


class Daemon:
    """The daemon's pages about its configuration, and nothing else of it."""

    def __init__(self, file: Path) -> None:
        self.files = ConfigFiles(file)
        self.applied: list[DaemonConfig] = []

    def apply(self, config: DaemonConfig) -> None:
        self.applied.append(config)

    def config(self) -> object:
        return self.files.describe()

    async def reload(self) -> object:
        return await self.files.reload(self)

    def __getattr__(self, name: str) -> Callable[..., object]:
        """The pages that nobody asks for here."""
        return lambda *arguments: {}


@pytest.fixture
def daemon(place: Path) -> Iterator[Daemon]:
    daemon = Daemon(place / "trilby.conf")
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        from aiohttp import web

        runner = await make_runner(daemon)  # type: ignore[arg-type]
        await web.UnixSite(runner, f"{place}/s").start()
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(30)
    yield daemon
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


def test_reload(place: Path, daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert trilby(place, "reload") == 0
    assert capsys.readouterr().out == "nothing has changed\n"
    (place / "trilby.conf").write_text(
        f'[trilby.api]\nlisten = "{place}/s"\nstream_port = 5\n[trilby.runtime]\npids_limit = 3\nx=1\n'
    )
    assert trilby(place, "diff", "-n", "--host", f"unix://{place}/s") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "trilby.api.stream_port",
        "trilby.runtime.log_level",
        "trilby.runtime.pids_limit",
    ]
    assert trilby(place, "reload") == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "trilby.runtime.log_level: taken over",
        "trilby.runtime.pids_limit: taken over, for new pods",
        "trilby.api.stream_port: needs a restart of the daemon",
    ]
    assert f"Warning: {place}/trilby.conf:6:1: unknown option trilby.runtime.x" in said.err
    assert daemon.applied[-1].engine.pids_limit == 3
    assert trilby(place, "reload", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["restart"] == ["trilby.api.stream_port"]
    shown = ["show", "--host", f"{place}/s", "--format", "{{.Value}} {{.Origin}}"]
    assert trilby(place, *shown, "trilby.runtime.pids_limit") == 0
    assert trilby(place, *shown, "trilby.api.stream_port") == 0
    assert capsys.readouterr().out == f"3 {place}/trilby.conf:5:1\n0 built in default\n"


def test_a_daemon_refuses_what_is_wrong(
    place: Path, daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "trilby.conf").write_text(f'[trilby]\nx\n[trilby.api]\nlisten = "{place}/s"\n')
    assert trilby(place, "reload", "--host", f"{place}/s") == 2
    assert f"Error: {place}/trilby.conf:2:2: Expected" in capsys.readouterr().err
    assert daemon.applied == []


def test_files_that_cannot_say_where_the_daemon_is(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "trilby.conf").write_text(f'[trilby.api]\nlisten = "{place}/s"\nstream_port = x\n')
    assert trilby(place, "reload") == 2
    assert f"Error: {place}/trilby.conf:3:15: " in capsys.readouterr().err


def test_no_daemon_is_there(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trilby(place, "reload") == 5
    assert f"no daemon runs: there is no socket {place}/s" in capsys.readouterr().err

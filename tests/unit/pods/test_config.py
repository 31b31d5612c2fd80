"""trilby.conf: options, drop-ins, and mistakes with their lines."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from trilby.pods.config import CgroupManager, EngineConfig, RuntimeHandler
from trilby.pods.config_load import load_config, with_runtime
from trilby.pods.config_option import options_of
from trilby.pods.errors import HandlerUnknown, InvalidEngineConfig
from trilby.pods.runtime import Runtimes

TEXT = """\
[trilby.runtime]
default_runtime = "fast"
cgroup_manager = "systemd"
pids_limit = 500
read_only = true
default_sysctls = ["net.ipv4.ping_group_range=0 0"]
typo = 1

[trilby.runtime.runtimes.fast]
runtime_path = "/opt/fast"
monitor_env = ["A=b=c"]

[trilby.network]
network_dir = "/etc/cni/other"
plugin_dirs = ["/opt/a", "/opt/b"]

[trilby.api]
listen = "ignored here"
"""


def test_a_file_and_its_drop_ins(tmp_path: Path) -> None:
    main = tmp_path / "trilby.conf"
    main.write_text(TEXT)
    (tmp_path / "trilby.conf.d").mkdir()
    (tmp_path / "trilby.conf.d" / "10-limit.conf").write_text("[trilby.runtime]\npids_limit = 7\n")
    (tmp_path / "trilby.conf.d" / "20.conf.rpmnew").write_text("not toml")
    loaded = load_config(EngineConfig(), str(main), lambda: ["trilby.api.listen"])
    config = loaded.config
    assert (config.default_runtime, config.pids_limit, config.read_only) == ("fast", 7, True)
    assert config.cgroup_manager is CgroupManager.SYSTEMD
    assert config.default_sysctls == {"net.ipv4.ping_group_range": "0 0"}
    assert config.runtimes["fast"].path == "/opt/fast"
    assert config.runtimes["fast"].monitor_env == {"A": "b=c"}
    assert {"crun", "runc"} < config.runtimes.keys()
    assert config.cni_config_dirs == ("/etc/cni/other",)
    assert loaded.warnings == (f"{main}:7:1: unknown option trilby.runtime.typo",)
    assert [Path(path).name for path in loaded.sources] == ["trilby.conf", "10-limit.conf"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("pids_limit = true", "is not a whole number"),
        ("pids_limit = '5'", "is not a whole number"),
        ("read_only = 1", "is neither true nor false"),
        ("conmon = 1", "is not a text"),
        ("cgroup_manager = 'other'", "is 'other', which is neither systemd nor cgroupfs"),
        ("default_env = [1]", "is not a list of texts"),
        ("default_env = 'A=b'", "is not a list of texts"),
        ("default_sysctls = ['novalue']", "'novalue', which is not name=value"),
        ("runtimes = 3", "is not a table"),
    ],
)
def test_wrong_values_have_their_line(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "c.conf"
    path.write_text(f"# a comment\n[trilby.runtime]\n{line}\n")
    with pytest.raises(InvalidEngineConfig, match=rf"^{path}:3:\d+: trilby\.runtime\..*{problem}"):
        load_config(EngineConfig(), str(path))


def test_a_file_that_is_no_toml_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "c.conf"
    path.write_text("[trilby\n")
    with pytest.raises(InvalidEngineConfig, match=f"{path}:1:8: "):
        load_config(EngineConfig(), str(path))
    with pytest.raises(InvalidEngineConfig, match="no such configuration file"):
        load_config(EngineConfig(), str(tmp_path / "missing.conf"))


@pytest.mark.parametrize(
    ("sample", "decided_elsewhere"),
    [
        (
            EngineConfig(),
            {"root", "run_root", "runtimes", "bridge_data_dir", "exec_output_limit"},
        ),
        (RuntimeHandler(name=""), {"name"}),
    ],
)
def test_every_field_is_an_option(sample: msgspec.Struct, decided_elsewhere: set[str]) -> None:
    fields = {declared.field for declared in options_of(sample).values()}
    assert set(sample.__struct_fields__) - fields == decided_elsewhere


def test_runtimes_are_chosen() -> None:
    config = with_runtime(EngineConfig(), "/bin/true")
    assert Runtimes(config).get(Runtimes(config).resolve("")).path == "/bin/true"
    with pytest.raises(HandlerUnknown, match="nope"):
        Runtimes(with_runtime(EngineConfig(), "nope")).resolve("")
    with pytest.raises(HandlerUnknown, match="not installed"):
        Runtimes(with_runtime(EngineConfig(), "/no/such/runtime")).resolve("")

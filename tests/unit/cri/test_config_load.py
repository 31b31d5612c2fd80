"""The daemon's configuration: every option, every kind of mistake with its place, and changes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trilby.cri import pod_metrics_table
from trilby.cri.config import POD_METRICS, DaemonConfig
from trilby.cri.config_foreign import FOREIGN
from trilby.cri.config_load import (
    BUILT_IN,
    all_options,
    changes,
    load,
    read_layers,
    values_of,
)
from trilby.cri.config_text import default_file, row_text, rows
from trilby.errors import InvalidInput
from trilby.image.context import ImageContext
from trilby.pods.config_layers import Layers
from trilby.pods.config_load import config_files
from trilby.pods.config_option import HANDLERS, NAME, Kind, Scope, options_of
from trilby.pods.config_values import convert, duration_text, toml_text
from trilby.pods.errors import InvalidEngineConfig

ENV: dict[str, str] = {}
OPTIONS = all_options()


@pytest.fixture(scope="module", autouse=True)
def own_storage_conf(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("storage") / "storage.conf"
    path.write_text("")
    ENV["CONTAINERS_STORAGE_CONF"] = str(path)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "trilby.conf"
    path.write_text(text)
    return path


@pytest.mark.parametrize("key", OPTIONS)
def test_a_default_is_a_possible_value(key: str) -> None:
    declared = OPTIONS[key]
    text = toml_text(declared.default, declared.kind)
    layers = Layers(OPTIONS)
    layers.give(key.replace(NAME, "crun"), _python(text))
    assert layers.mistakes == []
    assert layers.values == {key.replace(NAME, "crun"): declared.default}


def _python(text: str) -> object:
    import tomllib

    return tomllib.loads(f"v = {text}")["v"]


@pytest.mark.parametrize("key", OPTIONS)
def test_a_declaration_is_whole(key: str) -> None:
    option = OPTIONS[key].option
    assert re.fullmatch(r"trilby(\.[a-z_0-9]+|\.NAME)+", key)
    assert option.meaning.endswith(".") and option.meaning[0].isupper()
    assert isinstance(option.scope, Scope)


def test_every_field_of_the_daemon_is_an_option() -> None:
    fields = {declared.field for declared in options_of(DaemonConfig()).values()}
    assert set(DaemonConfig.__struct_fields__) - fields == {"engine"}


def test_the_default_file_gives_the_defaults(tmp_path: Path) -> None:
    text = default_file()
    plain = load(write(tmp_path, text), env=ENV)
    assert plain.warnings == [] and plain.config == load(Path("/dev/null"), env=ENV).config
    # And so do the values that it shows.
    uncommented = re.sub(r"^#(?=[a-z\[])", "", text, flags=re.MULTILINE)
    shown = load(write(tmp_path, uncommented), env=ENV)
    assert shown.warnings == []
    assert shown.config == msgspec.structs.replace(
        plain.config, root=shown.config.root, runroot=shown.config.runroot
    )
    built_in = {key for key, origin in shown.origins.items() if origin == BUILT_IN}
    assert built_in == {key for key in shown.origins if key.startswith(f"{HANDLERS}.runc.")}
    assert all(len(line) <= 100 for line in text.splitlines())


def test_values_and_their_origins(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        '[trilby]\nroot = "/r"\n[trilby.api]\nstream_port = "10010"\nsocket_mode = "600"\n'
        '[trilby.runtime.runtimes."fast.one"]\n  runtime_path = "/opt/fast"\n'
        '[trilby.image]\npull_progress_timeout = "1m30.5s"\n',
    )
    drop_ins = tmp_path / "other"
    drop_ins.mkdir()
    (drop_ins / "1.conf").write_text("trilby.api = {stream_port = 7}\n[trilby.runtime]\nx = 1\n")
    (drop_ins / "2.conf.rpmsave").write_text("nonsense")
    loaded = load(main, drop_ins, {"trilby.api.listen": "/run/x.sock"}, env=ENV)
    config = loaded.config
    assert (config.stream_port, config.socket_mode, config.listen) == (7, 0o600, "/run/x.sock")
    assert config.pull_progress_timeout == 90.5
    assert config.engine.runtimes["fast.one"].path == "/opt/fast"
    assert (config.root, config.engine.root) == ("/r", "/r/trilby")
    rootless = f"/run/user/{os.getuid()}/containers/trilby"
    assert config.engine.run_root == (rootless if os.getuid() else "/run/containers/storage/trilby")
    assert loaded.origins["trilby.api.stream_port"] == f"{drop_ins}/1.conf:1:15"
    assert loaded.origins["trilby.api.socket_mode"] == f"{main}:5:1"
    assert loaded.origins[f"{HANDLERS}.fast.one.runtime_path"] == f"{main}:7:3"
    assert loaded.origins["trilby.api.listen"] == "flag"
    assert loaded.origins["trilby.runroot"] == "storage.conf"
    assert loaded.origins["trilby.runtime.conmon"] == BUILT_IN
    assert loaded.sources == (str(main), f"{drop_ins}/1.conf")
    assert loaded.warnings == [f"{drop_ins}/1.conf:3:1: unknown option trilby.runtime.x"]
    assert loaded.origins.keys() == values_of(config).keys()


def test_the_store_is_that_of_storage_conf(tmp_path: Path) -> None:
    storage = tmp_path / "storage.conf"
    storage.write_text(f'[storage]\ngraphroot = "{tmp_path}/g"\nrunroot = "{tmp_path}/r"\n')
    env = {"CONTAINERS_STORAGE_CONF": str(storage)}
    config = load(Path("/dev/null"), env=env).config
    assert (config.engine.root, config.engine.run_root) == (
        f"{tmp_path}/g/trilby",
        f"{tmp_path}/r/trilby",
    )
    assert config.storage_config(env).graphroot == f"{tmp_path}/g"


@pytest.mark.parametrize(
    ("table", "line", "problem"),
    [
        ("api", "listen = 'x.sock'", "is 'x.sock', which is not an absolute path"),
        ("api", "listen = 'unix:///run/x'", "which is an address"),
        ("api", f"listen = '/{'x' * 107}'", "which is longer than the 107 bytes"),
        ("api", "socket_mode = 0o660", 'is not a file mode as "0660"'),
        ("api", "stream_port = 65536", "the largest possible is 65535"),
        ("api", "stream_port = '-1'", "is not a whole number"),
        ("api", "stream_enable_tls = 'yes'", "is neither true nor false"),
        ("api", "stream_idle_timeout = '4 hours'", "is not a duration"),
        ("api", "stream_idle_timeout = -1", "possible is 0 to"),
        ("api", "stream_idle_timeout = nan", "possible is 0 to"),
        ("api", "stream_address = 'http://x'", "is neither an address nor a host name"),
        ("api", "tls_min_version = 'VersionTLS10'", "neither VersionTLS12 nor VersionTLS13"),
        ("api", "grpc_max_recv_msg_size = 1", "the smallest possible is 1048576"),
        ("api", "grpc_max_recv_msg_size = 1.5", "is not a whole number"),
        ("runtime", "log_level = 'loud'", "which is none of trace, debug, info"),
        ("runtime", "default_env = ['A']", "has 'A', which is not NAME=value"),
        ("runtime", "default_env = ['A=\\u0000']".replace("'", '"'), "a null character"),
        ("runtime", "default_capabilities = ['CHWON']", "unknown capability 'CHWON'"),
        ("runtime", "default_ulimits = ['nofile=5:4']", "the soft limit is above the hard one"),
        ("runtime", "default_sysctls = ['vm.swappiness=1']", "which is of the whole host"),
        ("runtime", "default_sysctls = ['net.a']", "'net.a', which is not name=value"),
        ("runtime", "pids_limit = 9223372036854775808", "the largest possible is 92233720368547"),
        ("runtime", "conmon = './conmon'", "is not an absolute path"),
        ("runtime", "runtimes = 1", "is not a table"),
        ("runtime", "runtimes.x = 1", "is not a table"),
        ("runtime", "runtimes.'a/b' = {}", "is not a name for a runtime handler"),
        ("runtime", "runtimes.x.runtime_path = 1", "is not a text"),
        ("runtime", "default_runtime = 'nope'", "there is no such table"),
        ("network", "bridge_name = 'a-very-long-name'", "longer than the 15 bytes"),
        ("network", "bridge_name = 'a b'", "is not a name for a network link"),
        ("network", "bridge_subnet = '10.0.0.1/16'", "is not a subnet"),
        ("network", "bridge_subnet = '10.0.0.0/30'", "is too small a subnet"),
        ("network", "bridge_subnet = 'fd00::/64'", "is not an IPv4 subnet"),
        ("network", "bridge_subnet_v6 = '10.0.0.0/16'", "is not an IPv6 subnet"),
        ("network", "network_dir = ['net.d']", "is not an absolute path"),
        ("image", "default_transport = 'docker:'", "and only docker:// is possible"),
        ("image", "pinned_images = ['a*b']", "has a * that is neither at its end"),
        ("image", "pinned_images = ['**']", "names nothing"),
        ("image", "insecure_registries = ['h:x']", "is not host:port"),
        ("image", "max_parallel_layers = 0", "the smallest possible is 1"),
        ("metrics", "metrics_cert = '/c'", "has no key"),
        ("metrics", "metrics_key = '/k'", "has no certificate"),
        ("stats", "included_pod_metrics = ['cpus']", "has 'cpus', which is none of all"),
        ("tracing", "tracing_endpoint = 'collector'", "is not host:port"),
        ("tracing", "tracing_endpoint = 'c:0'", "a port that is not between"),
        ("tracing", "tracing_sampling_rate_per_million = 2000000", "the largest possible"),
    ],
)
def test_wrong_values_have_their_place(tmp_path: Path, table: str, line: str, problem: str) -> None:
    path = write(tmp_path, f"# a comment\n[trilby.{table}]\n{line}\n")
    with pytest.raises(InvalidEngineConfig, match=re.escape(problem)) as caught:
        load(path, env=ENV)
    message = caught.value.message
    # Of a list it is the item's.
    column = line.find("[") + 2 if " has '" in message else 1
    assert re.match(rf"{path}:3:{column}: trilby\.{table}\.\w+", message)


def test_the_item_of_a_list_has_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, '[trilby.runtime]\ndefault_env = [\n  "A=b", # one\n  "C",\n]\n')
    with pytest.raises(InvalidEngineConfig, match=f"^{path}:4:3: .* has 'C'"):
        load(path, env=ENV)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[trilby.api]\nstream_enable_tls = true\n", "2:1: trilby.api.stream_enable_tls is true"),
        (
            "[trilby.runtime]\ncgroup_manager='cgroupfs'\ncgroup_parent='a.slice'\n",
            "3:1: trilby.runtime.cgroup_parent is 'a.slice', a slice",
        ),
        (
            "[trilby.runtime]\ncgroup_manager='systemd'\ncgroup_parent='/a/b'\n",
            "3:1: trilby.runtime.cgroup_parent is '/a/b', a path",
        ),
        (
            "[trilby.api]\nstream_port=99\n[trilby.metrics]\nenable_metrics=true\nmetrics_port=99\n",
            "5:1: trilby.metrics.metrics_port is 99, which is stream_port",
        ),
        (
            "[trilby.api]\nlisten='/s'\n[trilby.metrics]\nenable_metrics=true\nmetrics_socket='/s'\n",
            "5:1: trilby.metrics.metrics_socket is the socket of the CRI too",
        ),
        (
            "[trilby.nri]\nnri_listen='/s'\n[trilby.api]\nlisten='/s'\n",
            "2:1: trilby.nri.nri_listen is the socket of the CRI too",
        ),
        ("trilby = 1\n", "1:1: trilby is not a table"),
        ("[trilby.api\n", "1:12: Expected"),
        ("a = 1\na = 2\n", "2:6: Cannot overwrite"),
    ],
)
def test_values_that_contradict_each_other_and_no_toml(
    tmp_path: Path, text: str, problem: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InvalidEngineConfig, match=f"^{path}:{re.escape(problem)}"):
        load(path, env=ENV)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[trilby.runtime]\npids_limt = 1",
            "2:1: unknown option trilby.runtime.pids_limt (did you mean pids_limit?)",
        ),
        (
            "[trilby.image]\nlisten = 1",
            "2:1: unknown option trilby.image.listen (did you mean trilby.api.listen?)",
        ),
        ("[trilby.runtim]", "1:1: unknown option trilby.runtim (did you mean runtime?)"),
        (
            "[crio.runtime]",
            "1:1: unknown option crio (the tables of trilby.conf have the names of crio.conf: write trilby for crio)",
        ),
        ("[podman]", "1:1: unknown option podman (the tables of this file are [trilby] and below)"),
        (
            "[trilby.image]\npause_image = 'p'",
            "2:1: unknown option trilby.image.pause_image (there is no pause image: take it out)",
        ),
        (
            "[trilby.runtime.runtimes.x]\nruntime_type = 'vm'",
            "2:1: unknown option trilby.runtime.runtimes.x.runtime_type (handlers are of the type oci: take it out)",
        ),
        (
            "[trilby.runtime.runtimes.x]\nruntime_pth = 1",
            "2:1: unknown option trilby.runtime.runtimes.x.runtime_pth (did you mean runtime_path?)",
        ),
        ("'trilby.api' = {}", "1:1: unknown option 'trilby.api'"),
        ("[trilby]\nxyz = 1", "2:1: unknown option trilby.xyz"),
    ],
)
def test_unknown_options(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    assert load(path, env=ENV).warnings == [f"{path}:{said}"]


def test_groups_of_pod_metrics_are_those_that_there_are() -> None:
    assert {*POD_METRICS} == {"all", *pod_metrics_table.GROUPS}


def test_options_of_crio_are_not_ours() -> None:
    assert not FOREIGN.keys() & OPTIONS.keys()
    tables = {key.rpartition(".")[0] for key in OPTIONS}
    assert {key.rpartition(".")[0] for key in FOREIGN} <= {*tables, ""}


def test_all_mistakes_are_collected(tmp_path: Path) -> None:
    path = write(tmp_path, "[trilby.api]\nlisten = 1\nstream_port = 'x'\n[trilby]\nroot = 1\n")
    assert len(read_layers(path).mistakes) == 3
    with pytest.raises(InvalidEngineConfig) as caught:
        load(path, env=ENV)
    assert caught.value.hint == "2 more mistakes: see trilby config check"


def test_what_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidEngineConfig, match="no such configuration file"):
        load(tmp_path / "none.conf")
    with pytest.raises(InvalidEngineConfig, match="no such configuration directory"):
        load(write(tmp_path, ""), tmp_path / "none.d")
    with pytest.raises(InvalidEngineConfig, match="cannot be read"):
        load(tmp_path)
    with pytest.raises(InvalidEngineConfig, match="flag: unknown option trilby.api.liste"):
        load(write(tmp_path, ""), None, {"trilby.api.liste": "/x"})
    with pytest.raises(InvalidEngineConfig, match="flag: trilby.api.listen is not a text"):
        load(write(tmp_path, ""), None, {"trilby.api.listen": 1})


def test_files_of_the_distribution_come_first(tmp_path: Path) -> None:
    vendor, main = tmp_path / "usr" / "trilby.conf", tmp_path / "etc" / "trilby.conf"
    for path in (vendor, main):
        path.parent.mkdir()
        path.write_text("")
        (path.parent / "trilby.conf.d").mkdir()
    for file in ("usr/{}/1.conf", "usr/{}/2.conf", "etc/{}/1.conf", "etc/{}/0.conf"):
        (tmp_path / file.format("trilby.conf.d")).write_text("")
    found = config_files(main=str(main), vendor=str(vendor))
    assert [str(Path(path).relative_to(tmp_path)) for path in found] == [
        *("usr/trilby.conf", "etc/trilby.conf", "etc/trilby.conf.d/0.conf"),
        *("etc/trilby.conf.d/1.conf", "usr/trilby.conf.d/2.conf"),
    ]
    assert config_files(str(main)) == [
        str(main), f"{main}.d/0.conf", f"{main}.d/1.conf"
    ]  # fmt: skip


def test_changes(tmp_path: Path) -> None:
    old = load(Path("/dev/null"), env=ENV).config
    assert changes(old, old) == []
    new = load(
        write(
            tmp_path,
            "[trilby.runtime]\nlog_level='debug'\npids_limit=9\n[trilby.api]\nlisten='/s'\n"
            "[trilby.runtime.runtimes.x]\nruntime_root='/x'\n",
        ),
        env=ENV,
    ).config
    found = {change.key: change for change in changes(old, new)}
    assert {
        (key, change.old, change.new, change.scope)
        for key, change in found.items()
        if not key.startswith(HANDLERS)
    } == {
        ("trilby.runtime.log_level", "info", "debug", Scope.LIVE),
        ("trilby.runtime.pids_limit", -1, 9, Scope.NEW_PODS),
        ("trilby.api.listen", "/run/trilby/trilby.sock", "/s", Scope.RESTART),
    }
    handler = found[f"{HANDLERS}.x.runtime_root"]
    assert (handler.old, handler.new, handler.scope) == (None, "/x", Scope.NEW_PODS)


def test_rows_are_json_and_name_every_option() -> None:
    loaded = load(Path("/dev/null"), None, {"trilby.runtime.pids_limit": 5}, env=ENV)
    found = json.loads(msgspec.json.encode(rows(loaded)))
    by_key = {row["key"]: row for row in found}
    assert by_key.keys() == values_of(loaded.config).keys()
    assert by_key["trilby.runtime.pids_limit"] == {
        **{"key": "trilby.runtime.pids_limit", "value": 5, "origin": "flag"},
        **{"scope": "new pods", "default": False},
    }
    assert by_key["trilby.api.listen"]["default"] is True
    assert row_text("trilby.api.socket_mode", 0o660) == '"0660"'


def test_the_image_context() -> None:
    assert DaemonConfig().image_context() == ImageContext()
    config = DaemonConfig(global_auth_file="/a", signature_policy="/p", max_parallel_layers=2)
    context = config.image_context()
    insecure = DaemonConfig(insecure_registries=("h:5000",)).image_context()
    assert insecure.insecure_registries == ("h:5000",)
    assert (context.auth_file, context.policy_path, context.parallel) == ("/a", "/p", 2)


values = st.recursive(
    st.booleans() | st.integers(-(2**66), 2**66) | st.floats(allow_nan=False) | st.text(max_size=9)
    | st.sampled_from(["/run/x", "10.0.0.0/24", "A=b", "1h", "0600", "systemd", "info"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
names = st.sampled_from(sorted({part for key in OPTIONS for part in key.split(".")}))


@settings(deadline=None)
@given(st.data())
def test_any_value_of_any_option_is_taken_or_refused(data: st.DataObject) -> None:
    """What is taken can be written, and reads as the same."""
    declared = OPTIONS[data.draw(st.sampled_from(sorted(OPTIONS)))]
    value = data.draw(values)
    try:
        taken = convert(declared, value)
    except ValueError as error:
        assert str(error)
        return
    again = convert(declared, _python(toml_text(taken, declared.kind)))
    if declared.kind is Kind.DURATION:
        assert again == pytest.approx(taken, abs=1e-6)
    else:
        assert again == taken


def as_toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(k)} = {as_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, str):
        return _quoted(value)
    return str(value).lower()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables=st.dictionaries(names, st.dictionaries(names, values, max_size=3), max_size=3))
def test_any_toml_gives_a_configuration_or_a_line(
    tmp_path: Path, tables: dict[str, dict[str, object]]
) -> None:
    path = tmp_path / "any.conf"
    path.write_text(f"trilby = {as_toml(tables)}\n")
    check_outcome(path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.sampled_from("[]{}.='\"\n #a1trilby"), max_size=40) | st.binary(max_size=40))
def test_any_text_gives_a_configuration_or_a_line(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "any.conf"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    check_outcome(path)


def check_outcome(path: Path) -> None:
    try:
        loaded = load(path, env=ENV)
    except InvalidInput as error:
        assert re.match(rf"{re.escape(str(path))}:\d+", error.message), error.message
    else:
        assert isinstance(loaded.config, DaemonConfig)
        for warning in loaded.warnings:
            assert re.match(rf"{re.escape(str(path))}:\d+:\d+: unknown option", warning)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (14400, "4h"), (90, "1m30s"), (3661.5, "1h1m1.5s"), (0.25, "0.25s")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text

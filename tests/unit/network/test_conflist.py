"""Network configuration files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.pods.network.builtin import BuiltinNetwork, builtin_conflist
from trilby.pods.network.conflist import discover, load_conflist, parse_conflist
from trilby.pods.network.errors import ConflistInvalid
from trilby.pods.network.masquerade import rules

GOOD = {
    "cniVersion": "1.0.0",
    "name": "net",
    "plugins": [
        {"type": "bridge", "ipam": {"type": "host-local"}},
        {"type": "portmap", "capabilities": {"portMappings": True, "other": False}},
    ],
}


def test_a_list() -> None:
    network = parse_conflist(json.dumps(GOOD).encode(), "/x/10-net.conflist")
    assert (network.name, network.version) == ("net", "1.0.0")
    assert [plugin.type for plugin in network.plugins] == ["bridge", "portmap"]
    assert network.plugins[1].capabilities == {"portMappings"}
    assert not network.disable_check


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n"name": "a"\n"plugins": 1}', ":3: "),
        ('{\n "name": "a b",\n "plugins": []}', ":2: "),
        ('{\n "name": "a",\n "plugins": [\n {"type": "x"},\n {"kind": "y"}]}', ":5: a plugin has"),
        ('{\n "name": "a",\n "plugins": [{"type": "../x"}]}', ":3: the plugin type"),
        ('{\n "name": "a",\n "plugins": []}', ":3: the network has no plugins"),
        ('{"name": "a",\n "cniVersion": "0.2.0", "plugins": [{"type": "x"}]}', ":2: cniVersion"),
        ('{"name": "a", "plugins": [{"type": "x"}]}', "0.1.0 is not supported"),
        ("[]", ":1: is not a JSON object"),
        ('{"name": "a"}', "has no 'plugins'"),
        ('{"name": "a", "cniVersion": "1.0.0", "plugins": 5}', "not a list"),
    ],
)
def test_mistakes_are_told_with_their_line(text: str, said: str) -> None:
    with pytest.raises(ConflistInvalid) as caught:
        parse_conflist(text.encode(), "/etc/cni/net.d/a.conflist")
    assert str(caught.value).startswith("/etc/cni/net.d/a.conflist:")
    assert said in str(caught.value)


def test_a_single_plugin_is_a_list_of_one() -> None:
    raw = b'{"cniVersion": "0.4.0", "name": "one", "type": "ptp"}'
    network = parse_conflist(raw, "/x/one.conf")
    assert (network.name, network.version, network.plugins[0].type) == ("one", "0.4.0", "ptp")
    assert json.loads(network.raw)["plugins"][0]["type"] == "ptp"
    with pytest.raises(ConflistInvalid):
        parse_conflist(raw, "/x/one.conflist")


def test_versions() -> None:
    many = {**GOOD, "cniVersions": ["1.1.0", "9.0.0", "0.4.0"]}
    assert parse_conflist(json.dumps(many).encode(), "").versions == ("0.4.0", "1.0.0", "1.1.0")


def test_files_in_order_and_the_bad_do_not_hide_the_good(tmp_path: Path) -> None:
    (tmp_path / "20-b.conflist").write_text(json.dumps({**GOOD, "name": "b"}))
    (tmp_path / "10-a.conf").write_text('{"cniVersion": "1.0.0", "name": "a", "type": "ptp"}')
    (tmp_path / "05-bad.json").write_text("{")
    (tmp_path / "30-c.conflist.rpmsave").write_text(json.dumps({**GOOD, "name": "c"}))
    found = discover([str(tmp_path), str(tmp_path / "missing")])
    assert [network.name for network in found.networks] == ["a", "b"]
    assert len(found.errors) == 1 and "05-bad.json:1:" in str(found.errors[0])
    chosen, named = found.choose(), found.choose("b")
    assert chosen and named and (chosen.name, named.name) == ("a", "b")
    assert found.choose("z") is None


def test_plugins_beside_the_list(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/50-extra.conf").write_text('{"type": "tuning"}')
    (tmp_path / "net.conflist").write_text(json.dumps(GOOD))
    network = load_conflist(str(tmp_path / "net.conflist"))
    assert [plugin.type for plugin in network.plugins] == ["bridge", "portmap", "tuning"]
    # What goes into the result cache is complete.
    assert parse_conflist(network.raw, "").plugins == network.plugins
    (tmp_path / "net.conflist").write_text(json.dumps({**GOOD, "loadOnlyInlinedPlugins": True}))
    assert len(load_conflist(str(tmp_path / "net.conflist")).plugins) == 2


@given(st.binary(max_size=200))
def test_any_bytes_are_a_network_or_refused(raw: bytes) -> None:
    try:
        parse_conflist(raw, "")
    except ConflistInvalid as error:
        assert str(error).startswith(":")


def test_the_builtin_network() -> None:
    settings = BuiltinNetwork(data_dir="/data", firewall=True)
    network = builtin_conflist(settings, host_ports=True)
    assert [plugin.type for plugin in network.plugins] == ["bridge", "portmap", "firewall"]
    assert len(builtin_conflist(BuiltinNetwork(), host_ports=False).plugins) == 1
    commands = [rule.command("-C") for rule in rules(settings)]
    assert [command[0] for command in commands] == ["iptables", "ip6tables"]
    assert len(rules(BuiltinNetwork(subnet_v6=""))) == 1

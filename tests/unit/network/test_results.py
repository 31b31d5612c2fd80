"""Results, the cache, and what plugins are told of a pod."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.oci.codec import JsonValue
from trilby.pods.model_sandbox import DNSConfig, PortMapping, Protocol
from trilby.pods.network.attachment import Attachment, capability_args, cni_args
from trilby.pods.network.cache import CachedAttachment, ResultCache
from trilby.pods.network.errors import InvalidAttachment
from trilby.pods.network.result import as_version, parse_result

RESULT: JsonValue = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "br0", "mac": "0e:00:00:00:00:01"},
        {"name": "eth0", "mac": "0e:00:00:00:00:02", "sandbox": "/run/ns", "mtu": 1500},
    ],
    "ips": [
        {"address": "10.0.0.5/24", "gateway": "10.0.0.1", "interface": 1},
        {"address": "fd00::5/64", "interface": 1},
        {"address": "10.0.0.1/24", "interface": 0},
    ],
    "routes": [{"dst": "0.0.0.0/0", "mtu": 1400}],
    "dns": {},
    "x-vendor": {"kept": True},
}


def test_the_addresses_of_the_pod() -> None:
    result = parse_result(RESULT)
    assert result.pod_ips() == ("10.0.0.5", "fd00::5")
    assert result.pod_ips("net1") == ()
    assert parse_result({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.9/8"}]}).pod_ips() == (
        "10.0.0.9",
    )


def test_other_versions() -> None:
    result = parse_result(RESULT)
    assert as_version(result, "1.1.0") == RESULT
    old = as_version(result, "0.4.0")
    assert old["ips"] == [
        {"address": "10.0.0.5/24", "gateway": "10.0.0.1", "interface": 1, "version": "4"},
        {"address": "fd00::5/64", "interface": 1, "version": "6"},
        {"address": "10.0.0.1/24", "interface": 0, "version": "4"},
    ]
    assert old["routes"] == [{"dst": "0.0.0.0/0"}] and old["x-vendor"] == {"kept": True}
    again = as_version(parse_result(old), "1.0.0")
    assert "version" not in str(again["ips"])


@pytest.mark.parametrize(
    "document",
    [[], None, {}, {"cniVersion": "0.2.0"}, {"cniVersion": "1.0.0", "ips": 5},
     {"cniVersion": "1.0.0", "interfaces": ["x"]},
     {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.5/24 evil"}]},
     {"cniVersion": "1.0.0", "ips": [{"address": 5}]}],
)  # fmt: skip
def test_what_is_no_result(document: JsonValue) -> None:
    with pytest.raises(ValueError):
        parse_result(document)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.sampled_from(["", "eth0", "10.0.0.1/8"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["ips", "interfaces", "address", "interface", "sandbox", "name", "routes"]
            ),
            inner,
            max_size=4,
        )
    ),
)


@given(JSON)
def test_any_document_is_a_result_or_refused(document: JsonValue) -> None:
    if isinstance(document, dict):
        document["cniVersion"] = "1.0.0"
    try:
        result = parse_result(document)
    except ValueError:
        return
    assert all(result.pod_ips())
    try:
        as_version(result, "0.4.0")
    except ValueError:
        pass  # routes are looked at only then


def test_cache_files_are_those_of_libcni(tmp_path: Path) -> None:
    cache = ResultCache(str(tmp_path))
    cached = CachedAttachment(
        container_id="abc", config=b'{"name":"n"}', if_name="eth0", network_name="n",
        netns="/ns", cni_args=(("K", "v"),),
    )  # fmt: skip
    cache.write(cached)
    path = tmp_path / "results/n-abc-eth0"
    assert os.stat(path).st_mode & 0o777 == 0o600
    document = json.loads(path.read_text())
    assert document["kind"] == "cniCacheV1"
    assert base64.b64decode(document["config"]) == b'{"name":"n"}'
    assert document["cniArgs"] == [["K", "v"]]
    assert {"containerId", "ifName", "networkName", "netns", "capabilityArgs"} <= set(document)
    assert cache.read("n", "abc", "eth0") == cached
    assert cached.document() is None
    (tmp_path / "results/broken-x-eth0").write_text("{")
    (tmp_path / "results/other-y-eth0").write_text('{"cniVersion": "0.4.0"}')
    assert cache.attachments() == cache.attachments("abc") == [cached]
    assert cache.attachments("ab") == []
    cache.remove("n", "abc", "eth0")
    cache.remove("n", "abc", "eth0")
    assert cache.read("n", "abc", "eth0") is None and ResultCache("/none").attachments() == []


def test_what_plugins_are_told() -> None:
    attachment = Attachment(
        sandbox_id="s1", netns="/ns", name="pod", namespace="default", uid="u",
        port_mappings=(
            PortMapping(container_port=53, host_port=5353, protocol=Protocol.UDP, host_ip="::1"),
            PortMapping(container_port=80),
        ),
        dns=DNSConfig(servers=("1.1.1.1",)),
        annotations={
            "kubernetes.io/ingress-bandwidth": "10M",
            "kubernetes.io/egress-bandwidth": "2Ki",
            "io.trilby.network.ips": "10.0.0.7/24, fd00::7/64",
            "io.trilby.network.mac": "02:00:00:00:00:07",
        },
    )  # fmt: skip
    values = capability_args(attachment)
    assert values["portMappings"] == [
        {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "::1"}
    ]
    bandwidth = values["bandwidth"]
    assert isinstance(bandwidth, dict)
    assert (bandwidth["ingressRate"], bandwidth["egressRate"]) == (10_000_000, 2048)
    assert values["ips"] == ["10.0.0.7/24", "fd00::7/64"] and values["mac"] == "02:00:00:00:00:07"
    assert values["dns"] == {"servers": ["1.1.1.1"], "searches": [], "options": []}
    assert ("K8S_POD_INFRA_CONTAINER_ID", "s1") in cni_args(attachment)
    assert capability_args(Attachment(sandbox_id="s", netns="/n")) == {}


@pytest.mark.parametrize(
    "annotations",
    [
        {"kubernetes.io/ingress-bandwidth": "fast"},
        {"kubernetes.io/ingress-bandwidth": "1"},
        {"kubernetes.io/egress-bandwidth": "nan"},
        {"kubernetes.io/egress-bandwidth": "2P"},
        {"io.trilby.network.ips": "10.0.0.300"},
    ],
)
def test_annotations_that_make_no_sense(annotations: dict[str, str]) -> None:
    with pytest.raises(InvalidAttachment):
        capability_args(Attachment(sandbox_id="s", netns="/n", annotations=annotations))

"""Image configurations as builders write them, and chain IDs."""

from __future__ import annotations

import json

import pytest

from trilby.oci.digest import Digest
from trilby.oci.errors import MalformedDocument
from trilby.oci.image import (
    ContainerDefaults,
    History,
    ImageConfig,
    Nothing,
    RootFs,
    chain_id,
    chain_ids,
    parse_image_config,
)

DOCKER = b"""{"architecture":"arm64","variant":"v8","os":"linux","docker_version":"20.10",
"config":{"Hostname":"","ExposedPorts":{"80/tcp":{},"53/udp":null},"Env":["PATH=/bin"],"Cmd":null,
"Entrypoint":["/init","-x"],"Volumes":{"/data":{}},"WorkingDir":"/w","User":"1:2","Labels":null,
"StopSignal":"SIGQUIT","OnBuild":[],"Healthcheck":{"Test":["CMD","true"],"Interval":30000000000}},
"container_config":{"Cmd":["nop"]},"created":"2020-01-01T00:00:00.123456789Z",
"history":[{"created_by":"RUN x","empty_layer":true},{"created":"2020-01-01T00:00:00Z"}],
"rootfs":{"type":"layers","diff_ids":["%s"]}}""" % str(Digest.of(b"")).encode()


def test_docker_config() -> None:
    config = parse_image_config(DOCKER)
    defaults = config.config
    assert str(config.platform) == "linux/arm64/v8"
    assert set(defaults.exposed_ports) == {"80/tcp", "53/udp"}
    assert (defaults.entrypoint, defaults.cmd) == (("/init", "-x"), ())
    assert defaults.volumes == {"/data": Nothing()}
    assert (defaults.user, defaults.working_dir, defaults.labels) == ("1:2", "/w", {})
    assert defaults.stop_signal == "SIGQUIT"
    assert defaults.healthcheck is not None and defaults.healthcheck.interval == 30 * 10**9
    assert config.diff_ids == (Digest.of(b""),)
    assert [entry.empty_layer for entry in config.history] == [True, False]
    assert config.created.endswith(".123456789Z")


def test_round_trip_of_our_own() -> None:
    config = ImageConfig(
        architecture="amd64",
        os="linux",
        os_features=("a",),
        config=ContainerDefaults(env=("A=<b>",), volumes={"/v": Nothing()}, labels={"l": ""}),
        rootfs=RootFs(diff_ids=(Digest.of(b"1"),)),
        history=(History(created_by="x"),),
    )
    raw = config.encode()
    assert parse_image_config(raw) == config
    assert json.loads(raw)["os.features"] == ["a"]
    assert b"\\u003cb\\u003e" in raw


def test_required_members_are_written() -> None:
    assert set(json.loads(ImageConfig().encode())) == {"architecture", "os", "config", "rootfs"}


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b'{"config":{"Env":"x"}}', b'{"rootfs":{"diff_ids":["sha256:1"]}}']
)
def test_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedDocument, match="config of x"):
        parse_image_config(raw, "config of x")


def test_chain_ids() -> None:
    first, second = Digest.of(b"1"), Digest.of(b"2")
    assert chain_id([]) is None
    assert chain_id([first]) == first
    assert chain_ids([first, second]) == (first, Digest.of(f"{first} {second}".encode()))

"""The clock, types of directory entries, and routes as the kernel tells them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tests.support.tls_server import authority

from trilby.system.certificates import certificate_name
from trilby.system.clock import clock_state
from trilby.system.directory_types import has_types
from trilby.system.disk_latency import sync_times
from trilby.system.routes import Route, default_links, networks_in, routes_in

V4 = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t017000CB\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t007000CB\t00000000\t0001\t0\t0\t0\t00FCFFFF\t0\t0\t0
eth0\t057000CB\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0
"""
V6 = """\
fd990000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth9
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000001     eth9
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
"""


def test_clock() -> None:
    try:
        state = clock_state()
    except PermissionError:
        pytest.skip("the clock may not be looked at here")
    assert isinstance(state.synchronised, bool)
    assert 0 <= state.error < 1000


def test_directory_types(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("")
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert has_types(fd)
    finally:
        os.close(fd)
    with open(tmp_path / "a") as file, pytest.raises(OSError, match="getdents64"):
        has_types(file.fileno())


@pytest.mark.skipif(sys.byteorder != "little", reason="the text is of a little-endian host")
def test_routes() -> None:
    assert routes_in(V4, 4) == [("eth0", "203.0.112.0/22")]
    assert default_links(V4, 4) == ["eth0"]
    assert routes_in(V6, 6) == [("eth9", "fd99::/64")]
    assert default_links(V6, 6) == ["eth9"]
    assert not routes_in("", 4) and not routes_in("", 6) and not default_links("", 4)


def test_networks_of_links_and_behind_gateways() -> None:
    far = "eth0\t0000000A\t017000CB\t0003\t0\t0\t0\t000000FF\t0\t0\t0\n"
    assert Route("eth0", "203.0.112.0/22", True) in networks_in(V4, 4)
    assert Route("eth0", "10.0.0.0/8", False) in networks_in(V4 + far, 4)
    assert [each.direct for each in networks_in(V6, 6)] == [True]


def test_name_in_a_certificate() -> None:
    certificate, _ = authority().sign("named", "/O=system:nodes/CN=system:node:a")
    assert certificate_name(certificate) == "system:node:a"
    certificate, _ = authority().sign("unnamed", "/O=nobody")
    assert certificate_name(certificate) == ""
    with pytest.raises(ValueError, match="no PEM"):
        certificate_name("KEY")


def test_times_of_a_disk(tmp_path: Path) -> None:
    took = sync_times(tmp_path, 10, 60.0)
    assert len(took) == 10
    assert all(each >= 0 for each in took)
    assert len(sync_times(tmp_path, 10, 0.0)) == 1
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match="No such file"):
        sync_times(tmp_path / "none", 10, 1.0)

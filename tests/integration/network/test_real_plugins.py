"""Real CNI plugins on a host of their own: a network namespace that plays the host.

Packet filter rules, the bridge and sysctls are that namespace's, so nothing can be left behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trilby.pods.model_sandbox import PortMapping
from trilby.pods.network.attachment import Attachment
from trilby.pods.network.builtin import BuiltinNetwork
from trilby.pods.network.errors import PluginFailed
from trilby.pods.network.service import NetworkSettings, PodNetwork
from trilby.system import process
from trilby.system.namespaces import create_pinned, in_netns, unpin_all

PLUGIN_DIRS = ("/usr/libexec/cni", "/opt/cni/bin", "/usr/lib/cni")
pytestmark = pytest.mark.skipif(
    os.getuid() != 0
    or not any(os.path.exists(f"{path}/bridge") for path in PLUGIN_DIRS)
    or not shutil.which("iptables"),
    reason="needs root, CNI plugins and iptables",
)
SUBNET_V4, SUBNET_V6 = "10.213.7.0/24", "fd74:7269:6c62:d7::/64"


class Host:
    """The namespace that plays the host, and pods on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.netns = create_pinned({"net"}, directory / "host")["net"]
        self.pinned = [directory / "host"]

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        """Run a coroutine function with an event loop on the host; what it spawns is there too."""

        async def main() -> None:
            await scenario()

        in_netns(self.netns, lambda: asyncio.run(main()))

    def network(self, *, v6: bool = True, conflist: object = None) -> PodNetwork:
        net_d = self.directory / "net.d"
        net_d.mkdir(exist_ok=True)
        if conflist is not None:
            (net_d / "10-test.conflist").write_text(json.dumps(conflist))
        builtin = BuiltinNetwork(
            bridge="tri-test0",
            subnet_v4=SUBNET_V4,
            subnet_v6=SUBNET_V6 if v6 else "",
            data_dir=str(self.directory / "leases"),
        )
        return PodNetwork(
            NetworkSettings(
                config_dirs=(str(net_d),),
                plugin_dirs=PLUGIN_DIRS,
                cache_dir=str(self.directory / "cache"),
                builtin=builtin,
                owner="test",
            )
        )

    def pod(self, name: str, **more: object) -> Attachment:
        place = self.directory / name
        self.pinned.append(place)
        netns = create_pinned({"net"}, place)["net"]
        return Attachment(sandbox_id=f"{name}-id", netns=netns, name=name, **more)  # type: ignore[arg-type]  # names are checked by it

    def leases(self) -> list[str]:
        return sorted(
            path.name
            for path in (self.directory / "leases").rglob("*")
            if path.is_file() and path.name[0] in "1f"
        )

    def cached(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "cache/results").iterdir())


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    for place in made.pinned:
        if place.exists():
            unpin_all(place)


@contextmanager
def server(netns: str, address: str, port: int) -> Iterator[list[str]]:
    """Something in ``netns`` that tells its name to whoever connects; yields its visitors."""
    visitors: list[str] = []
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def listen() -> socket.socket:
        return socket.create_server((address, port), family=family)

    listening = in_netns(netns, listen)

    def serve() -> None:
        while True:
            try:
                connection, peer = listening.accept()
            except OSError:
                return
            visitors.append(peer[0])
            connection.sendall(b"hello")
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield visitors
    finally:
        # close() alone does not wake accept().
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        listening.close()


def visit(netns: str, address: str, port: int) -> bytes:
    def connect() -> bytes:
        with socket.create_connection((address, port), timeout=5) as connection:
            return connection.recv(100)

    return in_netns(netns, connect)


async def rules(program: str) -> str:
    return (await process.arun([f"{program}-save", "-t", "nat"])).stdout.decode()


def test_two_pods_talk_in_both_families_and_leave_nothing(host: Host) -> None:
    one, two = host.pod("one"), host.pod("two")

    async def scenario() -> None:
        network = host.network()
        first, second = await asyncio.gather(network.attach(one), network.attach(two))
        assert len(first.pod_ips()) == len(second.pod_ips()) == 2
        for address in second.pod_ips():
            with server(two.netns, address, 8080) as visitors:
                assert await asyncio.to_thread(visit, one.netns, address, 8080) == b"hello"
                assert visitors[0] in first.pod_ips()
        await network.check(one)
        assert len(host.leases()) == 4
        assert host.cached() == ["trilby-one-id-eth0", "trilby-two-id-eth0"]
        await asyncio.gather(network.detach(one), network.detach(two))
        await network.detach(one)
        await network.remove_builtin()
        for program in ("iptables", "ip6tables"):
            assert "-A" not in await rules(program)
        links = (await process.arun(["ip", "-br", "link"])).stdout.decode()
        assert "veth" not in links
        assert host.leases() == host.cached() == []

    host.run(scenario)


def test_host_ports(host: Host) -> None:
    ports = (PortMapping(container_port=80, host_port=18080),)
    web, other = host.pod("web", port_mappings=ports), host.pod("other")

    async def scenario() -> None:
        network = host.network(v6=False)
        (address,) = (await network.attach(web)).pod_ips()
        await network.attach(other)
        with server(web.netns, address, 80):
            for netns, target in (
                (host.netns, "127.0.0.1"),
                (other.netns, "10.213.7.1"),
                (web.netns, "10.213.7.1"),
            ):
                assert await asyncio.to_thread(visit, netns, target, 18080) == b"hello"
        await network.check(web)
        await network.detach(web)
        with pytest.raises(OSError):
            await asyncio.to_thread(visit, host.netns, "127.0.0.1", 18080)
        assert "18080" not in await rules("iptables")
        await network.detach(other)

    host.run(scenario)


def test_pods_reach_the_outside_as_the_host(host: Host) -> None:
    pod = host.pod("pod")
    outside = host.pod("outside").netns

    async def scenario() -> None:
        await process.arun(["ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"])
        await process.arun(["ip", "addr", "add", "192.0.2.1/24", "dev", "up0"])
        await process.arun(["ip", "link", "set", "up0", "up"])
        # The peer goes to a namespace that has no name for ip(8): by an open file of ours.
        fd = os.open(outside, os.O_RDONLY)
        try:
            path = f"/proc/{os.getpid()}/fd/{fd}"
            await process.arun(["ip", "link", "set", "up1", "netns", path])
        finally:
            os.close(fd)
        inside = ["nsenter", f"--net={outside}", "ip"]
        await process.arun([*inside, "addr", "add", "192.0.2.2/24", "dev", "up1"])
        await process.arun([*inside, "link", "set", "up1", "up"])
        network = host.network()
        for _ in range(2):  # a second pod finds the rule
            await network.attach(pod)
            with server(outside, "192.0.2.2", 80) as visitors:
                assert await asyncio.to_thread(visit, pod.netns, "192.0.2.2", 80) == b"hello"
                assert visitors == ["192.0.2.1"]
            await network.detach(pod)
        assert (await rules("iptables")).count("MASQUERADE") == 1
        assert (await rules("ip6tables")).count("MASQUERADE") == 1

    host.run(scenario)


CHAIN = {
    "cniVersion": "1.0.0",
    "name": "chain",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "tri-test0",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "capabilities": {"ips": True, "mac": True},
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": SUBNET_V4}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
        {"type": "bandwidth", "capabilities": {"bandwidth": True}},
        {"type": "tuning"},
    ],
}


def chain(host: Host) -> dict[str, object]:
    document: dict[str, object] = json.loads(json.dumps(CHAIN))
    plugins = document["plugins"]
    assert isinstance(plugins, list)
    plugins[0]["ipam"]["dataDir"] = str(host.directory / "leases")
    return document


def test_a_chain_with_capabilities(host: Host) -> None:
    pod = host.pod(
        "pod",
        port_mappings=(PortMapping(container_port=80, host_port=18081),),
        annotations={
            "kubernetes.io/ingress-bandwidth": "10M",
            "io.trilby.network.ips": "10.213.7.77/24",
            "io.trilby.network.mac": "02:00:00:00:00:77",
        },
    )

    async def scenario() -> None:
        network = host.network(conflist=chain(host))
        await network.status()
        result = await network.attach(pod)
        assert result.pod_ips() == ("10.213.7.77",)
        assert "02:00:00:00:00:77" in [interface.mac for interface in result.interfaces]
        assert b"tbf" in (await process.arun(["tc", "qdisc"])).stdout
        # The configuration may go: what was attached by it can be detached.
        (host.directory / "net.d/10-test.conflist").unlink()
        later = host.network()
        await later.detach(pod)
        assert host.leases() == host.cached() == []
        assert "10.213.7.77" not in await rules("iptables")
        assert b"tbf" not in (await process.arun(["tc", "qdisc"])).stdout

    host.run(scenario)


def test_a_pod_whose_namespace_is_gone_and_one_that_nobody_knows(host: Host) -> None:
    lost, kept = host.pod("lost"), host.pod("kept")

    async def scenario() -> None:
        network = host.network(conflist=chain(host))
        await network.attach(lost)
        unpin_all(host.directory / "lost")
        await network.detach(lost)
        assert host.leases() == []
        unknown = host.pod("unknown")
        await network.attach(kept)
        await network.attach(unknown)
        assert await network.collect_garbage([("kept-id", "eth0")]) == []
        assert host.cached() == ["chain-kept-id-eth0"]
        assert len(host.leases()) == 1
        await network.detach(kept)

    host.run(scenario)


def test_a_failure_in_the_chain_leaves_nothing(host: Host) -> None:
    broken = chain(host)
    plugins = broken["plugins"]
    assert isinstance(plugins, list)
    plugins[3] = {"type": "tuning", "sysctl": {"net.ipv4.conf.nosuch.forwarding": "1"}}
    pod = host.pod("pod", port_mappings=(PortMapping(container_port=80, host_port=18082),))

    async def scenario() -> None:
        network = host.network(conflist=broken)
        with pytest.raises(PluginFailed, match="tuning, ADD") as caught:
            await network.attach(pod)
        assert "CNI_COMMAND=ADD" in caught.value.hint
        assert host.leases() == host.cached() == []
        assert "18082" not in await rules("iptables")

    host.run(scenario)

"""What a node leaves behind: in its host after its last pod, and on the machine after the host."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.support.kubernetes_host import ADDRESS
from tests.support.kubernetes_node import Node, wait_for
from tests.support.registry import available

#: Kernel settings that a kubelet writes and that are the whole machine's.
SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
#: Where the two daemons mount.
KUBELETS = ("/var/lib/kubelet/pods/",)
RUNTIMES = ("/run/containers/", "/var/lib/containers/")
#: Programs that run in a host without pods.
DAEMONS = ("catatonit -P", "docker-registry", "trilbyd", "devd", "ps ", "sh -c", "unpack")


def need_host() -> None:
    """Skips what wants a fresh host with a registry, where there can be none."""
    if os.geteuid() != 0:
        pytest.skip("a host of its own needs root")
    if not Path("/sys/fs/cgroup/memory").is_dir():
        pytest.skip("a host in namespaces needs the v1 hierarchies of cgroups")
    if not available():
        pytest.skip("docker-registry is not installed")


@contextmanager
def place_of_host(kind: str) -> Iterator[tuple[Path, str]]:
    """A directory and a name for a fresh host, which leaves nothing on the machine."""
    name = f"trilby-{kind}-{os.urandom(2).hex()}"
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp"))
    before = machine_state()
    yield directory, name
    check_machine(name, before)
    shutil.rmtree(directory)


def check_host(node: Node) -> None:
    """After the last pod nothing of the pods may be left.

    The kubelet cleans its part up every two seconds. The sandboxes it would remove within a
    minute; here it ends, and they are removed by hand.
    """
    what = "the kubelet to clean up"
    kubelets = partial(_explain, lambda: [*_mounts(node, KUBELETS), *_cgroups(node)])
    wait_for(lambda: not kubelets(), what, kubelets, 20)
    node.kubelet.end()
    node.trilby("pod", "rm", "--all", "--force")
    assert (node.sandboxes(), node.containers()) == ([], [])
    found = partial(_explain, lambda: leftovers(node))
    wait_for(lambda: not found(), "nothing to be left", found, 5)


def _explain(look: Callable[[], list[str]]) -> str:
    return "\n".join(look())


def leftovers(node: Node) -> list[str]:
    """What pods have left in the host, one line each."""
    return [
        *_mounts(node, KUBELETS + RUNTIMES),
        *_cgroups(node),
        *_processes(node),
        *_network(node),
    ]


def _mounts(node: Node, places: tuple[str, ...]) -> list[str]:
    table = node.host.run("cat", "/proc/self/mounts").stdout.decode().splitlines()
    targets = [line.split(" ")[1] for line in table]
    # The store keeps its overlay directory mounted on itself, as podman does.
    kept = "/var/lib/containers/storage/overlay"
    return [f"mount {name}" for name in targets if name.startswith(places) and name != kept]


def _cgroups(node: Node) -> list[str]:
    """Pods' cgroups; those of the quality classes are the kubelet's and stay."""
    found = []
    for top in node.host.path("/sys/fs/cgroup").glob("*/kubepods"):
        for folder in (top, top / "burstable", top / "besteffort"):
            found += [f"cgroup {path}" for path in folder.glob("pod*")]
    return found + [f"cgroup {path}" for path in node.host.path("/sys/fs/cgroup").glob("*/trilby*")]


def _processes(node: Node) -> list[str]:
    listed = node.host.run("ps", "-eo", "args", "--no-headers").stdout.decode().splitlines()
    return [f"process {line}" for line in listed if not any(name in line for name in DAEMONS)]


def _network(node: Node) -> list[str]:
    links = node.host.run("ip", "-o", "link").stdout.decode().splitlines()
    found = [f"link {line}" for line in links if " veth" in line.split(":", 2)[1]]
    rules = node.host.run("iptables-save").stdout.decode().splitlines()
    found += [f"rule {line}" for line in rules if "10.87.0." in line and "10.87.0.0/16" not in line]
    addresses = node.host.path("/var/lib/cni").rglob("10.87.0.*")
    return found + [f"address {path.name}" for path in addresses]


def machine_state() -> dict[str, str]:
    """What a host must not change: settings, mounts, links and packet filter of the machine."""
    state = {
        key: Path(f"/proc/sys/{key}").read_text()
        for key in SETTINGS
        if Path(f"/proc/sys/{key}").exists()
    }
    return state | {"forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text()}


def check_machine(name: str, before: dict[str, str]) -> None:
    """After the host: no mount, cgroup, process or address of it, and no setting changed."""
    assert machine_state() == before
    assert name not in Path("/proc/self/mounts").read_text()
    # Others' cgroups may go while they are walked through.
    folders = (path for path, _, _ in os.walk("/sys/fs/cgroup"))
    assert [path for path in folders if name in path] == []
    assert ADDRESS not in Path("/proc/net/fib_trie").read_text()
    for entry in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            assert name not in entry.read_text(), f"process {entry.parent.name} is left"
        except OSError:
            continue

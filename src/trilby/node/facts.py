"""What pods of a host depend on, as plain facts: versions, settings, digests of files."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from trilby.errors import TrilbyError
from trilby.node.checks.programs import version_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trilby.node.node import Node

__all__ = ["digest_of", "facts_of"]

FILES: Final = (
    "/etc/containers/registries.conf",
    "/etc/containers/policy.json",
    "/etc/containers/storage.conf",
    "/etc/containers/seccomp.json",
    "/usr/share/containers/seccomp.json",
)
FOLDERS: Final = (
    ("/etc/containers/registries.conf.d", ".conf"),
    ("/etc/containers/registries.d", ".yaml"),
    ("/etc/modules-load.d", ".conf"),
    ("/etc/sysctl.d", ".conf"),
)
CNI: Final = (".conf", ".conflist", ".json")
SYSCTLS: Final = (
    *("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "vm.overcommit_memory"),
    *("kernel.panic", "net.bridge.bridge-nf-call-iptables", "user.max_user_namespaces"),
)  # fmt: skip


def facts_of(node: Node) -> dict[str, dict[str, str]]:
    """Group -> name -> value; what is not there is left out."""
    found = {
        "host": _host(node),
        "versions": _versions(node),
        "settings": _settings(node),
        "sysctls": {key: _sysctl(node, key) for key in SYSCTLS},
        "files": _files(node),
    }
    return {
        group: {name: value for name, value in values.items() if value}
        for group, values in found.items()
    }


def _sysctl(node: Node, key: str) -> str:
    return node.host.word("/proc/sys/" + key.replace(".", "/"))


def _host(node: Node) -> dict[str, str]:
    system = dict(
        line.partition("=")[::2]
        for _, line in node.host.lines("/usr/lib/os-release")
        if "=" in line
    )
    machine = node.host.word("/etc/machine-id")
    return {
        "hostname": node.host.word("/proc/sys/kernel/hostname") or node.host.word("/etc/hostname"),
        "os": " ".join(
            filter(None, (system.get(key, "").strip("\"'") for key in ("ID", "VERSION_ID")))
        ),
        "kernel": node.release,
        # machine-id(5): it is not to be shown to others.
        "machine_id_sha256": digest_of(machine.encode()) if machine else "",
    }


def _versions(node: Node) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version
    from platform import python_version

    found = {}
    if node.host.root == "/":
        found["python"] = python_version()
        try:
            found["trilby"] = version("trilby")
        except PackageNotFoundError:
            found["trilby"] = ""
    if not node.host.live:
        return found
    programs = {"crun", "runc", node.engine.conmon, node.engine.infra_command, "kubelet"}
    programs |= {each.path or each.name for each in node.engine.runtimes.values()}
    for program in sorted(programs):
        if path := node.host.which(program):
            text = node.host.run(path, "--version").line
            found[program.rpartition("/")[2]] = ".".join(map(str, version_in(text))) or text
    return found


def _settings(node: Node) -> dict[str, str]:
    engine, storage = node.engine, node.settings.storage
    hierarchies = node.hierarchies
    network = node.networks.choose(engine.cni_default_network)
    mount = node.mount_of(storage.graphroot)
    found = {
        "cgroup_version": ("2" if hierarchies.unified else "1") if hierarchies else "",
        "cgroup_manager": str(engine.cgroup_manager),
        "default_runtime": node.handler.name if node.handler else "",
        "storage_driver": storage.driver or "overlay",
        "graph_root": storage.graphroot,
        "graph_root_type": mount.fs_type if mount else "",
        "run_root": storage.runroot,
        "network": network.name if network else "built in" if engine.bridge_name else "",
        "network_file": network.path if network else "",
        "socket": node.settings.listen,
        "selinux": {"1": "enforcing", "0": "permissive"}.get(
            node.host.word("/sys/fs/selinux/enforce"), "absent"
        ),
    }
    if node.kubelet is not None:
        try:
            found["kubelet_cgroup_driver"] = node.kubelet.string("cgroupDriver", "cgroupfs")
        except TrilbyError:
            found["kubelet_cgroup_driver"] = ""
    return found


def _files(node: Node) -> dict[str, str]:
    """Path on the host -> sha256:HEX of its content."""
    paths = [*FILES, *_in_folders(node)]
    paths += [each.removeprefix(_prefix(node)) for each in node.settings.sources]
    if node.kubelet is not None:
        paths += [each.path.removeprefix(_prefix(node)) for each in node.kubelet.sections]
    found = {}
    for path in dict.fromkeys(paths):
        try:
            text = node.host.read(path)
        except PermissionError:
            text = None
        if text is not None:
            found[path] = digest_of(text.encode())
    return found


def _prefix(node: Node) -> str:
    return "" if node.host.root == "/" else node.host.root


def _in_folders(node: Node) -> Iterable[str]:
    folders: list[tuple[str, str | tuple[str, ...]]] = [*FOLDERS]
    folders += [(each, CNI) for each in node.engine.cni_config_dirs]
    for folder, suffix in folders:
        for name in node.host.names(folder):
            if name.endswith(suffix):
                yield f"{folder}/{name}"


def digest_of(data: bytes) -> str:
    """As sha256:HEX."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"

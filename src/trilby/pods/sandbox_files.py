"""The files that containers of a pod share, in the sandbox' run directory."""

from __future__ import annotations

import os

from trilby.pods.model_sandbox import DNSConfig
from trilby.pods.spec import files

HOST_RESOLV_CONF = "/etc/resolv.conf"
HOST_HOSTS = "/etc/hosts"
_LIMIT = 1 << 20


def write_files(
    run: str,
    hostname: str,
    dns: DNSConfig | None,
    *,
    host_network: bool,
    owner: tuple[int, int] = (0, 0),
) -> None:
    """resolv.conf, hostname and hosts; the last without the pod's addresses yet.

    ``owner`` is the host's uid and gid of the pod's root.
    """
    texts = {
        "resolv.conf": files.resolv_conf(dns, _host_text(HOST_RESOLV_CONF)),
        "hostname": files.hostname_file(hostname),
        "hosts": _host_text(HOST_HOSTS) if host_network else files.hosts(hostname, ()),
    }
    for name, text in texts.items():
        write(f"{run}/{name}", text)
        if owner != (0, 0):
            os.chown(f"{run}/{name}", *owner)


def write_hosts(run: str, hostname: str, ips: tuple[str, ...]) -> None:
    """hosts again, now that the addresses are known; containers may have it bound already."""
    write(f"{run}/hosts", files.hosts(hostname, ips))


def write(path: str, text: str) -> None:
    """Write a file for containers to read; an existing one keeps its inode."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, text.encode(errors="surrogateescape"))
        os.fchmod(fd, 0o644)
    finally:
        os.close(fd)


def write_config(bundle: str, document: bytes) -> None:
    """The bundle's OCI config; secrets in its environment are for us and the runtime only."""
    fd = os.open(
        f"{bundle}/config.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
    )
    with open(fd, "wb") as file:
        file.write(document)


def pod_hostname(asked: str, sandbox_id: str, host_network: bool) -> str:
    """The host name in effect: asked for, or the node's with its network, or made of the id."""
    if asked:
        return asked
    return os.uname().nodename if host_network else sandbox_id[:12]


def _host_text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_LIMIT).decode(errors="surrogateescape")
    except FileNotFoundError:
        return ""

"""Texts of the files that a sandbox gives to its containers: resolv.conf, hosts, hostname."""

from __future__ import annotations

from collections.abc import Iterable

from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_sandbox import DNSConfig


def resolv_conf(dns: DNSConfig | None, host_text: str) -> str:
    """The text of /etc/resolv.conf: the host's when nothing is given."""
    if dns is None or not (dns.servers or dns.searches or dns.options):
        return host_text
    lines = []
    if dns.searches:
        lines.append("search " + " ".join(map(_word, dns.searches)))
    lines += [f"nameserver {_word(server)}" for server in dns.servers]
    if dns.options:
        lines.append("options " + " ".join(map(_word, dns.options)))
    return "".join(f"{line}\n" for line in lines)


def hosts(hostname: str, ips: Iterable[str], aliases: Iterable[tuple[str, str]] = ()) -> str:
    """The text of /etc/hosts as a kubelet writes it; ``aliases`` are (address, names) pairs."""
    lines = [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::\tip6-localnet",
        "fe00::1\tip6-allnodes",
        "fe00::2\tip6-allrouters",
    ]
    lines += [f"{ip}\t{hostname}" for ip in ips if hostname]
    lines += [f"{ip}\t{names}" for ip, names in aliases]
    return "".join(f"{line}\n" for line in lines)


def hostname_file(hostname: str) -> str:
    """The text of /etc/hostname."""
    return f"{hostname}\n"


def _word(text: str) -> str:
    if not text or any(char.isspace() for char in text):
        raise InvalidPodConfig(f"DNS configuration: {text!r} is not one word")
    return text

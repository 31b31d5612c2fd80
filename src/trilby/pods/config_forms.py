"""What a text in trilby.conf has to look like: each function says what is wrong, "" if nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from trilby.errors import TrilbyError

__all__ = [
    "absolute", "address", "bridge", "capability", "endpoint", "environment", "handler_name",
    "path", "pin", "program", "registry", "socket", "socket_or_none", "subnet_v4", "subnet_v6",
    "sysctl", "ulimit",
]  # fmt: skip


SOCKET_LENGTH: Final = 107


def absolute(text: str) -> str:
    """A path from the root; empty for none."""
    return "" if not text or text.startswith("/") else "is not an absolute path"


def path(text: str) -> str:
    """A path from the root."""
    return "" if text.startswith("/") else "is not an absolute path"


def socket(text: str) -> str:
    """The path of a unix socket; sun_path of unix(7) has room for 107 bytes."""
    if text.startswith("unix:"):
        return "is an address; write the path alone"
    if len(text.encode(errors="surrogateescape")) > SOCKET_LENGTH:
        return f"is longer than the {SOCKET_LENGTH} bytes that a socket's path may have"
    return path(text)


def socket_or_none(text: str) -> str:
    """The same; empty for none."""
    return socket(text) if text else ""


def program(text: str) -> str:
    """A name to be looked up in PATH, or a path from the root; empty for the usual one."""
    return "" if "/" not in text else absolute(text)


def environment(text: str) -> str:
    """``NAME=value``."""
    name, equals, _ = text.partition("=")
    return "" if name and equals and "\0" not in text else "is not NAME=value"


def capability(text: str) -> str:
    """A name of capabilities(7), with or without ``CAP_``."""
    from trilby.pods.spec.capabilities import normalize

    return _said(lambda: normalize([text]))


def ulimit(text: str) -> str:
    """``nofile=1024:2048``."""
    from trilby.pods.spec.limits import parse_ulimit

    return _said(lambda: parse_ulimit(text))


def sysctl(text: str) -> str:
    """``net.core.somaxconn=1024``: the name of a setting that a pod has for itself."""
    from trilby.pods.spec.namespaces import sysctl_namespace

    name, equals, _ = text.partition("=")
    name = name.strip()
    if "." not in name.partition("/")[0]:
        name = name.replace("/", ".")
    return "" if not equals or sysctl_namespace(name) else "is of the whole host: set it there"


def subnet_v4(text: str) -> str:
    """``10.87.0.0/16``, with room for a gateway and a pod."""
    return _subnet(text, 4, 29)


def subnet_v6(text: str) -> str:
    """``fd74::/64``; empty for none."""
    return _subnet(text, 6, 125) if text else ""


def bridge(text: str) -> str:
    """The name of a network link, by the kernel's rules; empty for none."""
    if len(text.encode()) > 15:
        return "is longer than the 15 bytes that a network link's name may have"
    if text in (".", "..") or any(char in "/:" or char.isspace() for char in text):
        return "is not a name for a network link"
    return ""


def address(text: str) -> str:
    """An IP address, or a host's name."""
    return "is neither an address nor a host name" if not text or set(text) & set("/ @") else ""


def endpoint(text: str) -> str:
    """``host:port``."""
    host, colon, port = text.rpartition(":")
    if not colon or address(host) or not (port.isascii() and port.isdigit()):
        return "is not host:port"
    return "" if 0 < int(port) < 65536 else "has a port that is not between 1 and 65535"


def registry(text: str) -> str:
    """``host`` or ``host:port``."""
    return endpoint(text) if ":" in text.rpartition("]")[2] else address(text)


def pin(text: str) -> str:
    """A name, ``beginning*`` or ``*part*``."""
    inner = text.removesuffix("*")
    if len(inner) < len(text):
        inner = inner.removeprefix("*")
    if not inner:
        return "names nothing"
    return "has a * that is neither at its end nor at both ends" if "*" in inner else ""


def handler_name(text: str) -> str:
    """What a RuntimeClass may name, and what may be the name of a directory."""
    plain = text.isascii() and text.replace("-", "").replace("_", "").replace(".", "").isalnum()
    return "" if plain and text[0].isalnum() else "is not a name for a runtime handler"


def _subnet(text: str, version: int, longest: int) -> str:
    import ipaddress

    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        return f"is not a subnet: {error}"
    if network.version != version:
        return f"is not an IPv{version} subnet"
    if network.prefixlen > longest:
        return f"is too small a subnet: /{longest} is the smallest"
    return ""


def _said(parse: Callable[[], object]) -> str:
    try:
        parse()
    except TrilbyError as error:
        return f"is wrong: {error}"
    return ""

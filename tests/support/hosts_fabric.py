"""The network that hosts of Molecule hang on: a bridge, a web server of packages and a registry.

It is one process in a network namespace of its own, and everything of it ends with that process:
nothing is pinned, and nothing of it is seen on the machine. ``hosts.py`` starts it.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.support.hosts_place import remember
from tests.support.registry import start_registry

__all__ = [
    "GATEWAY",
    "GATEWAY6",
    "LENGTH",
    "LENGTH6",
    "PACKAGES",
    "REGISTRY",
    "SECURE",
    "USERS",
    "main",
]

BRIDGE = "fabric0"
GATEWAY = "10.88.0.1"
LENGTH = 24
#: Hosts have an address of each kind, with the same last number.
GATEWAY6 = "fd88::1"
LENGTH6 = 64
PACKAGES_PORT = 8000
REGISTRY_PORT = 5000
REGISTRY = f"{GATEWAY}:{REGISTRY_PORT}"
#: By TLS, for who knows the password.
SECURE_PORT = 5443
SECURE = f"{GATEWAY}:{SECURE_PORT}"
USERS = {"node": "only-for-tests"}
PACKAGES = f"http://{GATEWAY}:{PACKAGES_PORT}"


class _Packages(http.server.SimpleHTTPRequestHandler):
    """Folders below one directory; not a word on stderr for each file."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass


def main(directory: Path) -> int:
    """Serve until SIGTERM. ``directory/web`` has the packages, ``directory/ready`` says it is up."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    _ip("link", "set", "lo", "up")
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("address", "add", f"{GATEWAY}/{LENGTH}", "dev", BRIDGE)
    _ip("address", "add", f"{GATEWAY6}/{LENGTH6}", "dev", BRIDGE, "nodad")
    _ip("link", "set", BRIDGE, "up")
    handler = functools.partial(_Packages, directory=str(directory / "web"))
    with contextlib.ExitStack() as stack:
        web = stack.enter_context(
            http.server.ThreadingHTTPServer((GATEWAY, PACKAGES_PORT), handler)
        )
        stack.callback(web.shutdown)
        threading.Thread(target=web.serve_forever, daemon=True).start()
        stack.enter_context(
            start_registry(directory / "registry", address=GATEWAY, port=REGISTRY_PORT)
        )
        secure = stack.enter_context(
            start_registry(
                directory / "secure", address=GATEWAY, port=SECURE_PORT, tls=True, users=USERS
            )
        )
        assert secure.cert_dir is not None
        shutil.copy(secure.cert_dir / "ca.crt", directory / "web")
        remember(directory / "ready", os.getpid())
        ended.wait()
        (directory / "ready").unlink()
    return 0


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

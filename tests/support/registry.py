"""The distribution's docker-registry on a free loopback port: TLS, basic auth, own storage.

Importable without pytest, also by demos and benchmarks::

    with start_registry(directory, tls=True, users={"ada": "secret"}) as registry:
        ... registry.address, registry.cert_dir ...
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Debian's name of the program, and Fedora's.
PROGRAMS = ("docker-registry", "registry")
START_TIMEOUT = 20.0


@dataclass
class TestRegistry:
    """A running registry. ``cert_dir`` is what certs.d would hold for it (skopeo: --cert-dir)."""

    __test__ = False

    address: str
    directory: Path
    process: subprocess.Popen[bytes]
    cert_dir: Path | None = None
    users: dict[str, str] = field(default_factory=dict)

    @property
    def storage(self) -> Path:
        return self.directory / "storage"

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        return (self.directory / "registry.log").read_text(errors="replace")

    def blob_path(self, digest: str) -> Path:
        """Where the registry keeps a blob's bytes (to damage or look at them)."""
        algorithm, _, encoded = digest.partition(":")
        base = self.storage / "docker/registry/v2/blobs" / algorithm
        return base / encoded[:2] / encoded / "data"

    def stop(self) -> None:
        """Ends the process; the storage stays."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


def available() -> bool:
    """Whether this machine has the registry."""
    return _program() is not None


def _program() -> str | None:
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextlib.contextmanager
def start_registry(
    directory: Path,
    *,
    tls: bool = False,
    users: Mapping[str, str] | None = None,
    delete: bool = True,
    port: int = 0,
    address: str = "127.0.0.1",
    wait: bool = True,
) -> Iterator[TestRegistry]:
    """Start it under ``directory`` (made if missing); stop it at the end. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    cert_dir = make_certificates(directory / "tls", address) if tls else None
    passwords = _write_passwords(directory, users) if users else None
    place = f"{address}:{port or free_port(address)}"
    config = directory / "config.yml"
    config.write_text(_config(directory, place, cert_dir, passwords, delete))
    with (directory / "registry.log").open("ab") as log:
        process = subprocess.Popen(
            [_program() or PROGRAMS[0], "serve", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(directory),
                "OTEL_TRACES_EXPORTER": "none",
            },
            start_new_session=True,
        )
    registry = TestRegistry(place, directory, process, cert_dir, dict(users or {}))
    try:
        if wait:
            _wait_ready(registry)
        yield registry
    finally:
        registry.stop()


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody listens on at this moment."""
    with socket.create_server((address, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def make_certificates(directory: Path, address: str = "127.0.0.1") -> Path:
    """A CA and a server certificate for ``address`` and localhost; returns certs.d's directory.

    Writes ca.key, server.crt and server.key beside it; an existing set is kept.
    """
    cert_dir = directory / "certs.d"
    if (cert_dir / "ca.crt").exists():
        return cert_dir
    cert_dir.mkdir(parents=True)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    _openssl(
        directory, "req", "-x509", *key, "-days", "30", "-subj", "/CN=Trilby test CA",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        "-keyout", "ca.key", "-out", "certs.d/ca.crt",
    )  # fmt: skip
    _openssl(
        directory,
        "req",
        *key,
        "-subj",
        "/CN=registry",
        "-keyout",
        "server.key",
        "-out",
        "server.csr",
    )
    (directory / "names").write_text(f"subjectAltName=IP:{address},DNS:localhost\n")
    _openssl(
        directory, "x509", "-req", "-in", "server.csr", "-CA", "certs.d/ca.crt", "-CAkey", "ca.key",
        "-CAcreateserial", "-days", "30", "-extfile", "names", "-out", "server.crt",
    )  # fmt: skip
    return cert_dir


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def _write_passwords(directory: Path, users: Mapping[str, str]) -> Path:
    path = directory / "htpasswd"
    lines = []
    for name, password in users.items():
        made = subprocess.run(
            # Cost 4: each request of a test would otherwise wait for bcrypt.
            ["htpasswd", "-inB", "-C", "4", name],
            input=password.encode(),
            check=True,
            capture_output=True,
        )
        lines.append(made.stdout.decode().strip())
    path.write_text("\n".join(lines) + "\n")
    return path


def _config(
    directory: Path, place: str, cert_dir: Path | None, passwords: Path | None, delete: bool
) -> str:
    tls = directory / "tls"
    lines = [
        "version: 0.1",
        "log: {level: info}",
        "storage:",
        "  cache: {blobdescriptor: inmemory}",
        f"  filesystem: {{rootdirectory: {directory / 'storage'}, maxthreads: 100}}",
        f"  delete: {{enabled: {str(delete).lower()}}}",
        "http:",
        f"  addr: {place}",
        "  secret: only-for-tests",
    ]
    if cert_dir is not None:
        lines.append(f"  tls: {{certificate: {tls / 'server.crt'}, key: {tls / 'server.key'}}}")
    if passwords is not None:
        lines.append(f"auth: {{htpasswd: {{realm: trilby-test, path: {passwords}}}}}")
    return "\n".join(lines) + "\n"


def _wait_ready(registry: TestRegistry) -> None:
    """Until it accepts connections; its end before that is an error with its log."""
    host, _, port = registry.address.rpartition(":")
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end:
        if registry.process.poll() is not None:
            raise OSError(
                f"the registry ended with {registry.process.returncode}:\n{registry.log()}"
            )
        try:
            socket.create_connection((host, int(port)), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise OSError(f"the registry does not listen on {registry.address}:\n{registry.log()}")

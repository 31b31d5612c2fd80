"""An HTTPS server with certificates of its own that answers what it was told: of Kubernetes, etcd.

The certificates are real, made once in a process by openssl; who comes without one is refused.
"""

from __future__ import annotations

import atexit
import base64
import functools
import json
import shutil
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

#: The address that certificates are for, besides the loopback one.
ADDRESS = "203.0.112.9"
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

#: Path, with its question or without -> status and document; text goes as it is.
Answers = Mapping[str, tuple[int, object]]


class Authority:
    """A CA that signs for servers and clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._openssl(
            *("req", "-x509", *KEY, "-days", "30", "-subj", "/CN=tests", "-keyout", "ca.key"),
            *("-out", "ca.crt", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )
        self.certificate = (folder / "ca.crt").read_text()

    def sign(self, name: str, subject: str, days: int = 20) -> tuple[str, str]:
        """PEM of a certificate and of its key."""
        made = self.folder / f"{name}.crt"
        if not made.exists():
            self._openssl(
                "req", *KEY, "-subj", subject, "-keyout", f"{name}.key", "-out", "request"
            )
            (self.folder / "names").write_text(
                f"subjectAltName=IP:127.0.0.1,IP:{ADDRESS},DNS:localhost\n"
            )
            self._openssl(
                *("x509", "-req", "-in", "request", "-CA", "ca.crt", "-CAkey", "ca.key"),
                *("-CAcreateserial", "-days", str(days), "-extfile", "names", "-out", made.name),
            )
        return made.read_text(), (self.folder / f"{name}.key").read_text()

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)


@functools.cache
def authority() -> Authority:
    """The process' own, gone when it ends."""
    folder = tempfile.mkdtemp(prefix="ca-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Authority(Path(folder))


def kubeconfig(server: str, subject: str = "/O=system:nodes/CN=system:node:node1") -> str:
    """As kubeadm writes one."""
    name = "".join(letter for letter in subject if letter.isalnum())
    certificate, key = authority().sign(f"client-{name}", subject)
    return json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {
            "server": server, "certificate-authority-data": _base64(authority().certificate),
        }}],
        "users": [{"name": "u", "user": {
            "client-certificate-data": _base64(certificate), "client-key-data": _base64(key),
        }}],
    }, indent=1)  # fmt: skip


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class _Handler(BaseHTTPRequestHandler):
    answers: Answers = {}
    date = ""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        unknown = 404, {"message": f"{self.path} is not known"}
        plain = self.answers.get(self.path.partition("?")[0], unknown)
        status, document = self.answers.get(self.path, plain)
        body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def date_time_string(self, timestamp: float | None = None) -> str:
        return self.date or super().date_time_string(timestamp)

    def log_message(self, format: str, *words: object) -> None:
        pass


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that trust nobody hang up


@contextmanager
def tls_server(answers: Answers, date: str = "", clients: bool = True) -> Iterator[int]:
    """The port of a server on the loopback address."""
    certificate, key = authority().sign("server", "/CN=server")
    chain = authority().folder / "server.pem"
    chain.write_text(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    if clients:
        context.load_verify_locations(cadata=authority().certificate)
        context.verify_mode = ssl.CERT_REQUIRED
    handler = type("Handler", (_Handler,), {"answers": answers, "date": date})
    with _Quiet(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()

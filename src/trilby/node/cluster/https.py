"""Asking API servers and etcd over TLS, with certificates that stay in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from trilby.node.errors import PeerRefused, PeerUnreachable

if TYPE_CHECKING:
    import socket
    import ssl

    from trilby.node.host import Host

__all__ = ["Answer", "Https", "peer_certificate"]

T = TypeVar("T")

SECONDS: Final = 3.0
#: More than 5000 nodes in pages of 500 have at a time.
LIMIT: Final = 64 << 20
PORTS: Final = {"http": 80, "https": 443}


class Answer(msgspec.Struct, frozen=True):
    """``sent`` and ``received`` are of this host's clock; ``tls`` is the version, "" without."""

    status: int
    reason: str
    body: bytes
    date: str
    sent: float
    received: float
    tls: str

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace").strip()


class Https(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asked, whom to trust and who asks; see Kubeconfig for the members."""

    host: Host
    server: str
    authority: str = ""
    certificate: str = ""
    key: str = ""
    token: str = ""
    server_name: str = ""
    verify: bool = True
    seconds: float = SECONDS

    def ask(self, path: str, body: bytes | None = None) -> Answer:
        """A GET, or a POST of JSON. Raises PeerUnreachable."""
        import http.client

        method = "GET" if body is None else "POST"
        headers = {"Accept": "application/json", "User-Agent": "trilby-node-check"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        with self._failures(path), self._dial() as connection:
            tls = _tls(connection)
            client = http.client.HTTPConnection(urlsplit(self.server).netloc)
            client.sock = connection
            sent = time.time()
            client.request(method, path, body, headers)
            answer = client.getresponse()
            received = time.time()
            data = answer.read(LIMIT + 1)
            if len(data) > LIMIT:
                raise PeerUnreachable(f"{self.server}{path}: more than {LIMIT >> 20} MiB")
            date = answer.headers.get("Date", "")
            return Answer(answer.status, answer.reason, data, date, sent, received, tls)

    def read(self, path: str, kind: type[T], body: bytes | None = None) -> T:
        """What an answer of 200 holds. Raises PeerUnreachable, PeerRefused."""
        answer = self.ask(path, body)
        if answer.status != 200:
            raise PeerRefused(f"{self.server}{path}: {answer.status} {message_of(answer)}")
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except msgspec.DecodeError as error:
            raise PeerUnreachable(f"{self.server}{path} is not as it should be: {error}") from None

    @contextmanager
    def _failures(self, path: str) -> Iterator[None]:
        import http.client
        import ssl

        try:
            yield
        except ssl.SSLCertVerificationError as error:
            raise PeerUnreachable(
                f"{self.server} has no certificate to trust: {error.verify_message}",
                hint=f"openssl s_client -connect {urlsplit(self.server).netloc}",
            ) from None
        except ssl.SSLError as error:
            said = error.reason or str(error)
            raise PeerUnreachable(f"{self.server}{path}: TLS: {said}") from None
        except OSError as error:
            said = error.strerror or str(error)
            raise PeerUnreachable(f"{self.server} cannot be reached: {said}") from None
        except http.client.HTTPException as error:
            said = str(error) or type(error).__name__
            raise PeerUnreachable(f"{self.server}{path}: no HTTP: {said}") from None

    def _dial(self) -> socket.socket:
        """Raises OSError, and ValueError for what is no URL."""
        parts = urlsplit(self.server)
        name, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        connection = self.host.dial(name, port, self.seconds)
        if parts.scheme == "http":
            return connection
        try:
            return self._context().wrap_socket(
                connection, server_hostname=self.server_name or name
            )  # fmt: skip
        except BaseException:
            connection.close()
            raise

    def _context(self) -> ssl.SSLContext:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.authority:
            context.load_verify_locations(cadata=self.authority)
        else:
            context.load_default_certs()
        if self.certificate:
            with _in_memory(f"{self.certificate}\n{self.key}\n") as path:
                context.load_cert_chain(path)
        return context


@contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """A path for OpenSSL, which reads keys from files only; no disk ever has them."""
    fd = os.memfd_create("certificate")
    try:
        os.write(fd, text.encode())
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _tls(connection: socket.socket) -> str:
    import ssl

    return (connection.version() or "") if isinstance(connection, ssl.SSLSocket) else ""


def message_of(answer: Answer) -> str:
    """What a refusal says: the message of Kubernetes' Status, else its first line."""
    try:
        said = msgspec.json.decode(answer.body, type=dict[str, object]).get("message")
    except msgspec.DecodeError:
        said = ""
    lines = answer.text.splitlines()
    return str(said or (lines[0] if lines else answer.reason))[:300]


def peer_certificate(host: Host, name: str, port: int, seconds: float = SECONDS) -> str:
    """The PEM certificate that a TLS server shows, whoever it is. Raises OSError."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        host.dial(name, port, seconds) as connection,
        context.wrap_socket(connection, server_hostname=name) as encrypted,
    ):
        found = encrypted.getpeercert(binary_form=True)
    return ssl.DER_cert_to_PEM_cert(found or b"")

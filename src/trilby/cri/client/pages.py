"""The HTTP pages of our own daemon's socket, by the standard library: quick to import."""

from __future__ import annotations

import http.client
import socket
from typing import Final, TypeVar

import msgspec

from trilby.cri.client.address import no_daemon
from trilby.cri.client.errors import DaemonFailed, NotByCri
from trilby.cri.errors import CriError, InvalidRequest, NoSuchObject

T = TypeVar("T")

TIMEOUT: Final = 30.0
LARGEST: Final = 64 << 20


class _Refusal(msgspec.Struct):
    error: str = ""


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError as error:
            raise no_daemon(self._path, error) from error


def get(path: str, page: str, kind: type[T], *, method: str = "GET") -> T:
    """A page of the daemon at ``path``, read as ``kind``. Blocks.

    Raises NoDaemon; NotByCri where another runtime answers; what the page's status stands for.
    """
    connection = _Connection(path, TIMEOUT)
    try:
        connection.request(method, page)
        answer = connection.getresponse()
        body = answer.read(LARGEST)
    except (http.client.HTTPException, OSError) as error:
        raise NotByCri(
            f"{path} does not speak HTTP: {str(error) or type(error).__name__}",
            hint="the daemon there is not trilbyd",
        ) from error
    finally:
        connection.close()
    if answer.status != 200:
        raise _refused(path, page, answer.status, body)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise NotByCri(
            f"{page} of the daemon at {path}: {error}", hint="is it of another version?"
        ) from error


def _refused(path: str, page: str, status: int, body: bytes) -> CriError:
    """Ours says why, as JSON; CRI-O has other pages, and knows nothing of these."""
    try:
        said = msgspec.json.decode(body, type=_Refusal).error
    except msgspec.DecodeError:
        said = ""
    if not said:
        return NotByCri(
            f"the daemon at {path} has no {page} (HTTP {status})",
            hint="this needs trilbyd, of this version",
        )
    kinds: dict[int, type[CriError]] = {404: NoSuchObject, 400: InvalidRequest}
    return kinds.get(status, DaemonFailed)(said)

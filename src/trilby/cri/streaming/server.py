"""The streaming server: URLs that are good for one use, and the socket behind them.

Starting costs one socket. What speaks HTTP, SPDY and WebSocket is loaded with the first client.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from trilby.cri.errors import InvalidRequest, SocketBusy
from trilby.cri.streaming.calls import (
    VERBS,
    AttachCall,
    Call,
    ExecCall,
    ForwardCall,
    check_call,
)
from trilby.cri.streaming.settings import StreamingSettings
from trilby.cri.streaming.tokens import Tokens
from trilby.pods.engine import Engine

if TYPE_CHECKING:
    from trilby.cri.streaming.connection import Connection
    from trilby.cri.streaming.tls import Certificates

#: Clients at once; the rest waits in the kernel's queue.
MAX_CLIENTS: Final = 2000
_BACKLOG: Final = 512
# After a failure to accept: the process is out of descriptors, or of memory.
_PAUSE: Final = 0.5
# How long commands have to die when the server is closed.
_CLOSE_TIMEOUT: Final = 10.0

_log = logging.getLogger(__name__)


class StreamingServer:
    """Exec, attach and port-forward for clients that come with a URL of this server's."""

    def __init__(self, engine: Engine, settings: StreamingSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._tokens: Tokens[Call] = Tokens(settings.token_ttl, settings.max_tokens)
        self._listener: socket.socket | None = None
        self._certificates: Certificates | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._accepting = False
        self._base = ""

    async def start(self) -> None:
        """Listen. Raises SocketBusy; InvalidRequest for a bad address or certificate."""
        settings = self._settings
        if settings.tls_cert:
            from trilby.cri.streaming.tls import Certificates

            self._certificates = Certificates(settings)
        loop = asyncio.get_running_loop()
        host = settings.address or "127.0.0.1"
        try:
            found = await loop.getaddrinfo(host, settings.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise InvalidRequest(f"streaming server: address {host}: {error.strerror}") from error
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except BaseException as error:
            listener.close()
            if isinstance(error, OSError):
                raise SocketBusy(
                    f"streaming server: listening on {settings.address} port {settings.port}: "
                    f"{error.strerror}",
                    hint="set stream_address or stream_port",
                ) from error
            raise
        self._listener = listener
        self._base = f"{'https' if self._certificates else 'http'}://{_authority(listener)}"
        self._accept_more()

    async def close(self) -> None:
        """Stop listening, and end what runs: exec'd commands are killed, containers go on."""
        listener, self._listener = self._listener, None
        if listener is not None:
            self._accept_no_more(listener)
            listener.close()
        clients = list(self._clients)
        for task in clients:
            task.cancel()
        if clients:
            await asyncio.wait(clients, timeout=_CLOSE_TIMEOUT)

    def exec_url(
        self,
        container_id: str,
        cmd: Sequence[str],
        *,
        tty: bool,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    ) -> str:
        """Where to run a command. Raises InvalidRequest, TooManyStreams."""
        call = ExecCall(
            container_id=container_id,
            cmd=tuple(cmd),
            tty=tty,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
        return self._url(call)

    def attach_url(
        self, container_id: str, *, tty: bool, stdin: bool, stdout: bool, stderr: bool
    ) -> str:
        """Where to attach. Raises InvalidRequest, TooManyStreams."""
        call = AttachCall(
            container_id=container_id, tty=tty, stdin=stdin, stdout=stdout, stderr=stderr
        )
        return self._url(call)

    def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str:
        """Where to forward ports. Raises InvalidRequest, TooManyStreams."""
        return self._url(ForwardCall(sandbox_id=sandbox_id, ports=tuple(ports)))

    def _url(self, call: Call) -> str:
        check_call(call)
        return f"{self._base}/{VERBS[type(call)]}/{self._tokens.add(call)}"

    # Clients

    def _accept_more(self) -> None:
        if self._listener is not None and not self._accepting:
            self._accepting = True
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _accept_no_more(self, listener: socket.socket) -> None:
        self._accepting = False
        asyncio.get_running_loop().remove_reader(listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            _log.error("streaming server: cannot accept a client: %s", error)
            self._accept_no_more(listener)
            asyncio.get_running_loop().call_later(_PAUSE, self._accept_more)
            return
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        task = asyncio.create_task(self._welcome(client), name="streaming-client")
        self._clients.add(task)
        task.add_done_callback(self._client_gone)
        if len(self._clients) >= MAX_CLIENTS:
            self._accept_no_more(listener)

    def _client_gone(self, task: asyncio.Task[None]) -> None:
        self._clients.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("streaming server: a client's session failed", exc_info=task.exception())
        if len(self._clients) < MAX_CLIENTS:
            self._accept_more()

    async def _welcome(self, client: socket.socket) -> None:
        """One client from its first byte to its end."""
        from trilby.cri.streaming.connection import Connection
        from trilby.cri.streaming.session import serve

        settings = self._settings
        context = self._certificates.context() if self._certificates else None
        task = asyncio.current_task()
        assert task is not None
        made: list[Connection] = []
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(made.append, settings.idle_timeout),
                client,
                ssl=context,
                ssl_handshake_timeout=settings.creation_timeout if context else None,
            )
        except OSError as error:
            _log.debug("streaming server: no connection with a client: %s", error)
            return
        except BaseException:
            client.close()
            raise
        (connection,) = made
        connection.on_gone = task.cancel
        try:
            if not connection.gone:
                await serve(self._engine, settings, self._tokens, connection)
        finally:
            if self._listener is None:
                connection.abort()  # the loop may end soon
            else:
                connection.close()


def _authority(listener: socket.socket) -> str:
    """Host and port for URLs; whoever listens everywhere is reached on the loopback."""
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"[{host}]:{port}" if address.version == 6 else f"{host}:{port}"


__all__ = ["MAX_CLIENTS", "StreamingServer"]

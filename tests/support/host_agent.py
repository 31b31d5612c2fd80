"""The way into a host that is a virtual machine: runs commands for who connects, as ssh would.

It is one file without imports of ours, for it runs in the host, by the Python that is there for
Ansible; ssh's cryptography alone would take seconds on an emulated processor::

    host_agent.py serve PORT
    host_agent.py call ADDRESS PORT COMMAND...      its status, or 255 when nobody answers

A connection is one command: a line of JSON, then its stdin until that ends. Back come frames of a
letter (o, e: output; x: exit status), four bytes of length, and content. Who reaches the port is
root: it is for a network of tests.
"""

import json
import os
import pty
import selectors
import shutil
import socket
import struct
import subprocess
import sys
import termios
import threading
import tty
from typing import BinaryIO

HEAD = struct.Struct(">cI")
UNREACHABLE = 255


def serve(port: int) -> int:
    listener = socket.create_server(("", port), backlog=64)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def _serve(connection: socket.socket) -> None:
    with connection:
        line = b""
        # Byte by byte: what follows the line is for the command.
        while not line.endswith(b"\n"):
            byte = connection.recv(1)
            if not byte:
                return
            line += byte
        asked = json.loads(line)
        try:
            if asked["terminal"]:
                status = _in_terminal(connection, asked["command"], *asked["terminal"])
            else:
                status = _with_pipes(connection, asked["command"])
        except FileNotFoundError as error:
            _send(connection, b"e", f"{error}\n".encode())
            status = 127
        _send(connection, b"x", str(status).encode())


def _with_pipes(connection: socket.socket, command: list[str]) -> int:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=connection.fileno(), stdout=pipe, stderr=pipe, start_new_session=True
    ) as child:
        assert child.stdout and child.stderr
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ, b"o")
            selector.register(child.stderr, selectors.EVENT_READ, b"e")
            while selector.get_map():
                for key, _ in selector.select():
                    data = os.read(key.fd, 1 << 16)
                    if data:
                        _send(connection, key.data, data)
                    else:
                        selector.unregister(key.fileobj)
        return child.wait()


def _in_terminal(connection: socket.socket, command: list[str], rows: int, columns: int) -> int:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (rows, columns))
    child = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command], stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)

    def type_in() -> None:
        while data := connection.recv(1 << 12):
            os.write(master, data)

    threading.Thread(target=type_in, daemon=True).start()
    try:
        while data := os.read(master, 1 << 16):
            _send(connection, b"o", data)
    except OSError:
        pass  # nobody has the terminal open any more
    return child.wait()


def _send(connection: socket.socket, kind: bytes, data: bytes) -> None:
    connection.sendall(HEAD.pack(kind, len(data)) + data)


def call(address: str, port: int, command: list[str]) -> int:
    try:
        connection = socket.create_connection((address, port), timeout=5)
    except OSError as error:
        sys.stderr.write(f"host: {address} does not answer: {error}\n")
        return UNREACHABLE
    # A host that is gone without a word is found out after half a minute.
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5)):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    columns, rows = shutil.get_terminal_size()
    size = (rows, columns) if terminal else None
    connection.sendall(json.dumps({"command": command, "terminal": size}).encode() + b"\n")
    before = termios.tcgetattr(0) if terminal else None
    if terminal:
        tty.setraw(0)
    threading.Thread(target=_feed, args=(connection,), daemon=True).start()
    try:
        return _show(connection.makefile("rb"))
    except OSError as error:
        sys.stderr.write(f"host: {address}: {error}\n")
        return UNREACHABLE
    finally:
        if before is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def _feed(connection: socket.socket) -> None:
    try:
        while data := os.read(0, 1 << 16):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it has ended without reading all


def _show(stream: BinaryIO) -> int:
    """Write what comes; the command's exit status."""
    while len(head := stream.read(HEAD.size)) == HEAD.size:
        kind, length = HEAD.unpack(head)
        data = stream.read(length)
        if kind == b"x":
            status = int(data)
            return status if status >= 0 else 128 - status
        out = sys.stdout.buffer if kind == b"o" else sys.stderr.buffer
        out.write(data)
        out.flush()
    raise ConnectionResetError("the connection ended before the command")


def main(words: list[str]) -> int:
    match words:
        case ["serve", port]:
            return serve(int(port))
        case ["call", address, port, *command] if command:
            return call(address, int(port), command)
    sys.stderr.write(__doc__ or "")
    return 2


if __name__ == "__main__":
    # Not sys.exit(): a thread may still wait for input.
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

"""The way into a host that is a virtual machine: runs commands for who connects, as ssh would.

It is one file without imports of ours, for it runs in the host, by the Python that is there for
Ansible; ssh's cryptography alone would take seconds on an emulated processor::

    host_agent.py serve PORT
    host_agent.py call ADDRESS PORT COMMAND...      its status, or 255 when nobody answers

A connection is one command: a line of JSON, then its stdin until that ends. Back come frames of a
letter (o, e: output; x: exit status), four bytes of length, and content. Who reaches the port is
root: it is for a network of tests.

Ansible's modules are programs for this same Python, which come by stdin. They run in a child of
this process, which has imported what they import.
"""

import atexit
import importlib
import json
import os
import pty
import re
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import traceback
import tty
import types
from typing import BinaryIO

HEAD = struct.Struct(">cI")
UNREACHABLE = 255
#: How Ansible starts a module.
MODULE = re.compile(r"/bin/sh -c '/usr/bin/python3\.14 && sleep 0'")
#: What Ansible's modules import of the standard library.
IMPORTED = (
    "argparse ast base64 collections.abc configparser contextlib copy dataclasses datetime decimal "
    "email.utils enum errno fcntl fnmatch functools getpass glob grp gzip hmac http.client "
    "http.cookiejar importlib.util inspect io itertools locale logging mimetypes netrc operator "
    "pathlib platform pwd queue random runpy secrets select shlex ssl stat string syslog tempfile "
    "textwrap time typing urllib.error urllib.parse urllib.request urllib.robotparser uuid weakref "
    "zipfile"
).split()


def serve(port: int) -> int:
    for name in IMPORTED:
        importlib.import_module(name)
    listener = socket.create_server(("", port), backlog=64)
    # A process for each connection; nobody asks how they end.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            _serve(connection)
            os._exit(0)
        connection.close()


def _serve(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
        elif MODULE.fullmatch(asked["command"][-1]):
            status = _module(connection)
        else:
            status = _with_pipes(connection, asked["command"])
    except FileNotFoundError as error:
        _send(connection, b"e", f"{error}\n".encode())
        status = 127
    _send(connection, b"x", str(status).encode())


def _module(connection: socket.socket) -> int:
    """Run a program of Python that comes by stdin, without starting a Python for it."""
    out, err = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with connection.makefile("rb") as stream:
            source = stream.read()
        connection.close()
        null = os.open("/dev/null", os.O_RDONLY)
        for number, fd in enumerate((null, out[1], err[1])):
            os.dup2(fd, number)
        os.closerange(3, 64)
        os.setsid()
        os._exit(_run_source(source))
    os.close(out[1])
    os.close(err[1])
    _pump(connection, out[0], err[0])
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _run_source(source: bytes) -> int:
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    sys.argv = [""]
    status = 0
    try:
        exec(compile(source, "<stdin>", "exec"), main.__dict__)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _with_pipes(connection: socket.socket, command: list[str]) -> int:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=connection.fileno(), stdout=pipe, stderr=pipe, start_new_session=True
    ) as child:
        assert child.stdout and child.stderr
        _pump(connection, child.stdout.fileno(), child.stderr.fileno())
        return child.wait()


def _pump(connection: socket.socket, out: int, err: int) -> None:
    """Send what comes out of two pipes until both end."""
    with selectors.DefaultSelector() as selector:
        selector.register(out, selectors.EVENT_READ, b"o")
        selector.register(err, selectors.EVENT_READ, b"e")
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, 1 << 16)
                if data:
                    _send(connection, key.data, data)
                else:
                    selector.unregister(key.fileobj)


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

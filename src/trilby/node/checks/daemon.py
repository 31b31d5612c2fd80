"""Checks of the daemon: configuration, service, socket, certificates; and of Trilby itself."""

from __future__ import annotations

import os
import socket
import stat
import sys
from typing import TYPE_CHECKING, Final

from trilby.node.checks.certificates import dates, key_rights
from trilby.node.model import Check, Seen, failed, passed, skipped, warned, worst
from trilby.node.processes import main_process, unit

if TYPE_CHECKING:
    from trilby.node.node import Node

__all__ = ["CHECKS"]

GROUP: Final = "daemon"
SERVICE: Final = "trilby.service"
#: One that has just been started on a busy host takes seconds.
SECONDS: Final = 10.0
#: What sockaddr_un holds, with its final NUL.
SOCKET_LENGTH: Final = 107
_ABSENT: Final = "the daemon does not run, and is not meant to yet"


def _configuration(node: Node) -> Seen:
    settings = node.settings
    if settings.mistakes:
        return failed(*(str(each) for each in settings.mistakes[:5]))
    if settings.warnings:
        return warned(*(str(each) for each in settings.warnings[:5]))
    if settings.sources:
        return passed(*(f"{path} read" for path in settings.sources))
    return passed("no trilby.conf: the defaults")


def _service(node: Node) -> Seen:
    found = unit(node.host, SERVICE)
    if not found.file and not found.active:
        return skipped(f"{SERVICE} is not installed")
    if not found.enabled:
        return warned(f"{found.file or SERVICE} is not enabled")
    # conmon of the pods that go on is in its cgroup as well.
    if node.host.live and not main_process(node.host, SERVICE, "trilbyd"):
        return failed(f"{found.enabled}: enabled, but it does not run",
                      mend="systemctl start trilby; journalctl -u trilby -n 50")  # fmt: skip
    return passed(f"{found.enabled}: enabled")


def _meant(node: Node) -> bool:
    found = unit(node.host, SERVICE)
    return bool(found.active or found.enabled)


def _socket(node: Node) -> Seen:
    path = node.settings.listen
    found = node.host.stat(path)
    if found is None:
        if node.host.live and _meant(node):
            return failed(f"{path} is not there")
        return skipped(f"{path} is not there: {_ABSENT}")
    if not stat.S_ISSOCK(found.st_mode):
        return failed(f"{path} is no socket", mend=f"rm {path} && systemctl restart trilby")
    mode = stat.S_IMODE(found.st_mode)
    if mode & stat.S_IWOTH:
        return failed(
            f"{path} has mode {mode:04o}", mend=f"chmod 660 {path}, and see socket_mode"
        )  # fmt: skip
    return passed(f"{path} has mode {mode:04o}")


def _answers(node: Node) -> Seen:
    """GET /healthz by a plain socket: the daemon asks its engine before it says ok."""
    path = node.settings.listen
    if node.host.stat(path) is None or not node.host.live:
        return skipped(f"{path} is not there")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        try:
            connection.connect(node.host.path(path))
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
                               b"Connection: close\r\n\r\n")  # fmt: skip
            answer = _all(connection)
        except PermissionError:
            raise
        except OSError as error:
            # Nobody listens (ECONNREFUSED), or there was no answer in time.
            return failed(f"{path}: {error.strerror or error}")
    status = answer.partition(b"\r\n")[0].decode(errors="replace")
    if not status.startswith("HTTP/"):
        return warned(f"{path}: what answers is not trilbyd", mend="systemctl status trilby")
    seen = f"{path}: /healthz says {status}"
    return passed(seen) if " 200 " in f"{status} " else failed(seen)


def _all(connection: socket.socket) -> bytes:
    data = b""
    while len(data) < 1 << 16 and (block := connection.recv(1 << 14)):
        data += block
    return data


def _lengths(node: Node) -> Seen:
    seen = []
    for path in (node.settings.listen, f"{node.engine.run_root}/grpc.sock"):
        length = len(os.fsencode(path))
        text = f"{path} is {length} bytes long"
        most = SOCKET_LENGTH
        seen.append(passed(text) if length <= most else failed(f"{text}; {most} are possible"))
    return worst(seen, passed())


def _certificates(node: Node) -> Seen:
    renew = "renew it; the daemon reads it again by itself"
    seen = []
    for server in node.settings.servers:
        seen += [dates(node, server.certificate, renew), key_rights(node, server.key)]
    return worst(seen, skipped("no server of the daemon speaks TLS"))


def _log_directory(node: Node) -> Seen:
    path = node.settings.log_dir
    if not node.host.is_directory(path):
        return passed(f"{path} will be made")
    found = node.host.stat(path)
    if found and found.st_mode & 0o002:
        return failed(
            f"{path} has mode {stat.S_IMODE(found.st_mode):04o}", mend=f"chmod 755 {path}"
        )
    return passed(f"{path} is there")


def _python(node: Node) -> Seen:
    """The interpreter that runs this command runs the daemon too."""
    found = node.host.python()
    if not found:
        return skipped("the interpreter of another host is not known")
    seen = f"{sys.executable} is Python {'.'.join(map(str, found))}"
    if found >= (3, 16):
        return warned(f"{seen}; 3.15 is the newest that was tried")
    return passed(seen)


def _same_version(node: Node) -> Seen:
    """After an update the old daemon may still run: its program's file is deleted then."""
    pid = main_process(node.host, SERVICE, "trilbyd")
    if not pid:
        return skipped(f"{SERVICE} does not run")
    stale = []
    for number, line in node.host.lines(f"/proc/{pid}/maps"):
        if line.endswith(" (deleted)") and ("/trilby/" in line or ".so" in line):
            stale.append(f"/proc/{pid}/maps:{number}: {line.split(None, 5)[-1]}")
    if stale:
        return warned(*stale[:2], f"{len(stale)} in all: the files were replaced since it started")
    return passed(f"process {pid} runs what is installed")


def _killed(node: Node) -> Seen:
    path = f"/sys/fs/cgroup/system.slice/{SERVICE}/memory.events"
    if not node.host.exists(path):
        return skipped(f"{path} is not there")
    for number, line in node.host.lines(path):
        if line.startswith("oom_kill ") and line.split()[1] != "0":
            return warned(f"{path}:{number}: {line}")
    return passed(f"{path}: nothing was killed for want of memory")


CHECKS: Final = (
    Check(
        id="trilby-configuration", group=GROUP, title="trilby.conf", look=_configuration,
        why="the daemon does not start with a mistake; an unknown option does not count",
        mend="trilby config check",
    ),
    Check(
        id="trilby-service", group=GROUP, title="Service of the daemon", look=_service,
        why="after the next boot no pod starts", mend="systemctl enable --now trilby",
    ),
    Check(
        id="trilby-socket", group=GROUP, title="Socket of the daemon", look=_socket,
        why="the kubelet has nobody to talk to; who can write to it is root",
        mend="systemctl restart trilby; journalctl -u trilby -n 50",
    ),
    Check(
        id="trilby-answers", group=GROUP, title="Daemon answers", look=_answers, slow=True,
        why="a daemon that hangs starts and stops no pods",
        mend="systemctl restart trilby; journalctl -u trilby -n 50",
    ),
    Check(
        id="trilby-paths", group=GROUP, title="Length of socket paths", look=_lengths,
        why="the kernel takes no longer ones", mend="choose shorter ones in trilby.conf",
    ),
    Check(
        id="trilby-certificates", group=GROUP, title="Certificates of the daemon",
        look=_certificates, why="streams or metrics are refused",
    ),
    Check(
        id="trilby-logs", group=GROUP, title="Directory of logs", look=_log_directory,
        why="who can write there can lead the kubelet to any file",
    ),
    Check(
        id="trilby-python", group=GROUP, title="Version of Python", look=_python,
        why="the daemon runs on the versions that it was tried with", mend="dnf install python3",
    ),
    Check(
        id="trilby-running-version", group=GROUP, title="Running version of the daemon",
        look=_same_version, why="a mended mistake is still there until the daemon starts anew",
        mend="systemctl restart trilby",
    ),
    Check(
        id="trilby-memory", group=GROUP, title="Memory of the daemon", look=_killed,
        why="a daemon that is killed while it works leaves what the next one has to undo",
        mend="take MemoryMax out of the unit: systemctl edit trilby",
    ),
)  # fmt: skip

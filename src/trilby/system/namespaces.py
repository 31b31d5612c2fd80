"""Namespaces pinned as files, so that they live without a process; made in a thread that ends.

unshare(2) and setns(2) change only the calling thread. So each call here starts a thread of its
own, changes that, and lets it end: no other thread of the process ever sees another network, and no
helper program has to start. Only user namespaces need one (userns.py).

A pin is a bind mount of /proc/<thread>/ns/<kind> on an empty file in a directory of the caller's.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

from trilby.system import syscalls
from trilby.system.errors import NamespaceFailed
from trilby.system.files import Fd
from trilby.system.mount_table import unmount
from trilby.system.syscalls_mount import MS_BIND, fsconfig_create, fsmount, fsopen, mount

T = TypeVar("T")

KINDS: Final = {
    "net": syscalls.CLONE_NEWNET,
    "ipc": syscalls.CLONE_NEWIPC,
    "uts": syscalls.CLONE_NEWUTS,
    "pid": syscalls.CLONE_NEWPID,
    "user": syscalls.CLONE_NEWUSER,
    "mnt": syscalls.CLONE_NEWNS,
    "cgroup": syscalls.CLONE_NEWCGROUP,
}
# Those that a thread can take for itself without moving its whole process.
_THREAD_KINDS: Final = frozenset({"net", "ipc", "uts"})

_NS_GET_NSTYPE: Final = 0xB703
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1


def create_pinned(
    kinds: Iterable[str],
    directory: str | os.PathLike[str],
    *,
    hostname: str = "",
    sysctls: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Make new namespaces of ``kinds`` (net, ipc, uts) and pin them at ``directory``/<kind>.

    In them: loopback is up, the host name set, and ``sysctls`` ("net.ipv4.ip_forward": "1")
    written. The directory is made if missing. Returns {kind: path of the pin}. Raises
    NamespaceFailed, and leaves no pin then; a pin that exists already is an error.
    """
    wanted = set(kinds)
    if not wanted <= _THREAD_KINDS:
        raise NamespaceFailed(f"making namespaces {sorted(wanted)}: only net, ipc and uts can be")
    os.makedirs(directory, mode=0o755, exist_ok=True)
    pins = {kind: os.path.join(os.fspath(directory), kind) for kind in sorted(wanted)}

    def make() -> None:
        flags = 0
        for kind in wanted:
            flags |= KINDS[kind]
        syscalls.unshare(flags)
        _configure(wanted, hostname, sysctls or {})
        _pin_all({kind: f"/proc/thread-self/ns/{kind}" for kind in wanted}, pins)

    try:
        in_own_thread(make)
    except OSError as error:
        raise NamespaceFailed(f"making namespaces in {os.fspath(directory)}: {error}") from error
    return pins


def configure_pinned(
    pins: Mapping[str, str], *, hostname: str = "", sysctls: Mapping[str, str] | None = None
) -> None:
    """Bring loopback up, set the host name and sysctls in namespaces that are pinned already."""

    def configure() -> None:
        kinds = _THREAD_KINDS & pins.keys()
        for kind in sorted(kinds):
            _enter(pins[kind], kind)
        _configure(kinds, hostname, sysctls or {})

    try:
        in_own_thread(configure)
    except OSError as error:
        raise NamespaceFailed(f"setting up namespaces {dict(pins)}: {error}") from error


def pin(source: str, path: str | os.PathLike[str]) -> None:
    """Keep a namespace (its file: /proc/<pid>/ns/net) alive at ``path``; NamespaceFailed."""
    try:
        _pin(source, os.fspath(path))
    except OSError as error:
        raise NamespaceFailed(f"pinning {source} at {os.fspath(path)}: {error}") from error


def unpin(path: str | os.PathLike[str]) -> None:
    """Remove a pin; the namespace ends with its last process. A missing pin is fine. OSError."""
    while unmount(path, lazy=True):
        # Pinned twice over: the file can go only when nothing is on it.
        pass
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def unpin_all(directory: str | os.PathLike[str]) -> None:
    """Remove all pins in a directory, and the directory."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in names:
        unpin(os.path.join(directory, name))
    os.rmdir(directory)


def in_netns(path: str | os.PathLike[str], function: Callable[[], T]) -> T:
    """Run ``function`` in a thread of its own inside the network namespace at ``path``.

    Sockets that it makes stay in that namespace for good. Its exceptions come through; raises
    NamespaceFailed when the namespace cannot be entered.
    """

    def enter_and_run() -> T:
        try:
            _enter(os.fspath(path), "net")
        except OSError as error:
            raise NamespaceFailed(f"entering {os.fspath(path)}: {error}") from error
        return function()

    return in_own_thread(enter_and_run)


def in_own_thread(function: Callable[[], T]) -> T:
    """Run ``function`` in a new thread that ends with it; returns or raises what it does."""
    results: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=target, name="trilby-namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors.pop()
    return results.pop()


def open_namespace(path: str | os.PathLike[str], kind: str = "") -> Fd:
    """Open a namespace file and check that it is one, of ``kind``; NamespaceFailed."""
    label = os.fspath(path)
    try:
        fd = Fd.open(path, os.O_RDONLY)
    except OSError as error:
        raise NamespaceFailed(f"opening namespace {label}: {error.strerror}") from error
    try:
        found = fcntl.ioctl(fd.number, _NS_GET_NSTYPE)
    except OSError:
        fd.close()
        raise NamespaceFailed(
            f"opening namespace {label}: it is an ordinary file, not a namespace",
            hint="its pin was unmounted, or the host was restarted",
        ) from None
    if kind and found != KINDS[kind]:
        fd.close()
        raise NamespaceFailed(f"opening namespace {label}: it is not a {kind} namespace")
    return fd


def is_pinned(path: str | os.PathLike[str], kind: str = "") -> bool:
    """Whether a namespace (of ``kind``) is pinned at ``path``."""
    try:
        open_namespace(path, kind).close()
        return True
    except NamespaceFailed:
        return False


def namespace_id(path: str | os.PathLike[str]) -> tuple[int, int]:
    """What two files of the same namespace have in common, and no other has while it lives."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def same_namespace(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether two namespace files are of the same namespace; OSError when one is missing."""
    return namespace_id(one) == namespace_id(other)


def write_sysctl(name: str, value: str) -> None:
    """Set a sysctl (``a.b`` or ``a/b``) of the calling thread's namespaces; NamespaceFailed."""
    # As sysctl(8): the first separator decides, so that "net/ipv4/conf/eth0.1/forwarding" works.
    first = next((char for char in name if char in "./"), ".")
    path = name if first == "/" else name.translate({ord("."): "/", ord("/"): "."})
    if not path or ".." in path.split("/"):
        raise NamespaceFailed(f"setting sysctl {name!r}: it is not a name")
    try:
        try:
            _write(f"/proc/sys/{path}", value)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            _write_own_proc(f"sys/{path}", value)
    except OSError as error:
        raise NamespaceFailed(f"setting sysctl {name}={value}: {error.strerror}") from error


def _write(path: str, value: str) -> None:
    with Fd.open(path, os.O_WRONLY) as fd:
        os.write(fd.number, value.encode())


def _write_own_proc(path: str, value: str) -> None:
    """Below a /proc that nobody else sees: in containers the one that is there is read-only."""
    with Fd(fsopen("proc")) as context:
        fsconfig_create(context.number)
        with Fd(fsmount(context.number, 0)) as proc:
            _write(f"/proc/self/fd/{proc.number}/{path}", value)


def bring_up(interface: str) -> None:
    """Bring a network interface of the calling thread's namespace up; netdevice(7). OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", interface.encode(), 0)
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, request)
        flags = struct.unpack("16sh14x", answer)[1] | _IFF_UP
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", interface.encode(), flags))


def _configure(kinds: Iterable[str], hostname: str, sysctls: Mapping[str, str]) -> None:
    if "net" in kinds:
        bring_up("lo")
    if "uts" in kinds and hostname:
        syscalls.sethostname(hostname)
    for name, value in sysctls.items():
        write_sysctl(name, value)


def _enter(path: str, kind: str) -> None:
    with open_namespace(path, kind) as fd:
        syscalls.setns(fd.number, KINDS[kind])


def _pin_all(sources: Mapping[str, str], pins: Mapping[str, str]) -> None:
    """Pin all or none."""
    made: list[str] = []
    try:
        for kind, path in pins.items():
            _pin(sources[kind], path)
            made.append(path)
    except BaseException:
        for path in made:
            unpin(path)
        raise


def _pin(source: str, path: str) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_RDONLY, 0o444))
    except FileExistsError:
        # An empty file is what a restart of the host leaves of a pin; a pin in use is not ours.
        if is_pinned(path):
            raise OSError(errno.EEXIST, "a namespace is pinned there already", path) from None
    try:
        mount(source, path, None, MS_BIND)
    except BaseException:
        os.unlink(path)
        raise

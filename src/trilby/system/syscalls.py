"""The C library and the system calls of processes and namespaces; the root of all ctypes use.

Every wrapper raises OSError with the call's errno. The calls run without the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final

from trilby.system.errors import HostError

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWCGROUP: Final = 0x02000000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

PR_SET_CHILD_SUBREAPER: Final = 36
PR_GET_CHILD_SUBREAPER: Final = 37
PR_CAPBSET_READ: Final = 23

# Numbers from 424 on are the same on every architecture that Linux has; older calls go by name.
_PIDFD_GETFD: Final = 438

libc: Final = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def os_error(what: str, path: str | None = None) -> OSError:
    """The OSError for the errno of the last failed call; ``what`` goes into its text."""
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}", path)


def check(result: int, what: str, path: str | None = None) -> int:
    """``result`` of a C call unless that is negative."""
    if result < 0:
        raise os_error(what, path)
    return result


def syscall(number: int, *arguments: int | bytes | ctypes.c_void_p | None) -> int:
    """A raw system call; -1 means failed, see os_error().

    Integers travel as 64-bit values: variadic C arguments would cut off their upper half.
    """
    wide = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    return int(libc.syscall(ctypes.c_long(number), *wide))


def unshare(flags: int) -> None:
    """Give the calling *thread* new namespaces; unshare(2)."""
    check(libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, kind: int) -> None:
    """Move the calling *thread* into the namespace of ``fd``; setns(2)."""
    check(libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")


def sethostname(name: str) -> None:
    """Set the host name of the calling thread's UTS namespace; sethostname(2)."""
    data = os.fsencode(name)
    check(libc.sethostname(data, ctypes.c_size_t(len(data))), "sethostname", name)


def pidfd_open(pid: int) -> int:
    """A descriptor of process ``pid`` that becomes readable when it ends; pidfd_open(2)."""
    return os.pidfd_open(pid)


def pidfd_send_signal(pidfd: int, number: int) -> None:
    """Signal the process of ``pidfd``; unlike kill(2) it cannot hit a reused process number."""
    signal.pidfd_send_signal(pidfd, number)


def pidfd_getfd(pidfd: int, target: int) -> int:
    """A duplicate of another process' descriptor ``target``; pidfd_getfd(2)."""
    return check(syscall(_PIDFD_GETFD, pidfd, target, 0), "pidfd_getfd")


def prctl(option: int, value: int = 0) -> int:
    """prctl(2) of options with at most one number."""
    zero = ctypes.c_ulong(0)
    result = libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero)
    return check(result, f"prctl({option}, {value})")


def get_child_subreaper() -> bool:
    """Whether orphaned descendants of this process become its children."""
    flag = ctypes.c_int(0)
    zero = ctypes.c_ulong(0)
    option = ctypes.c_int(PR_GET_CHILD_SUBREAPER)
    check(libc.prctl(option, ctypes.byref(flag), zero, zero, zero), "prctl")
    return flag.value != 0


def load_library(name: str) -> ctypes.CDLL:
    """A shared library by its soname; raises HostError when the host has none."""
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise HostError(f"loading {name}: {error}") from error

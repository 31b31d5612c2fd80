"""User namespaces with ID maps, and the other namespaces of a pod that belong to one.

A process with threads cannot enter or make a user namespace. So a helper is started that does
(unshare(1), then cat(1): a byte that comes back says that the namespaces exist), its maps are
written from outside, the namespaces are pinned or opened, and the helper is killed.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from trilby.system.errors import NamespaceFailed
from trilby.system.files import Fd
from trilby.system.namespaces import configure_pinned, open_namespace, pin, unpin
from trilby.system.process_child import Child, CommandFailed

_HELPER_SECONDS: Final = 10
_OPTIONS: Final = {"net": "--net", "ipc": "--ipc", "uts": "--uts"}
# The kernel's limit of lines in a map, and of one write to it.
_MAX_RANGES: Final = 340
_GROUP_SYSCTL: Final = "net.ipv4.ping_group_range"


class IdRange(msgspec.Struct, frozen=True):
    """``size`` IDs from ``inside`` on in the namespace are the host's from ``outside`` on."""

    inside: int
    outside: int
    size: int


def open_user_namespace(uids: Sequence[IdRange], gids: Sequence[IdRange]) -> Fd:
    """A user namespace with these maps, alive as long as the descriptor: for idmapped mounts.

    Raises NamespaceFailed.
    """
    with _helper((), uids, gids) as process:
        return open_namespace(f"/proc/{process}/ns/user", "user")


def create_pinned_user(
    kinds: Iterable[str],
    directory: str | os.PathLike[str],
    uids: Sequence[IdRange],
    gids: Sequence[IdRange],
    *,
    hostname: str = "",
    sysctls: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """namespaces.create_pinned() with a new user namespace, pinned as ``user``, that owns the rest.

    Returns {kind: path of the pin}, "user" among them. Raises NamespaceFailed and leaves no pin.
    """
    wanted = sorted(set(kinds) - {"user"})
    os.makedirs(directory, mode=0o755, exist_ok=True)
    pins = {kind: os.path.join(os.fspath(directory), kind) for kind in ["user", *wanted]}
    made: list[str] = []
    try:
        with _helper(wanted, uids, gids) as process:
            for kind, path in pins.items():
                pin(f"/proc/{process}/ns/{kind}", path)
                made.append(path)
        configure_pinned(pins, hostname=hostname, sysctls=_outside(sysctls or {}, gids))
    except BaseException:
        for path in made:
            unpin(path)
        raise
    return pins


@contextmanager
def _helper(
    kinds: Iterable[str], uids: Sequence[IdRange], gids: Sequence[IdRange]
) -> Iterator[int]:
    """The process number of a helper that sits in new namespaces with the maps written."""
    label = f"making a user namespace with {len(uids)} ID ranges from host ID " + (
        str(uids[0].outside) if uids else "?"
    )
    try:
        options = [_OPTIONS[kind] for kind in kinds]
    except KeyError as error:
        raise NamespaceFailed(f"{label}: {error} cannot be made with it") from error
    ours_in, theirs_out = map(Fd, os.pipe())
    theirs_in, ours_out = map(Fd, os.pipe())
    with ours_in, ours_out:
        try:
            with theirs_in, theirs_out:
                argv = ["unshare", "--user", *options, "cat"]
                child = Child(argv, stdin=theirs_in.number, stdout=theirs_out.number)
        except CommandFailed as error:
            raise NamespaceFailed(f"{label}: {error}") from error
        try:
            _await_echo(child, ours_in.number, ours_out.number, label)
            try:
                _write_map(child.pid, "uid_map", uids)
                _write_map(child.pid, "gid_map", gids)
            except OSError as error:
                raise NamespaceFailed(
                    f"{label}: writing its maps: {error.strerror}",
                    hint="ranges must not overlap, and be ours in /etc/subuid unless we are root",
                ) from error
            yield child.pid
        finally:
            child.kill()
            child.reap(block=True)
            child.close()


def _outside(sysctls: Mapping[str, str], gids: Sequence[IdRange]) -> dict[str, str]:
    """The sysctls as they have to be written from outside of the user namespace.

    The kernel reads the groups of ping_group_range as the writer's, and we are on the host.
    """
    written = dict(sysctls)
    for name in sysctls:
        if name.replace("/", ".") == _GROUP_SYSCTL:
            inside = [int(word) for word in sysctls[name].split()]
            written[name] = " ".join(str(_map(group, gids)) for group in inside)
    return written


def _map(inside: int, ranges: Sequence[IdRange]) -> int:
    for item in ranges:
        if item.inside <= inside < item.inside + item.size:
            return item.outside + inside - item.inside
    raise NamespaceFailed(
        f"setting sysctl {_GROUP_SYSCTL}: group {inside} does not exist in the user namespace",
        hint="the upper end of a range of all groups is the last mapped one",
    )


def _await_echo(child: Child, read_fd: int, write_fd: int, label: str) -> None:
    os.write(write_fd, b".")
    ready, _, _ = select.select([read_fd], [], [], _HELPER_SECONDS)
    if not ready or os.read(read_fd, 1) != b".":
        child.kill()
        child.reap(block=True)
        child.finish_output()
        said = child.output(1).decode(errors="replace").strip() or "the helper did not answer"
        raise NamespaceFailed(
            f"{label}: {said}",
            hint="sysctl user.max_user_namespaces limits their number",
        )


def _write_map(process: int, name: str, ranges: Sequence[IdRange]) -> None:
    if not 0 < len(ranges) <= _MAX_RANGES:
        raise NamespaceFailed(f"{name}: 1 to {_MAX_RANGES} ranges are possible, not {len(ranges)}")
    lines = "".join(f"{item.inside} {item.outside} {item.size}\n" for item in ranges)
    # The kernel takes a map in one write only.
    with Fd.open(f"/proc/{process}/{name}", os.O_WRONLY) as fd:
        os.write(fd.number, lines.encode())

"""The process document of a command: the container's own process, running something else.

It is given to the runtime in full. Left to themselves runtimes differ in what a command inherits:
crun 1.8 would run it as root, whoever the container's user is.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trilby.oci.runtime import Process, User, encode_process

__all__ = ["exec_process"]


class _Config(msgspec.Struct):
    process: Process


def exec_process(
    bundle: str,
    argv: Sequence[str],
    *,
    tty: bool = False,
    user: str = "",
    working_dir: str = "",
    env: Sequence[str] = (),
) -> bytes:
    """What ``exec --process`` reads. ``user`` is ``uid[:gid]``; empty: the container's own."""
    with open(f"{bundle}/config.json", "rb") as file:
        own = msgspec.json.decode(file.read(), type=_Config).process
    return encode_process(
        msgspec.structs.replace(
            own,
            args=tuple(argv),
            terminal=tty,
            console_size=None,
            user=_user(own.user, user),
            cwd=working_dir or own.cwd,
            env=(*own.env, *env),
        )
    )


def _user(own: User, asked: str) -> User:
    if not asked:
        return own
    uid, _, gid = asked.partition(":")
    return msgspec.structs.replace(own, uid=int(uid), gid=int(gid) if gid else own.gid)

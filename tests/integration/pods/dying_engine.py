"""A program for tests: runs a pod like an engine's user, and dies of SIGKILL at a chosen point.

Usage: dying_engine.py <root> <tag> <point>. A point is ``<module>:<function>:<before|after>``;
the name of a method is ``<Class>.<method>``.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import os
import signal
import sys
from pathlib import Path

from tests.support.pods import DirectoryRootfs, Place, busybox, make_config, pod

from trilby.pods.engine import Engine


def die_at(point: str) -> None:
    module, name, when = point.split(":")
    owner: object = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    original = getattr(owner, last)

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(original)
    def blocking(*args: object, **kwargs: object) -> object:
        if when == "before":
            die()
        result = original(*args, **kwargs)
        die()
        return result

    @functools.wraps(original)
    async def waiting(*args: object, **kwargs: object) -> object:
        if when == "before":
            die()
        result = await original(*args, **kwargs)
        die()
        return result

    setattr(owner, last, waiting if inspect.iscoroutinefunction(original) else blocking)


async def main(root: str, tag: str, point: str) -> None:
    place = Place(tag, Path(root))
    engine = Engine(make_config(place), DirectoryRootfs(place.root / "rootfs"))
    await engine.start(recover=False)
    die_at(point)
    sandbox = await engine.run_sandbox(pod("pod", uid="0123"))
    container = await engine.create_container(sandbox, busybox("main"))
    await engine.start_container(container)
    await engine.stop_sandbox(sandbox)
    await engine.remove_sandbox(sandbox)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""The daemon that the CRI benchmark and the soak start: roots on tmpfs, logging as in service."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support import pods
from tests.support.cri_side import OURS, Peer
from tests.support.daemon import DaemonProcess

from trilby.system.mount_table import unmount_tree


class BenchDaemon(DaemonProcess):
    """As a test's daemon, but quiet."""

    def __init__(self, place: pods.Place, registries_conf: Path | None, runtime: str) -> None:
        further = ""
        if registries_conf:
            further += f'[trilby.image]\nregistries_conf = "{registries_conf}"\n'
            further += f'signature_policy = "{place.root}/policy.json"\n'
            accept = '{"default": [{"type": "insecureAcceptAnything"}]}'
            (place.root / "policy.json").write_text(accept)
        if runtime:
            further += f'[trilby.runtime.runtimes.runc]\nruntime_path = "{runtime}"\n'
        super().__init__(place, further)

    @property
    def argv(self) -> list[str]:
        argv = super().argv
        argv[argv.index("debug")] = "info"
        return argv

    @property
    def environment(self) -> dict[str, str]:
        """Bytecode is cached, as that of an installed package is."""
        environment = super().environment
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        return environment | {"PYTHONPYCACHEPREFIX": str(self.place.root / "pycache")}

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def peer(self) -> Peer:
        return Peer(OURS, self.socket, self.pid)


@asynccontextmanager
async def bench_daemon(
    directory: Path, registries_conf: Path | None = None, runtime: str = ""
) -> AsyncIterator[BenchDaemon]:
    """A running daemon; its store has busybox unless there is a registry to pull from."""
    directory.mkdir(parents=True)
    os.chmod(directory, 0o711)
    with pods.own_place(directory) as place:
        if registries_conf is None:
            pods.store_rootfs(place).store.close()
        daemon = BenchDaemon(place, registries_conf, runtime)
        # The first one writes the bytecode, and needs more memory for that.
        await daemon.start()
        await daemon.stop()
        await daemon.start()
        try:
            yield daemon
        finally:
            for sandbox in await daemon.sandboxes():
                await daemon.remove_pod(sandbox.id)
            await daemon.stop()
            unmount_tree(str(directory))
    shutil.rmtree(directory, ignore_errors=True)

"""The global flags, and what every command makes from them: the store, the images, the engine."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import click
import msgspec

if TYPE_CHECKING:
    from trilby.image.context import ImageContext
    from trilby.image.service import Images
    from trilby.pods.config import EngineConfig
    from trilby.pods.engine import Engine
    from trilby.storage.config import StorageConfig
    from trilby.storage.store import Store

LOG_LEVELS: Final = ("debug", "info", "warn", "error")


class Settings:
    """The values of the global flags; "" or empty where a flag was not given."""

    __slots__ = (
        "cgroup_manager",
        "config",
        "conmon",
        "log_level",
        "network_config_dirs",
        "root",
        "runroot",
        "runtime",
        "storage_driver",
        "storage_opts",
    )

    def __init__(
        self,
        *,
        root: str = "",
        runroot: str = "",
        storage_driver: str = "",
        storage_opts: tuple[str, ...] = (),
        log_level: str = "warn",
        config: str = "",
        runtime: str = "",
        conmon: str = "",
        cgroup_manager: str = "",
        network_config_dirs: tuple[str, ...] = (),
    ) -> None:
        self.root = root
        self.runroot = runroot
        self.storage_driver = storage_driver
        self.storage_opts = storage_opts
        self.log_level = log_level
        self.config = config
        self.runtime = runtime
        self.conmon = conmon
        self.cgroup_manager = cgroup_manager
        self.network_config_dirs = network_config_dirs

    def storage_config(self) -> StorageConfig:
        """What the flags, the environment and storage.conf say about the store.

        Raises:
            StorageConfigError: with file and line.
        """
        from trilby.storage.config import load_storage_config

        return load_storage_config(
            os.environ,
            root=os.path.abspath(self.root) if self.root else None,
            runroot=os.path.abspath(self.runroot) if self.runroot else None,
            driver=self.storage_driver or None,
            options=self.storage_opts or None,
        )

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The store, opened."""
        from trilby.storage.store import Store

        store = Store.open(self.storage_config())
        try:
            yield store
        finally:
            store.close()

    @contextmanager
    def images(
        self, context: ImageContext | None = None, *, recover: bool = False
    ) -> Iterator[Images]:
        """The images of the store; ``recover`` first removes what killed processes left there."""
        from trilby.image.context import ImageContext
        from trilby.image.service import Images

        with self.store() as store:
            if recover:
                _recover(store)
            yield Images(store, context or ImageContext())

    def engine_config(self) -> EngineConfig:
        """The engine's settings: its state is beside the store, trilby.conf and flags change it.

        Raises:
            InvalidEngineConfig: with file and line.
        """
        from trilby.pods.config import CgroupManager, EngineConfig
        from trilby.pods.config_load import load_config, with_runtime

        storage = self.storage_config()
        base = EngineConfig(
            root=f"{storage.graphroot}/trilby", run_root=f"{storage.runroot}/trilby"
        )
        loaded = load_config(base, self.config, _of_the_daemon)
        for warning in loaded.warnings:
            click.echo(f"Warning: {warning}", err=True)
        config = with_runtime(loaded.config, self.runtime) if self.runtime else loaded.config
        changes: dict[str, object] = {}
        if self.conmon:
            changes["conmon"] = self.conmon
        if self.cgroup_manager:
            changes["cgroup_manager"] = CgroupManager(self.cgroup_manager)
        if self.network_config_dirs:
            changes["cni_config_dirs"] = tuple(map(os.path.abspath, self.network_config_dirs))
        return msgspec.structs.replace(config, **changes)

    @asynccontextmanager
    async def engine(self, images: Images, *, recover: bool = False) -> AsyncIterator[Engine]:
        """The engine on the store of ``images``."""
        from trilby.pods.container_rootfs_store import StoreRootfs
        from trilby.pods.engine import Engine

        config = self.engine_config()
        engine = Engine(config, StoreRootfs(images.store, images, config.root))
        await engine.start(recover=recover)
        try:
            yield engine
        finally:
            await engine.close()


def _of_the_daemon() -> Iterable[str]:
    from trilby.cri.config_load import daemon_options

    return daemon_options()


def _recover(store: Store) -> None:
    """Commands that add to the store clear up before; a store that is fine costs milliseconds."""
    import logging

    found = store.recover()
    for kind, names in (
        ("incomplete layer", found.layers),
        ("abandoned staging directory", found.staging),
        ("file without a record", found.orphans),
    ):
        for name in names:
            logging.getLogger(__name__).warning("recovered the store: removed %s %s", kind, name)


def global_options() -> list[click.Parameter]:
    """The flags that stand before the command, with podman's names."""
    return [
        click.Option(["--root"], metavar="PATH", default="", help="Where images are kept."),
        click.Option(["--runroot"], metavar="PATH", default="", help="Where run-time state is."),
        click.Option(
            ["--storage-driver"], metavar="NAME", default="", help="Storage driver: overlay or vfs."
        ),
        click.Option(
            ["--storage-opt", "storage_opts"], metavar="KEY=VALUE", multiple=True,
            help="Option of the storage driver; may be repeated.",
        ),
        click.Option(
            ["--log-level"], type=click.Choice(LOG_LEVELS), default="warn", show_default=True,
            help="What is told on stderr.",
        ),
        click.Option(
            ["--config"], metavar="FILE", default="",
            help="trilby.conf to read instead of /etc/trilby/trilby.conf.",
        ),
        click.Option(["--runtime"], metavar="NAME|PATH", default="", help="The OCI runtime."),
        click.Option(["--conmon"], metavar="PATH", default="", help="The conmon to run."),
        click.Option(
            ["--cgroup-manager"], metavar="NAME", default="", help="cgroupfs or systemd."
        ),
        click.Option(
            ["--network-config-dir", "network_config_dirs"], metavar="DIR", multiple=True,
            help="Where CNI conflists are looked for; may be repeated.",
        ),
    ]  # fmt: skip

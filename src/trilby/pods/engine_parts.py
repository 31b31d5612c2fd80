"""What the engine's operations share: settings, paths, runtimes, network, events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from trilby.pods.config import EngineConfig
from trilby.pods.container_rootfs import RootfsProvider
from trilby.pods.errors import SandboxNotReady
from trilby.pods.events import Broadcaster
from trilby.pods.hooks import HookPoint
from trilby.pods.runtime import Runtimes
from trilby.pods.state import Layout
from trilby.pods.state_status import Inventory
from trilby.pods.trace import Traces

if TYPE_CHECKING:
    from trilby.pods.network.service import PodNetwork


class Pending:
    """A sandbox whose network is being set up in the background, and who uses it already."""

    def __init__(self, sandbox_id: str, task: asyncio.Task[None]) -> None:
        self.sandbox_id = sandbox_id
        self.task = task
        self._users = 0
        self._failed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        """For making a container in it. Raises SandboxNotReady when the network failed."""
        if self._failed:
            raise SandboxNotReady(f"the network of sandbox {self.sandbox_id[:12]} failed")
        self._users += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._idle.set()

    async def fail(self) -> None:
        """Let nobody use it any more, and wait for those who do."""
        self._failed = True
        await self._idle.wait()


class Parts:
    """One per engine. ``pending`` has sandboxes whose network is being set up in the background."""

    def __init__(self, config: EngineConfig, rootfs: RootfsProvider) -> None:
        self.config = config
        self.rootfs = rootfs
        self.layout = Layout(config.root, config.run_root)
        self.inventory = Inventory(self.layout)
        self.runtimes = Runtimes(config)
        self.events = Broadcaster(self.layout)
        self.traces = Traces()
        self.hooks = HookPoint()
        self.pending: dict[str, Pending] = {}
        self._network: PodNetwork | None = None

    def replace_config(self, config: EngineConfig) -> None:
        """See Engine.replace_config. Runtimes in use are looked up anew, with their features."""
        fixed = self.config
        self.config = msgspec.structs.replace(
            config,
            root=fixed.root,
            run_root=fixed.run_root,
            cgroup_manager=fixed.cgroup_manager,
        )
        self.runtimes = Runtimes(self.config)

    @property
    def network(self) -> PodNetwork:
        """The pods' network; made at its first use, because host-network pods need none."""
        if self._network is None:
            from trilby.pods.network.builtin import BuiltinNetwork
            from trilby.pods.network.service import NetworkSettings, PodNetwork

            config = self.config
            builtin = BuiltinNetwork(
                bridge=config.bridge_name,
                subnet_v4=config.bridge_subnet,
                subnet_v6=config.bridge_subnet_v6,
                # Where host-local looks by itself, for the usual cache directory.
                data_dir=config.bridge_data_dir or f"{config.cni_cache_dir}/networks",
            )
            self._network = PodNetwork(
                NetworkSettings(
                    config_dirs=config.cni_config_dirs,
                    plugin_dirs=config.cni_plugin_dirs,
                    cache_dir=config.cni_cache_dir,
                    default_network=config.cni_default_network,
                    builtin=builtin if config.bridge_name else None,
                    owner=config.root,
                )
            )
        return self._network

    def follow(self) -> None:
        """Keep what lists show, and watch instead of reading it each time; until close()."""
        from trilby.pods.state_followed import FollowedInventory

        if not isinstance(self.inventory, FollowedInventory):
            self.inventory = FollowedInventory(self.layout)

    async def close(self) -> None:
        """Stop watching."""
        self.inventory.close()
        self.inventory = Inventory(self.layout)
        await self.events.close()
        if self._network is not None:
            await self._network.close()

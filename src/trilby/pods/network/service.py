"""The network of the pods: which configuration counts now, and attaching pods to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection

import msgspec

from trilby.errors import TrilbyError
from trilby.pods.network import masquerade
from trilby.pods.network.attachment import Attachment
from trilby.pods.network.builtin import BuiltinNetwork, builtin_conflist, host_has_ipv6
from trilby.pods.network.cni import Cni, uninterrupted
from trilby.pods.network.conflist import Conflist, Discovered, discover
from trilby.pods.network.errors import NetworkNotReady
from trilby.pods.network.plugin import DEFAULT_TIMEOUT
from trilby.pods.network.result import NetworkResult
from trilby.pods.network.watch import DirectoryWatch

log = logging.getLogger(__name__)


class NetworkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where things are. ``default_network`` empty: the first in order. ``owner`` marks what is
    ours in the cache: something unique to the engine, such as its root directory.

    ``builtin`` is used when the directories hold no usable configuration; None: never.
    """

    config_dirs: tuple[str, ...] = ("/etc/cni/net.d",)
    plugin_dirs: tuple[str, ...] = ("/usr/libexec/cni", "/opt/cni/bin", "/usr/lib/cni")
    cache_dir: str = "/var/lib/cni"
    default_network: str = ""
    builtin: BuiltinNetwork | None = BuiltinNetwork()
    owner: str = ""
    timeout: float = DEFAULT_TIMEOUT


class PodNetwork:
    """Attaches pods to the default network. Calls for different pods may run at once.

    Without start() the configuration is read at the first use and after reload() only; start()
    also watches the directories, so that a network provider's file counts as soon as it is there.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        if settings.builtin and settings.builtin.subnet_v6 and not host_has_ipv6():
            v4 = msgspec.structs.replace(settings.builtin, subnet_v6="")
            settings = msgspec.structs.replace(settings, builtin=v4)
        self.settings = settings
        self.cni = Cni(
            settings.plugin_dirs,
            settings.cache_dir,
            owner=settings.owner,
            timeout=settings.timeout,
        )
        self._discovered: Discovered | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._change: asyncio.Future[None] | None = None
        self._rules: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the configuration and follow its changes until close()."""
        watch = DirectoryWatch(self.settings.config_dirs)
        self.reload()
        self._watcher = asyncio.create_task(self._follow(watch), name="cni-configuration")

    async def close(self) -> None:
        tasks = [task for task in (self._watcher, self._rules) if task]
        self._watcher = self._rules = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def reload(self) -> Discovered:
        """Read the configuration directories now."""
        found = discover(self.settings.config_dirs)
        known = {str(error) for error in self._discovered.errors} if self._discovered else set()
        for error in found.errors:
            if str(error) not in known:
                log.warning("network configuration ignored: %s", error)
        self._discovered = found
        return found

    async def wait_changed(self) -> None:
        """Wait until the configuration was read again because a file changed (after start())."""
        if self._change is None:
            self._change = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._change)

    def configuration(self, *, host_ports: bool = False) -> Conflist:
        """The network that a new pod would be attached to. Raises ``NetworkNotReady``."""
        found = self._discovered or self.reload()
        chosen = found.choose(self.settings.default_network)
        if chosen:
            return chosen
        named = self.settings.default_network
        if self.settings.builtin and named in ("", self.settings.builtin.name):
            if not found.errors:
                return builtin_conflist(self.settings.builtin, host_ports=host_ports)
        where = ", ".join(self.settings.config_dirs) or "no directories"
        problems = "".join(f"; {error}" for error in found.errors)
        what = f"no network named {named!r}" if named else "no usable network configuration"
        raise NetworkNotReady(
            f"{what} in {where}{problems}", hint="add a .conflist file, or repair the named one"
        )

    async def attach(self, attachment: Attachment) -> NetworkResult:
        """CNI ADD. After a failure nothing is left attached."""
        network = self.configuration(host_ports=bool(attachment.host_ports))
        if network.path or not self.settings.builtin:
            return await self.cni.add(network, attachment)
        # Both take some milliseconds, mostly of waiting.
        rules = asyncio.create_task(self._ensure_rules(self.settings.builtin))
        try:
            result = await self.cni.add(network, attachment)
        except BaseException:
            rules.cancel()
            await asyncio.gather(rules, return_exceptions=True)
            raise
        try:
            await rules
        except BaseException:
            await uninterrupted(self.cni.delete(network, attachment))
            raise
        return result

    async def remove_builtin(self) -> None:
        """Remove the packet filter rules of the builtin network; for when the last pod is gone.

        The bridge plugin's bridge stays, as the plugin leaves it.
        """
        if self.settings.builtin:
            await masquerade.remove(self.settings.builtin)

    async def detach(self, attachment: Attachment) -> None:
        """CNI DEL; fine when the pod is detached already or its namespace is gone."""
        network = None
        with contextlib.suppress(NetworkNotReady):
            network = self.configuration(host_ports=bool(attachment.host_ports))
        await self.cni.delete(network, attachment)

    async def check(self, attachment: Attachment) -> None:
        """CNI CHECK; raises when the pod's network is not as it was made."""
        await self.cni.check(attachment)

    async def status(self) -> None:
        """Raises ``NetworkNotReady`` or ``PluginNotFound`` when no pod could be attached now."""
        await self.cni.status(self.configuration())

    async def collect_garbage(self, valid: Collection[tuple[str, str]]) -> list[TrilbyError]:
        """Detach what we attached and is not in ``valid`` (sandbox id, interface) any more."""
        return await self.cni.collect_garbage(self.configuration(), valid)

    async def _ensure_rules(self, builtin: BuiltinNetwork) -> None:
        """Pods that come at the same time share one look at the rules."""
        if self._rules is None or self._rules.done():
            self._rules = asyncio.create_task(masquerade.ensure(builtin))
            # Every waiter may have been cancelled; the failure is not lost on the others.
            self._rules.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._rules)

    async def _follow(self, watch: DirectoryWatch) -> None:
        async with watch:
            async for _ in watch.changes():
                try:
                    self.reload()
                except OSError as error:
                    log.warning("network configuration not read again: %s", error)
                change, self._change = self._change, None
                if change:
                    change.set_result(None)

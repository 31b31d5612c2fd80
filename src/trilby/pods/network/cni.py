"""The CNI operations on one network: ADD, DEL, CHECK, STATUS, GC over its list of plugins.

Follows the CNI specification 1.1, section 2, and libcni: plugins run one after the other (each
gets the result of those before), DEL runs them backwards, and results are cached on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Collection, Coroutine
from functools import lru_cache

import msgspec

from trilby.errors import TrilbyError
from trilby.oci.codec import JsonValue
from trilby.pods.network.attachment import Attachment, capability_args, cni_args
from trilby.pods.network.cache import CachedAttachment, ResultCache
from trilby.pods.network.conflist import Conflist, Plugin, at_least, parse_conflist
from trilby.pods.network.document import JsonObject
from trilby.pods.network.errors import (
    NOT_AVAILABLE,
    ConflistInvalid,
    NetworkNotReady,
    PluginFailed,
)
from trilby.pods.network.plugin import (
    DEFAULT_TIMEOUT,
    Target,
    VersionCache,
    build_call,
    find_plugin,
    run_plugin,
)
from trilby.pods.network.result import NetworkResult, as_version, parse_result
from trilby.pods.trace import part

log = logging.getLogger(__name__)

# No plugin declares this capability, so none is told; libcni keeps it with the rest.
OWNER_KEY = "io.trilby.owner"


class Cni:
    """Runs plugins. ``plugin_dirs`` are searched in order; ``cache_dir`` is libcni's kind.

    Other tools may share the cache directory and even the network, so what we attach is marked
    with ``owner``, and garbage collection touches nothing else.
    """

    def __init__(
        self,
        plugin_dirs: Collection[str],
        cache_dir: str,
        *,
        owner: str = "",
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        self.plugin_dirs = tuple(plugin_dirs)
        self.owner = owner
        self.cache = ResultCache(cache_dir)
        self.timeout = timeout
        self._versions = VersionCache()

    async def version(self, network: Conflist) -> str:
        """The newest version that the list, every plugin of it, and we speak."""
        if len(network.versions) == 1:
            return network.version
        usable = set(network.versions)
        for plugin in network.plugins:
            usable &= await self._versions.supported(find_plugin(plugin.type, self.plugin_dirs))
        best = [version for version in network.versions if version in usable]
        if not best:
            raise NetworkNotReady(
                f"network {network.name}: its plugins do not all speak one of the CNI versions "
                f"{', '.join(network.versions)}"
            )
        return best[-1]

    async def add(self, network: Conflist, attachment: Attachment) -> NetworkResult:
        """Attach a pod. When a plugin fails, what the others made is removed, and it raises."""
        version = await self.version(network)
        target = _target(attachment)
        capabilities = capability_args(attachment)
        cached = self._cached(network, attachment, capabilities)
        self.cache.write(cached)
        previous: JsonValue = None
        try:
            for plugin in network.plugins:
                config = _config(network, version, plugin, capabilities, previous)
                printed = await self._run("ADD", network, plugin, config, target)
                previous = previous if printed is None else printed
            result = self._result(network, previous)
        except BaseException:
            await uninterrupted(self._undo(network, attachment))
            raise
        raw = msgspec.Raw(msgspec.json.encode(result.document))
        self.cache.write(msgspec.structs.replace(cached, result=raw))
        return result

    async def delete(self, network: Conflist | None, attachment: Attachment) -> None:
        """Detach a pod: what was attached by the cached lists, else by ``network``.

        Fine when it is detached already. All plugins run even if one fails; then it raises the
        first failure and keeps the cached result, so that a second call can finish.
        """
        known = [
            cached
            for cached in self.cache.attachments(attachment.sandbox_id)
            if cached.if_name == attachment.ifname
        ]
        if known:
            for cached in known:
                await self.delete_cached(cached, netns=attachment.netns)
        elif network is not None:
            await self._delete(
                network, _target(attachment), capability_args(attachment), previous=None
            )

    async def delete_cached(self, cached: CachedAttachment, netns: str = "") -> None:
        """Detach what a cache file is about, with the configuration that it was attached by."""
        try:
            network = _parsed_before(cached.config)
        except ConflistInvalid as error:
            log.warning(
                "network %s: the cached configuration of %s is not usable, forgotten: %s",
                cached.network_name,
                cached.container_id,
                error,
            )
            self.cache.remove(cached.network_name, cached.container_id, cached.if_name)
            return
        target = Target(
            container_id=cached.container_id,
            netns=netns or cached.netns,
            ifname=cached.if_name,
            args=cached.cni_args,
        )
        previous = _parsed(cached)
        await self._delete(network, target, cached.capabilities(), previous)
        self.cache.remove(cached.network_name, cached.container_id, cached.if_name)

    async def check(self, attachment: Attachment) -> None:
        """Raise ``PluginFailed`` if the pod's network is not as ADD made it.

        The configuration of that ADD counts. Nothing happens when its version has no CHECK
        (before 0.4.0) or the list disables it.
        """
        known = [
            cached
            for cached in self.cache.attachments(attachment.sandbox_id)
            if cached.if_name == attachment.ifname
        ]
        if not known:
            raise NetworkNotReady(f"{attachment.sandbox_id} is not on any network")
        for cached in known:
            previous = _parsed(cached)
            if previous is None:
                raise NetworkNotReady(
                    f"network {cached.network_name}: ADD of {cached.container_id} did not end"
                )
            network = _parsed_before(cached.config)
            version = await self.version(network)
            if network.disable_check or not at_least(version, "0.4.0"):
                continue
            document = as_version(previous, version)
            for plugin in network.plugins:
                config = _config(network, version, plugin, cached.capabilities(), document)
                await self._run("CHECK", network, plugin, config, _target(attachment))

    async def status(self, network: Conflist) -> None:
        """Raise if the network cannot take pods now: a plugin is missing or says so (1.1.0)."""
        for plugin in network.plugins:
            find_plugin(plugin.type, self.plugin_dirs)
        version = await self.version(network)
        if not at_least(version, "1.1.0"):
            return
        for plugin in network.plugins:
            config = _config(network, version, plugin, {}, None)
            try:
                await self._run("STATUS", network, plugin, config, Target())
            except PluginFailed as error:
                if error.code >= NOT_AVAILABLE:
                    raise NetworkNotReady(error.message, hint=error.hint) from error
                raise

    async def collect_garbage(
        self, network: Conflist, valid: Collection[tuple[str, str]]
    ) -> list[TrilbyError]:
        """Detach what we attached that is not ``valid`` (container, interface) any more.

        Plugins of ``network`` are told, from version 1.1.0 on, what is valid: that, and what
        other tools have attached. Returns the failures.
        """
        failures: list[TrilbyError] = []
        others = []
        for cached in self.cache.attachments():
            if cached.capabilities().get(OWNER_KEY) != self.owner:
                others.append((cached.container_id, cached.if_name))
            elif (cached.container_id, cached.if_name) not in valid:
                try:
                    await self.delete_cached(cached)
                except TrilbyError as error:
                    failures.append(error)
        version = await self.version(network)
        if not network.disable_gc and at_least(version, "1.1.0"):
            failures += await self._gc_plugins(network, version, {*valid, *others})
        return failures

    async def _gc_plugins(
        self, network: Conflist, version: str, valid: Collection[tuple[str, str]]
    ) -> list[TrilbyError]:
        failures: list[TrilbyError] = []
        listed: list[JsonValue] = [
            {"containerID": container, "ifname": ifname} for container, ifname in sorted(valid)
        ]
        for plugin in network.plugins:
            config = _config(network, version, plugin, {}, None)
            config["cni.dev/valid-attachments"] = listed
            config["cni.dev/attachments"] = listed
            try:
                await self._run("GC", network, plugin, config, Target())
            except TrilbyError as error:
                failures.append(error)
        return failures

    async def _delete(
        self,
        network: Conflist,
        target: Target,
        capabilities: JsonObject,
        previous: NetworkResult | None,
    ) -> None:
        if target.netns and not os.path.exists(target.netns):
            target = msgspec.structs.replace(target, netns="")
        version = await self.version(network)
        document = None
        if previous is not None and at_least(version, "0.4.0"):
            document = as_version(previous, version)
        failures = []
        for plugin in reversed(network.plugins):
            config = _config(network, version, plugin, capabilities, document)
            try:
                await self._run("DEL", network, plugin, config, target)
            except TrilbyError as error:
                failures.append(error)
        for further in failures[1:]:
            log.warning("%s", further)
        if failures:
            raise failures[0]

    async def _undo(self, network: Conflist, attachment: Attachment) -> None:
        try:
            await self.delete(network, attachment)
        except TrilbyError as error:
            log.warning("after a failed ADD of %s: %s", attachment.sandbox_id, error)

    async def _run(
        self, command: str, network: Conflist, plugin: Plugin, config: JsonObject, target: Target
    ) -> JsonValue:
        path = find_plugin(plugin.type, self.plugin_dirs)
        call = build_call(path, command, network.name, config, target, self.plugin_dirs)
        with part(f"{command} {plugin.type}"):
            return await run_plugin(call, self.timeout)

    def _cached(
        self, network: Conflist, attachment: Attachment, capabilities: JsonObject
    ) -> CachedAttachment:
        return CachedAttachment(
            container_id=attachment.sandbox_id,
            config=network.raw,
            if_name=attachment.ifname,
            network_name=network.name,
            netns=attachment.netns,
            cni_args=cni_args(attachment),
            capability_args=msgspec.Raw(
                msgspec.json.encode({**capabilities, OWNER_KEY: self.owner})
            ),
        )

    def _result(self, network: Conflist, document: JsonValue) -> NetworkResult:
        try:
            return parse_result(document)
        except ValueError as error:
            raise PluginFailed(f"network {network.name}: {error}") from None


async def uninterrupted(work: Coroutine[None, None, None]) -> None:
    """Finish ``work`` whatever cancels us meanwhile: half undone is worse than late."""
    task = asyncio.create_task(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    task.result()


def _target(attachment: Attachment) -> Target:
    return Target(
        container_id=attachment.sandbox_id,
        netns=attachment.netns,
        ifname=attachment.ifname,
        args=cni_args(attachment),
    )


def _parsed(cached: CachedAttachment) -> NetworkResult | None:
    try:
        document = cached.document()
        return None if document is None else parse_result(document)
    except ValueError as error:
        log.warning("cached result of %s ignored: %s", cached.container_id, error)
        return None


@lru_cache(maxsize=4)
def _parsed_before(config: bytes) -> Conflist:
    """Attachments of one network have the same configuration."""
    return parse_conflist(config, "")


def _config(
    network: Conflist,
    version: str,
    plugin: Plugin,
    capabilities: JsonObject,
    previous: JsonValue,
) -> JsonObject:
    """A plugin's configuration: its own object, named and versioned, and what is known so far.

    The plugin sees in runtimeConfig only the capabilities that it declares.
    """
    config = {**plugin.config, "name": network.name, "cniVersion": version}
    wanted: JsonObject = {
        key: value for key, value in capabilities.items() if key in plugin.capabilities
    }
    if wanted:
        config["runtimeConfig"] = wanted
    if previous is not None:
        config["prevResult"] = previous
    return config

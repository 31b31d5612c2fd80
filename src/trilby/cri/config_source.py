"""The running daemon's configuration: its files, and reading them again, all or nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

from trilby.cri.config_load import Change, Loaded, all_options, changes, daemon_options, load
from trilby.cri.config_text import Row, change_texts, rows
from trilby.pods.config_option import HANDLERS, Scope

if TYPE_CHECKING:
    from pathlib import Path

    from trilby.cri.config import DaemonConfig
    from trilby.pods.config import EngineConfig

__all__ = ["ConfigFiles", "Reloaded", "merged"]

log = logging.getLogger(__name__)


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What reading the files again changed: keys of options by what they need."""

    applied: list[str]
    new_pods: list[str]
    restart: list[str]
    warnings: list[str]


class Applies(Protocol):
    """Who takes over a new configuration: the daemon."""

    def apply(self, config: DaemonConfig) -> None: ...


class ConfigFiles:
    """Files and flags. What was read last, and what counts, which may be older.

    ``then`` is told of every configuration that was taken over, after the daemon.
    """

    def __init__(
        self,
        config_file: Path | None = None,
        config_dir: Path | None = None,
        overrides: Mapping[str, object] | None = None,
        *,
        then: Callable[[DaemonConfig], None] | None = None,
    ) -> None:
        self._then = then
        self._arguments = (config_file, config_dir, dict(overrides or {}))
        self._loaded = load(*self._arguments)
        for warning in self._loaded.warnings:
            log.warning("%s", warning)

    def current(self) -> DaemonConfig:
        """What counts."""
        return self._loaded.config

    def describe(self) -> list[Row]:
        """Every option's effective value and its origin, ready for JSON."""
        return rows(self._loaded)

    async def reload(self, daemon: Applies) -> Reloaded:
        """Take over what may change while the daemon runs.

        Nothing is changed when anything is wrong: raises InvalidEngineConfig, StorageConfigError.
        """
        found = await asyncio.to_thread(load, *self._arguments)
        different = changes(self._loaded.config, found.config)
        config = merged(self._loaded.config, found.config)
        daemon.apply(config)
        if self._then is not None:
            self._then(config)
        late = {change.key for change in different if change.scope is Scope.RESTART}
        before = self._loaded.origins
        origins = {
            key: before.get(key, origin) if key in late else origin
            for key, origin in found.origins.items()
        }
        self._loaded = Loaded(
            config=config, origins=origins, warnings=found.warnings, sources=found.sources
        )
        for warning in found.warnings:
            log.warning("%s", warning)
        for change in different:
            old, new = change_texts(change)
            log.info("configuration: %s: %s, was %s (%s)", change.key, new, old, change.scope)
        return Reloaded(
            applied=_keys(different, Scope.LIVE),
            new_pods=_keys(different, Scope.NEW_PODS),
            restart=_keys(different, Scope.RESTART),
            warnings=found.warnings,
        )


def merged(old: DaemonConfig, new: DaemonConfig) -> DaemonConfig:
    """``new``, with the values of ``old`` for what needs a restart."""
    daemon: dict[str, object] = {}
    engine: dict[str, object] = {}
    for key, declared in all_options().items():
        if declared.option.scope is not Scope.RESTART or key.startswith(HANDLERS + "."):
            continue
        if key in daemon_options():
            daemon[declared.field] = getattr(old, declared.field)
        else:
            engine[declared.field] = getattr(old.engine, declared.field)
    handlers = dict(new.engine.runtimes)
    for name in handlers.keys() & old.engine.runtimes.keys():
        kept = {
            declared.field: getattr(old.engine.runtimes[name], declared.field)
            for key, declared in all_options().items()
            if key.startswith(HANDLERS + ".") and declared.option.scope is Scope.RESTART
        }
        handlers[name] = msgspec.structs.replace(handlers[name], **kept)
    # Both follow from the store's roots.
    settings: EngineConfig = msgspec.structs.replace(
        new.engine,
        root=old.engine.root,
        run_root=old.engine.run_root,
        runtimes=handlers,
        **engine,
    )
    return msgspec.structs.replace(new, engine=settings, **daemon)


def _keys(found: list[Change], scope: Scope) -> list[str]:
    return [change.key for change in found if change.scope is scope]

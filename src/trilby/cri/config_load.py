"""Loading the daemon's configuration, where each value came from, and what a new one changes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from trilby.cri.config import DaemonConfig
from trilby.cri.config_foreign import FOREIGN
from trilby.cri.config_relations import contradictions
from trilby.pods.config import EngineConfig
from trilby.pods.config_layers import FLAG, Layers, pattern_of
from trilby.pods.config_load import (
    DEFAULT_FILE,
    VENDOR_FILE,
    config_files,
    engine_config,
    engine_options,
)
from trilby.pods.config_option import HANDLERS, Declared, Scope, Value, options_of

if TYPE_CHECKING:
    from pathlib import Path

    from trilby.storage.config import StorageConfig

__all__ = [
    "BUILT_IN", "STORAGE_CONF", "Change", "Loaded", "all_options", "build", "changes",
    "daemon_options", "defaults", "differences", "load", "read_layers", "values_of",
]  # fmt: skip

BUILT_IN: Final = "built in default"
STORAGE_CONF: Final = "storage.conf"


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that can be used.

    ``origins`` has every option of it, handlers by their names: ``built in default``,
    ``path:line:column``, ``flag``, or ``storage.conf``. ``warnings`` are about unknown options;
    ``sources`` are the files read, later ones over earlier ones.
    """

    config: DaemonConfig
    origins: dict[str, str]
    warnings: list[str]
    sources: tuple[str, ...] = ()


class Change(msgspec.Struct, frozen=True):
    """An option whose value differs; None: its runtime handler is not there."""

    key: str
    old: Value | None
    new: Value | None
    scope: Scope


@functools.cache
def daemon_options() -> Mapping[str, Declared]:
    """Key -> option of what the daemon reads besides the engine."""
    return options_of(DaemonConfig())


@functools.cache
def all_options() -> Mapping[str, Declared]:
    """Key -> option of everything in trilby.conf, table by table; handlers' keys have NAME."""
    found = {**daemon_options(), **engine_options()}
    order = list(dict.fromkeys(declared.option.table for declared in found.values()))
    return dict(sorted(found.items(), key=lambda item: order.index(item[1].option.table)))


def load(
    config_file: Path | None = None,
    config_dir: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    env: Mapping[str, str] | None = None,
) -> Loaded:
    """The configuration of ``pods/config_load.py:config_files()``, ``overrides`` over it.

    ``overrides`` have full keys, as trilby.api.listen, and values as TOML has them. ``env`` is for
    storage.conf. Raises InvalidEngineConfig with ``path:line:column`` for a file or value that is
    wrong, and for values that contradict each other; StorageConfigError.
    """
    layers = read_layers(config_file, config_dir, overrides)
    layers.raise_mistakes()
    loaded = build(layers, env)
    layers.mistakes += contradictions(loaded.config, loaded.origins)
    layers.raise_mistakes()
    return loaded


def read_layers(
    config_file: Path | None = None,
    config_dir: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    root: str = "",
) -> Layers:
    """What files and flags say, mistakes and all. Raises InvalidEngineConfig for missing files.

    ``root`` is where another host's / is, whose usual files are read.
    """
    layers = Layers(all_options(), hints=FOREIGN)
    for path in config_files(
        str(config_file or ""),
        str(config_dir or ""),
        main=root + DEFAULT_FILE,
        vendor=root + VENDOR_FILE,
    ):
        layers.read(path)
    for key, value in (overrides or {}).items():
        layers.give(key, value, FLAG)
    return layers


def build(
    layers: Layers, env: Mapping[str, str] | None = None, storage: StorageConfig | None = None
) -> Loaded:
    """What ``layers`` make, whatever their mistakes, with the store of storage.conf or ``storage``.

    Raises StorageConfigError.
    """
    values = layers.values
    given = {
        declared.field: values[key] for key, declared in daemon_options().items() if key in values
    }
    config = msgspec.structs.replace(DaemonConfig(), **given)
    storage = storage or config.storage_config(env)
    engine = engine_config(EngineConfig.beside(storage.graphroot, storage.runroot), layers)
    config = msgspec.structs.replace(
        config, root=storage.graphroot, runroot=storage.runroot, engine=engine
    )
    origins = {key: layers.origin(key) or BUILT_IN for key in values_of(config)}
    if storage.sources:
        for key in ("trilby.root", "trilby.runroot"):
            origins[key] = layers.origin(key) or STORAGE_CONF
    return Loaded(
        config=config,
        origins=origins,
        warnings=[str(each) for each in layers.unknown],
        sources=tuple(layers.sources),
    )


def defaults(env: Mapping[str, str] | None = None) -> Loaded:
    """What counts where no file says anything; the store is that of storage.conf."""
    return build(Layers(all_options()), env)


def values_of(config: DaemonConfig) -> dict[str, Value]:
    """Full key -> value of every option, the handlers' by their names."""
    found: dict[str, Value] = {}
    for key, declared in all_options().items():
        if not key.startswith(HANDLERS + "."):
            owner = config if key in daemon_options() else config.engine
            found[key] = getattr(owner, declared.field)
            continue
        for name, handler in sorted(config.engine.runtimes.items()):
            full = f"{HANDLERS}.{name}.{declared.option.name}"
            found[full] = getattr(handler, declared.field)
    return found


def changes(old: DaemonConfig, new: DaemonConfig) -> list[Change]:
    """The options that differ, in the order of the documents."""
    return differences(values_of(old), values_of(new))


def differences(before: Mapping[str, Value], after: Mapping[str, Value]) -> list[Change]:
    """The same for values by their full keys."""
    found = []
    for key in dict.fromkeys([*before, *after]):
        one, other = before.get(key), after.get(key)
        declared = all_options().get(pattern_of(key))
        if one == other or declared is None:
            continue
        scope = declared.option.scope
        if one is None or other is None:
            # A handler comes or goes: nothing of it is in use yet, or for what is made later.
            scope = Scope.NEW_PODS
            if declared.option.name != "runtime_path" and declared.default in (one, other):
                continue
        found.append(Change(key, one, other, scope))
    return found

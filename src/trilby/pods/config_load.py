"""Reading ``trilby.conf`` and its drop-ins: TOML, every mistake with its file and line.

The tables are CRI-O's under another root: ``[trilby.runtime]``, ``[trilby.network]``,
``[trilby.runtime.runtimes.<name>]``. An unknown key is a warning, a wrong value an error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from trilby.pods.config import CgroupManager, EngineConfig, RuntimeHandler
from trilby.pods.errors import InvalidEngineConfig
from trilby.system.positions import Data, Key, Positions, toml_load

DEFAULT_FILE: Final = "/etc/trilby/trilby.conf"

Table: TypeAlias = "dict[str, Data]"
Value: TypeAlias = "str | int | bool | CgroupManager | tuple[str, ...] | dict[str, str]"

# Option -> field, where the names differ.
RUNTIME: Final = {
    name: name
    for name in (
        "default_runtime conmon cgroup_manager cgroup_parent infra_command log_size_max"
        " log_to_journald no_sync_log pids_limit container_min_memory ctr_stop_timeout shm_size"
        " default_ulimits default_sysctls default_env default_capabilities"
        " add_inheritable_capabilities seccomp_profile privileged_seccomp_profile read_only"
    ).split()
}
NETWORK: Final = {
    "network_dir": "cni_config_dirs",
    "plugin_dirs": "cni_plugin_dirs",
    "cni_default_network": "cni_default_network",
    "cni_cache_dir": "cni_cache_dir",
    "bridge_name": "bridge_name",
    "bridge_subnet": "bridge_subnet",
    "bridge_subnet_v6": "bridge_subnet_v6",
}
HANDLER: Final = {
    "runtime_path": "path",
    "runtime_root": "root",
    "monitor_path": "monitor_path",
    "monitor_env": "monitor_env",
    "allowed_annotations": "allowed_annotations",
}
# Tables of the same file that other rooms read.
OTHERS: Final = frozenset({"api", "image", "metrics", "stats", "tracing"})


class LoadedConfig(msgspec.Struct, frozen=True):
    """The settings, the files that they came from, and one warning for each unknown key."""

    config: EngineConfig
    sources: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def load_config(base: EngineConfig, path: str = "") -> LoadedConfig:
    """``base`` changed by a file and by ``<file>.d/*.conf``, which are read in their order.

    Without ``path`` it is /etc/trilby/trilby.conf, which may be missing. Raises
    InvalidEngineConfig and ConfigSyntaxError, both with ``path:line:``.
    """
    loader = _Loader(base)
    main = path or DEFAULT_FILE
    if path or os.path.exists(main):
        loader.read(main)
    try:
        names = sorted(os.listdir(f"{main}.d"))
    except (FileNotFoundError, NotADirectoryError):
        names = []
    for name in names:
        if name.endswith(".conf"):
            loader.read(f"{main}.d/{name}")
    return LoadedConfig(loader.config, tuple(loader.sources), tuple(loader.warnings))


def with_runtime(config: EngineConfig, name_or_path: str) -> EngineConfig:
    """``config`` with another default runtime: a handler's name, or a program's path."""
    if "/" not in name_or_path:
        return msgspec.structs.replace(config, default_runtime=name_or_path)
    name = os.path.basename(name_or_path)
    handler = RuntimeHandler(name=name, path=os.path.abspath(name_or_path))
    return msgspec.structs.replace(
        config, default_runtime=name, runtimes={**config.runtimes, name: handler}
    )


class _Loader:
    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.sources: list[str] = []
        self.warnings: list[str] = []
        self._positions = Positions("", {})

    def read(self, path: str) -> None:
        """Apply one file."""
        try:
            data, self._positions = toml_load(path)
        except OSError as error:
            raise InvalidEngineConfig(f"{path}:1: cannot be read: {error.strerror}") from error
        self.sources.append(path)
        for key in data.keys() - {"trilby"}:
            self._warn((key,))
        top = self._table(data, ("trilby",))
        for key in top:
            if key in OTHERS:
                continue
            if key == "runtime":
                self._runtime(self._table(top, ("trilby", "runtime")))
            elif key == "network":
                table = self._table(top, ("trilby", "network"))
                self._apply(self._values(table, NETWORK, ("trilby", "network"), self.config))
            else:
                self._warn(("trilby", key))

    def _runtime(self, table: Table) -> None:
        place = ("trilby", "runtime")
        handlers = table.pop("runtimes", None)
        self._apply(self._values(table, RUNTIME, place, self.config))
        if handlers is None:
            return
        found = dict(self.config.runtimes)
        for name, value in self._checked(handlers, (*place, "runtimes")).items():
            key = (*place, "runtimes", name)
            known = found.get(name, RuntimeHandler(name=name))
            changes = self._values(self._checked(value, key), HANDLER, key, known)
            found[name] = msgspec.structs.replace(known, **changes)
        self._apply({"runtimes": found})

    def _apply(self, changes: Mapping[str, Value | dict[str, RuntimeHandler]]) -> None:
        self.config = msgspec.structs.replace(self.config, **changes)

    def _values(
        self,
        table: Table,
        options: Mapping[str, str],
        place: tuple[Key, ...],
        current: EngineConfig | RuntimeHandler,
    ) -> dict[str, Value]:
        """The options of a table as fields, in the types that the fields have."""
        changes: dict[str, Value] = {}
        for key, value in table.items():
            if key not in options:
                self._warn((*place, key))
                continue
            old: Value = getattr(current, options[key])
            changes[options[key]] = self._convert(value, old, (*place, key))
        return changes

    def _convert(self, value: Data, like: Value, key: tuple[Key, ...]) -> Value:
        if isinstance(like, CgroupManager):
            if value not in tuple(CgroupManager):
                raise self._error(key, "is neither systemd nor cgroupfs")
            return CgroupManager(str(value))
        if isinstance(like, bool):
            if not isinstance(value, bool):
                raise self._error(key, "is neither true nor false")
            return value
        if isinstance(like, int):
            if not isinstance(value, int) or isinstance(value, bool):
                raise self._error(key, "is not a whole number")
            return value
        if isinstance(like, str):
            if not isinstance(value, str):
                raise self._error(key, "is not a text")
            return value
        if isinstance(value, str) and key[-1] == "network_dir":
            value = [value]
        if not isinstance(value, list):
            raise self._error(key, "is not a list of texts")
        words = [word for word in value if isinstance(word, str)]
        if len(words) != len(value):
            raise self._error(key, "is not a list of texts")
        return tuple(words) if isinstance(like, tuple) else self._pairs(words, key)

    def _pairs(self, words: list[str], key: tuple[Key, ...]) -> dict[str, str]:
        """CRI-O writes maps as lists of ``name=value``."""
        found = {}
        for word in words:
            name, equals, value = word.partition("=")
            if not name or not equals:
                raise self._error(key, f"has {word!r}, which is not name=value")
            found[name.strip()] = value.strip()
        return found

    def _table(self, data: Table, key: tuple[Key, ...]) -> Table:
        return self._checked(data.get(str(key[-1]), {}), key)

    def _checked(self, value: Data, key: tuple[Key, ...]) -> Table:
        if not isinstance(value, dict):
            raise self._error(key, "is not a table")
        return value

    def _warn(self, key: tuple[Key, ...]) -> None:
        self.warnings.append(f"{self._positions.where(key)}: unknown option {_name(key)}")

    def _error(self, key: tuple[Key, ...], problem: str) -> InvalidEngineConfig:
        return InvalidEngineConfig(f"{self._positions.where(key)}: {_name(key)} {problem}")


def _name(key: tuple[Key, ...]) -> str:
    return ".".join(map(str, key))

"""Reading ``trilby.conf`` and its drop-ins into the engine's settings.

The tables are CRI-O's under another root: ``[trilby.runtime]``, ``[trilby.network]``,
``[trilby.runtime.runtimes.<name>]``. An unknown key is a warning, a wrong value an error, both
with file, line and column.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from trilby.pods.config import EngineConfig, RuntimeHandler
from trilby.pods.config_layers import Layers
from trilby.pods.config_option import HANDLERS, Declared, options_of
from trilby.pods.errors import InvalidEngineConfig

__all__ = [
    "DEFAULT_FILE", "VENDOR_FILE", "LoadedConfig", "config_files", "engine_config",
    "engine_options", "load_config", "with_runtime",
]  # fmt: skip

DEFAULT_FILE: Final = "/etc/trilby/trilby.conf"
VENDOR_FILE: Final = "/usr/share/trilby/trilby.conf"


class LoadedConfig(msgspec.Struct, frozen=True):
    """The settings, the files that they came from, and one warning for each unknown key."""

    config: EngineConfig
    sources: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@functools.cache
def engine_options() -> Mapping[str, Declared]:
    """Key -> option of everything that the engine reads; handlers' keys have NAME."""
    return {**options_of(EngineConfig()), **options_of(RuntimeHandler(name=""))}


def load_config(
    base: EngineConfig, path: str = "", others: Callable[[], Iterable[str]] = tuple
) -> LoadedConfig:
    """``base`` changed by the files of ``config_files(path)``.

    ``others`` tells the keys that another program reads from the same files; it is asked when
    there are files. Raises InvalidEngineConfig with ``path:line:column``.
    """
    files = config_files(path)
    if not files:
        return LoadedConfig(base)
    layers = Layers(engine_options(), others())
    for file in files:
        layers.read(file)
    layers.raise_mistakes()
    return LoadedConfig(
        engine_config(base, layers), tuple(layers.sources), tuple(map(str, layers.unknown))
    )


def config_files(
    path: str = "", directory: str = "", *, main: str = DEFAULT_FILE, vendor: str = VENDOR_FILE
) -> list[str]:
    """The files to read, later ones over earlier ones.

    Without ``path``: the distribution's file, then ``main``, then the drop-ins of both, in the
    order of their names, where one of ``main``'s replaces the distribution's of the same name.
    With it: that file and its drop-ins. Drop-ins of FILE are ``FILE.d/*.conf``; ``directory``
    names another place for them. What was named must exist: raises InvalidEngineConfig.
    """
    if path:
        mains, folders = [path], [f"{path}.d"]
    else:
        mains = [each for each in (vendor, main) if os.path.exists(each)]
        folders = [f"{vendor}.d", f"{main}.d"]
    if directory:
        folders[-1] = directory
    for named, exists, what in (
        (path, os.path.exists, "file"),
        (directory, os.path.isdir, "directory"),
    ):
        if named and not exists(named):
            raise InvalidEngineConfig(f"{named}:1: there is no such configuration {what}")
    found: dict[str, str] = {}
    for folder in folders:
        found |= {name: f"{folder}/{name}" for name in _names(folder) if name.endswith(".conf")}
    return [*mains, *(file for _, file in sorted(found.items()))]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InvalidEngineConfig(f"{folder}:1: cannot be read: {error.strerror}") from error


def engine_config(base: EngineConfig, layers: Layers) -> EngineConfig:
    """``base`` changed by what ``layers`` say about the engine."""
    changes: dict[str, object] = {}
    handlers: dict[str, dict[str, object]] = {name: {} for name in layers.handlers}
    for key, declared in engine_options().items():
        if not key.startswith(HANDLERS + "."):
            if key in layers.values:
                changes[declared.field] = layers.values[key]
            continue
        for name, fields in handlers.items():
            full = f"{HANDLERS}.{name}.{declared.option.name}"
            if full in layers.values:
                fields[declared.field] = layers.values[full]
    if handlers:
        found = dict(base.runtimes)
        for name, fields in handlers.items():
            known = found.get(name, RuntimeHandler(name=name))
            found[name] = msgspec.structs.replace(known, **fields)
        changes["runtimes"] = found
    return msgspec.structs.replace(base, **changes)


def with_runtime(config: EngineConfig, name_or_path: str) -> EngineConfig:
    """``config`` with another default runtime: a handler's name, or a program's path."""
    if "/" not in name_or_path:
        return msgspec.structs.replace(config, default_runtime=name_or_path)
    name = os.path.basename(name_or_path)
    handler = RuntimeHandler(name=name, path=os.path.abspath(name_or_path))
    return msgspec.structs.replace(
        config, default_runtime=name, runtimes={**config.runtimes, name: handler}
    )

"""The keys of storage.conf: what each may be, and how one file changes what earlier ones said."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from trilby.storage.errors import StorageConfigError
from trilby.system.errors import ConfigSyntaxError, HostError
from trilby.system.positions import Data, Positions, toml_load

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_DRIVER_TABLES = ("overlay", "vfs", "btrfs", "zfs")
_GENERIC_OPTIONS = frozenset(
    {"size", "ignore_chown_errors", "skip_mount_home", "mount_program", "mountopt", "inodes"}
    | {"use_composefs", "force_mask", "sync", "min_space", "fsname"}
)
# Keys with a meaning for what only other tools do: partial pulls, automatic user namespaces.
_FOR_OTHERS = frozenset(
    {"pull_options", "remap-uids", "remap-gids", "remap-user", "remap-group"}
    | {"root-auto-userns-user", "auto-userns-min-size", "auto-userns-max-size"}
    | {"additionallayerstores", "thinpool", "aufs", "ostree_repo", "layers"}
)


class Values:
    """What the files said so far."""

    def __init__(self) -> None:
        self.graphroot = ""
        self.runroot = ""
        self.driver = ""
        self.driver_place = ""
        self.driver_priority: list[str] = []
        self.additional_image_stores: list[str] = []
        self.transient_store = False
        self.disable_volatile = False
        self.options: list[str] = []
        # Where each of the options stands, path:line.
        self.option_places: list[str] = []
        self.warnings: list[str] = []


def add_file(
    values: Values, path: str, env: Mapping[str, str], uid: int, *, keep_roots: bool
) -> None:
    """Lay one file over ``values``; ``keep_roots`` leaves its graphroot and runroot aside."""
    try:
        data, positions = toml_load(path)
    except ConfigSyntaxError as error:
        raise StorageConfigError(error.message) from error
    except (OSError, HostError) as error:
        raise StorageConfigError(f"{path}: reading it: {error}") from error
    _File(values, positions, env, uid, keep_roots).read(data)


class _File:
    def __init__(
        self,
        values: Values,
        positions: Positions,
        env: Mapping[str, str],
        uid: int,
        keep_roots: bool,
    ) -> None:
        self.values = values
        self.positions = positions
        self.env = {**env, "UID": str(uid)}
        self.keep_roots = keep_roots

    def read(self, data: Mapping[str, Data]) -> None:
        for name, value in data.items():
            if name == "storage":
                self._storage(self._table(value, name))
            else:
                self._unknown(name)

    def _storage(self, table: Mapping[str, Data]) -> None:
        values = self.values
        actions: dict[str, Callable[[Data, tuple[str, ...]], None]] = {
            "driver": self._driver,
            "driver_priority": self._priority,
            "graphroot": self._root,
            "rootless_storage_path": self._rootless_path,
            "runroot": self._root,
            "transient_store": lambda value, key: setattr(
                values, "transient_store", self._truth(value, *key)
            ),
            "imagestore": self._no_split,
            "options": lambda value, key: self._options(self._table(value, *key)),
        }
        # Explicit roots win over the deprecated key wherever they stand.
        for name in sorted(table, key=lambda name: name != "rootless_storage_path"):
            if name in actions:
                actions[name](table[name], ("storage", name))
            else:
                self._unknown("storage", name)

    def _driver(self, value: Data, key: tuple[str, ...]) -> None:
        self.values.driver = self._text(value, *key)
        self.values.driver_place = self.positions.where(key) if self.values.driver else ""

    def _options(self, table: Mapping[str, Data]) -> None:
        specific: list[tuple[str, tuple[str, ...]]] = []
        for name, value in table.items():
            key = ("storage", "options", name)
            if name == "additionalimagestores":
                self._image_stores(value, key)
            elif name == "imagestore":
                self._no_split(value, key)
            elif name == "disable-volatile":
                self.values.disable_volatile = self._truth(value, *key)
            elif name in _DRIVER_TABLES:
                for option, content in self._table(value, *key).items():
                    if option not in _GENERIC_OPTIONS | {"imagestore"}:
                        self._unknown(*key, option)
                    elif text := self._text(content, *key, option):
                        specific.append((f"{name}.{option}={text}", (*key, option)))
            elif name in _GENERIC_OPTIONS:
                if text := self._text(value, *key):
                    self._option(f".{name}={text}", key)
            elif name not in _FOR_OTHERS:
                self._unknown(*key)
        # What is said for the driver wins over what is said for all.
        for text, place in specific:
            self._option(text, place)

    def _option(self, text: str, key: tuple[str, ...]) -> None:
        self.values.options.append(text)
        self.values.option_places.append(self.positions.where(key))

    def _root(self, value: Data, key: tuple[str, ...]) -> None:
        path = self._path(value, *key)
        if path and not self.keep_roots:
            setattr(self.values, key[-1], path)

    def _rootless_path(self, value: Data, key: tuple[str, ...]) -> None:
        path = self._path(value, *key)
        if path and self.env["UID"] != "0":
            self.values.graphroot = path

    def _no_split(self, value: Data, key: tuple[str, ...]) -> None:
        if self._text(value, *key):
            raise self._wrong(
                "images apart from containers are not supported", key, "remove it, or use podman"
            )

    def _priority(self, value: Data, key: tuple[str, ...]) -> None:
        self.values.driver_priority = self._list(value, key, self.values.driver_priority)

    def _image_stores(self, value: Data, key: tuple[str, ...]) -> None:
        texts = self._list(value, key, self.values.additional_image_stores)
        self.values.additional_image_stores = [self._path(text, *key) for text in texts if text]

    # -- kinds of values ---------------------------------------------------------------------

    def _table(self, value: Data, *key: str) -> Mapping[str, Data]:
        if not isinstance(value, dict):
            raise self._wrong("it must be a table", key)
        return value

    def _text(self, value: Data, *key: str) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int):
            return str(value)
        if not isinstance(value, str):
            raise self._wrong("it must be a text", key)
        return value

    def _truth(self, value: Data, *key: str) -> bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false", ""):
            return value.lower() == "true"
        raise self._wrong("it must be true or false", key)

    def _list(self, value: Data, key: tuple[str, ...], before: list[str]) -> list[str]:
        """A list of texts; an element ``{append = true}`` keeps what earlier files said."""
        if not isinstance(value, list):
            raise self._wrong("it must be a list of texts", key)
        found: list[str] = []
        for item in value:
            if isinstance(item, str):
                found.append(item)
            elif isinstance(item, dict) and set(item) == {"append"}:
                if item["append"] is True:
                    found = [*before, *found]
            else:
                raise self._wrong("it must be a list of texts", key)
        return found

    def _path(self, value: Data, *key: str) -> str:
        text = _VARIABLE.sub(
            lambda match: self.env.get(match[1] or match[2], ""), self._text(value, *key)
        )
        if text.startswith("~/"):
            text = self.env.get("HOME", "") + text[1:]
        if text and not os.path.isabs(text):
            raise self._wrong(f"{text!r} is not an absolute path", key)
        return text

    def _wrong(self, why: str, key: tuple[str, ...], hint: str = "") -> StorageConfigError:
        return StorageConfigError(f"{self.positions.where(key)}: {'.'.join(key)}: {why}", hint=hint)

    def _unknown(self, *key: str) -> None:
        self.values.warnings.append(
            f"{self.positions.where(key)}: {'.'.join(key)}: there is no such key"
        )

"""CNI network configuration lists: one file's meaning, and which file of the directories counts.

Follows the CNI specification 1.1, section 1 ("Network configuration format"), and libcni's habits:
files are taken in order of their names, ``.conf`` and ``.json`` files hold a single plugin, and
plugins of a list may lie beside it in a directory named after the network.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

import msgspec

from trilby.oci.codec import JsonValue
from trilby.pods.network.document import JsonObject, read_document
from trilby.pods.network.errors import ConflistInvalid

SUPPORTED_VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
SUFFIXES = (".conflist", ".conf", ".json")
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
MAX_SIZE = 1 << 20


class Plugin(msgspec.Struct, frozen=True):
    """One plugin of a list: ``config`` is its object as written, ``capabilities`` those true."""

    type: str
    capabilities: frozenset[str]
    config: JsonObject


class Conflist(msgspec.Struct, frozen=True, kw_only=True):
    """A network. ``raw`` is the list as JSON, ``path`` its file (empty: built in).

    ``versions`` are the CNI versions that it may be used with, oldest first.
    """

    name: str
    versions: tuple[str, ...]
    plugins: tuple[Plugin, ...]
    disable_check: bool = False
    disable_gc: bool = False
    raw: bytes = b""
    path: str = ""

    @property
    def version(self) -> str:
        return self.versions[-1]


class Discovered(msgspec.Struct, frozen=True):
    """All usable networks in their order, and what is wrong with the other files."""

    networks: tuple[Conflist, ...] = ()
    errors: tuple[ConflistInvalid, ...] = ()

    def choose(self, name: str = "") -> Conflist | None:
        """The network ``name``, or the first one."""
        return next((net for net in self.networks if name in ("", net.name)), None)


def version_key(version: str) -> tuple[int, ...]:
    """``0.4.0`` as a tuple that sorts; not a version: sorts first."""
    parts = version.split(".")
    return tuple(map(int, parts)) if all(map(str.isdigit, parts)) else (0,)


def at_least(version: str, wanted: str) -> bool:
    return version_key(version) >= version_key(wanted)


def discover(directories: Iterable[str]) -> Discovered:
    """Read every configuration file of ``directories``; a bad file does not hide the others."""
    networks: list[Conflist] = []
    errors: list[ConflistInvalid] = []
    for path in configuration_files(directories):
        try:
            networks.append(load_conflist(path))
        except ConflistInvalid as error:
            errors.append(error)
    return Discovered(tuple(networks), tuple(errors))


def configuration_files(directories: Iterable[str]) -> list[str]:
    """Paths of the files that count: directories in the given order, files by name."""
    found = []
    for directory in directories:
        try:
            names = sorted(os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError):
            continue
        found += [os.path.join(directory, name) for name in names if name.endswith(SUFFIXES)]
    return found


def load_conflist(path: str) -> Conflist:
    """Read one file. Raises ``ConflistInvalid`` with ``path:line:``."""
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise ConflistInvalid(f"{path}:1: cannot be read: {error.strerror}") from error
    if len(raw) > MAX_SIZE:
        raise ConflistInvalid(f"{path}:1: is larger than {MAX_SIZE} bytes")
    return parse_conflist(raw, path)


def parse_conflist(raw: bytes, path: str) -> Conflist:
    """Understand a configuration's bytes; ``path`` names it in errors and finds its directory."""
    document = read_document(raw, path)
    data = document.data
    if not isinstance(data, dict):
        raise document.error((), "is not a JSON object")
    if "plugins" not in data:
        if path.endswith(".conflist") or "type" not in data:
            raise document.error((), "has no 'plugins'", hint="see the CNI specification")
        data = _list_of_one(data)
        raw = msgspec.json.encode(data)
    name = data.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise document.error(("name",), f"the network's name {name!r} is not usable")
    plugins = data["plugins"]
    if not isinstance(plugins, list):
        raise document.error(("plugins",), "'plugins' is not a list")
    read = []
    for index, plugin in enumerate(plugins):
        try:
            read.append(_plugin(plugin))
        except ValueError as error:
            raise document.error(("plugins", index), str(error)) from None
    if neighbours := _neighbours(data, name, path):
        read += neighbours
        # What is cached of an ADD has to be the whole list, whatever the directory holds later.
        inlined: list[JsonValue] = [plugin.config for plugin in read]
        whole: JsonObject = {**data, "plugins": inlined, "loadOnlyInlinedPlugins": True}
        raw = msgspec.json.encode(whole)
    if not read:
        raise document.error(("plugins",), "the network has no plugins")
    try:
        versions = _versions(data)
    except ValueError as error:
        raise document.error(("cniVersion",), str(error)) from None
    return Conflist(
        name=name,
        versions=versions,
        plugins=tuple(read),
        disable_check=_truth(data.get("disableCheck")),
        disable_gc=_truth(data.get("disableGC")),
        raw=raw,
        path=path,
    )


def _list_of_one(plugin: JsonObject) -> JsonObject:
    wrapped: JsonObject = {"name": plugin.get("name"), "plugins": [plugin]}
    if "cniVersion" in plugin:
        wrapped["cniVersion"] = plugin["cniVersion"]
    return wrapped


def _plugin(plugin: JsonValue) -> Plugin:
    if not isinstance(plugin, dict):
        raise ValueError("a plugin is not a JSON object")
    kind = plugin.get("type")
    if not isinstance(kind, str) or not kind:
        raise ValueError("a plugin has no 'type'")
    if "/" in kind or kind in (".", ".."):
        raise ValueError(f"the plugin type {kind!r} is a path; it must be a file's name")
    capabilities = plugin.get("capabilities")
    if capabilities is None:
        capabilities = {}
    if not isinstance(capabilities, dict):
        raise ValueError(f"'capabilities' of plugin {kind!r} is not an object")
    return Plugin(kind, frozenset(key for key, on in capabilities.items() if on is True), plugin)


def _neighbours(data: Mapping[str, JsonValue], name: str, path: str) -> list[Plugin]:
    """Plugins in ``<directory>/<network>/*.conf``, unless the list says that it is complete."""
    if _truth(data.get("loadOnlyInlinedPlugins")) or not path:
        return []
    found = []
    for file in configuration_files([os.path.join(os.path.dirname(path), name)]):
        if not file.endswith(".conf"):
            continue
        try:
            with open(file, "rb") as opened:
                document = read_document(opened.read(MAX_SIZE), file)
        except OSError as error:
            raise ConflistInvalid(f"{file}:1: cannot be read: {error.strerror}") from error
        try:
            found.append(_plugin(document.data))
        except ValueError as error:
            raise document.error((), str(error)) from None
    return found


def _versions(data: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """The versions that both the list and we speak, oldest first."""
    listed = data.get("cniVersions")
    asked = [item for item in listed if isinstance(item, str)] if isinstance(listed, list) else []
    single = data.get("cniVersion", "" if asked else "0.1.0")
    if isinstance(single, str) and single:
        asked.append(single)
    usable = sorted(set(asked) & set(SUPPORTED_VERSIONS), key=version_key)
    if not usable:
        raise ValueError(
            f"cniVersion {', '.join(map(str, asked)) or repr(single)} is not supported; "
            f"usable are {', '.join(SUPPORTED_VERSIONS)}"
        )
    return tuple(usable)


def _truth(value: JsonValue) -> bool:
    """libcni takes both booleans and the words."""
    return value is True or (isinstance(value, str) and value.lower() == "true")

"""CDI devices: what a vendor's specification files want done to a container.

Follows the Container Device Interface specification 0.3 to 1.0: files ``*.json`` and ``*.yaml`` in
the directories, the same device in a later directory wins, twice in one directory is a conflict.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from trilby.oci.codec import JsonValue
from trilby.oci.runtime import Hook, Hooks, Mount, Process
from trilby.pods.errors import InvalidPodConfig
from trilby.pods.spec.devices import HostDevice, read_device

SPEC_DIRS = ("/etc/cdi", "/var/run/cdi")
MAX_FILE = 8 << 20


class DeviceNode(msgspec.Struct, frozen=True, rename="camel"):
    """What is not given is that of the host's node."""

    path: str
    host_path: str = ""
    type: str = ""
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    permissions: str = "rwm"
    uid: int | None = None
    gid: int | None = None


class EditMount(msgspec.Struct, frozen=True, rename="camel"):
    host_path: str
    container_path: str
    type: str = "bind"
    options: tuple[str, ...] = ("rbind", "ro")


class EditHook(msgspec.Struct, frozen=True, rename="camel"):
    hook_name: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class Edits(msgspec.Struct, frozen=True, rename="camel"):
    """``containerEdits`` of a specification or of one of its devices."""

    env: tuple[str, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    mounts: tuple[EditMount, ...] = ()
    hooks: tuple[EditHook, ...] = ()
    additional_gids: tuple[int, ...] = ()


class NamedDevice(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    container_edits: Edits = Edits()


class Vendor(msgspec.Struct, frozen=True, rename="camel"):
    """A specification file; ``kind`` is ``vendor.com/class``."""

    cdi_version: str
    kind: str
    devices: tuple[NamedDevice, ...]
    container_edits: Edits = Edits()


def find_edits(names: Iterable[str], directories: Iterable[str] = SPEC_DIRS) -> tuple[Edits, ...]:
    """The edits for ``vendor.com/class=name`` devices, each specification's own ones once.

    Raises ``InvalidPodConfig`` for unknown or ambiguous devices and unusable files.
    """
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return ()
    known = _devices(directories)
    edits: list[Edits] = []
    used: set[str] = set()
    for name in wanted:
        if name not in known:
            raise InvalidPodConfig(
                f"CDI device {name}: no specification has it",
                hint=f"known: {', '.join(sorted(known)[:20]) or 'none'}",
            )
        path, vendor, device = known[name]
        if not path:
            raise InvalidPodConfig(f"CDI device {name}: two files of one directory have it")
        if path not in used:
            used.add(path)
            edits.append(vendor.container_edits)
        edits.append(device.container_edits)
    return tuple(edits)


def _devices(directories: Iterable[str]) -> dict[str, tuple[str, Vendor, NamedDevice]]:
    """Full name to its file, specification and device; an ambiguous one has no file."""
    known: dict[str, tuple[str, Vendor, NamedDevice]] = {}
    for directory in directories:
        here: dict[str, tuple[str, Vendor, NamedDevice]] = {}
        try:
            files = sorted(os.listdir(directory))
        except OSError:
            continue
        for file in files:
            if not file.endswith((".json", ".yaml")):
                continue
            path = os.path.join(directory, file)
            vendor = _read(path)
            for device in vendor.devices:
                name = f"{vendor.kind}={device.name}"
                here[name] = ("" if name in here else path, vendor, device)
        known |= here
    return known


def _read(path: str) -> Vendor:
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_FILE)
        if path.endswith(".json"):
            return msgspec.json.decode(raw, type=Vendor)
        return msgspec.convert(_yaml(raw), Vendor)
    except OSError as error:
        raise InvalidPodConfig(f"{path}: {error.strerror}") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidPodConfig(f"{path}: not a CDI specification: {error}") from None


def _yaml(raw: bytes) -> JsonValue:
    import yaml

    try:
        document: JsonValue = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    return document


def edit_devices(edits: Iterable[Edits]) -> tuple[HostDevice, ...]:
    """The device nodes, with what the files leave out read from the host's nodes."""
    found = []
    for node in (node for edit in edits for node in edit.device_nodes):
        if node.type in ("c", "b") and node.major is not None and node.minor is not None:
            device = HostDevice(path=node.path, type=node.type, major=node.major, minor=node.minor)
        else:
            device = read_device(node.host_path or node.path, node.path)
        found.append(
            replace(
                device,
                permissions=node.permissions or "rwm",
                mode=device.mode if node.file_mode is None else node.file_mode & 0o7777,
                uid=device.uid if node.uid is None else node.uid,
                gid=device.gid if node.gid is None else node.gid,
            )
        )
    return tuple(found)


def edit_process(process: Process, edits: Sequence[Edits]) -> Process:
    """Environment and groups; a variable of the edits wins, as it names the device."""
    variables = dict(line.partition("=")[::2] for line in process.env)
    groups = list(process.user.additional_gids)
    for edit in edits:
        variables.update(line.partition("=")[::2] for line in edit.env)
        groups += [group for group in edit.additional_gids if group]
    return replace(
        process,
        env=tuple(f"{name}={value}" for name, value in variables.items()),
        user=replace(process.user, additional_gids=tuple(dict.fromkeys(groups))),
    )


def edit_mounts(edits: Iterable[Edits]) -> tuple[Mount, ...]:
    return tuple(
        Mount(item.container_path, item.type, item.host_path, item.options)
        for edit in edits
        for item in edit.mounts
    )


def edit_hooks(edits: Iterable[Edits]) -> Hooks | None:
    """All hooks by their stage; None without any. Raises ``InvalidPodConfig``."""
    stages: dict[str, list[Hook]] = {name: [] for name in Hooks.__struct_encode_fields__}
    for item in (hook for edit in edits for hook in edit.hooks):
        if item.hook_name not in stages:
            raise InvalidPodConfig(f"CDI hook {item.hook_name!r}: there is no such stage")
        stages[item.hook_name].append(Hook(item.path, item.args, item.env, item.timeout))
    if not any(stages.values()):
        return None
    return msgspec.convert(
        {name: hooks for name, hooks in stages.items() if hooks}, Hooks, from_attributes=True
    )

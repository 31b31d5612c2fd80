"""Which files say how storage is set up, in the order in which they count; storage.conf(5)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from trilby.storage.errors import StorageConfigError

SYSTEM_DIRECTORIES = ("/usr/share/containers", "/etc/containers")


def config_files(
    env: Mapping[str, str], uid: int, system: Sequence[str] = SYSTEM_DIRECTORIES
) -> list[str]:
    """The files to read, later ones over earlier ones.

    ``CONTAINERS_STORAGE_CONF`` names the only one. Otherwise: the first main file of the user's,
    /etc's and /usr/share's; drop-ins ``*.conf``, where one of a later directory replaces one of
    the same name, in order of their names; ``CONTAINERS_STORAGE_CONF_OVERRIDE``.
    ``system`` are the directories for all users, the strongest last.
    """
    if only := env.get("CONTAINERS_STORAGE_CONF"):
        return [_must_exist(only, "CONTAINERS_STORAGE_CONF")]
    user = user_config_directory(env)
    places = [*reversed(system)]
    if user:
        places.insert(0, user)
    mains = (os.path.join(place, "storage.conf") for place in places)
    files = [path for path in mains if os.path.isfile(path)][:1]
    files += _drop_ins(system, user, uid)
    if last := env.get("CONTAINERS_STORAGE_CONF_OVERRIDE"):
        files.append(_must_exist(last, "CONTAINERS_STORAGE_CONF_OVERRIDE"))
    return files


def user_config_directory(env: Mapping[str, str]) -> str:
    """``~/.config/containers``, "" if there is no home."""
    if base := env.get("XDG_CONFIG_HOME"):
        return os.path.join(base, "containers")
    if home := env.get("HOME"):
        return os.path.join(home, ".config", "containers")
    return ""


def _drop_ins(system: Sequence[str], user: str, uid: int) -> list[str]:
    kind = "rootful" if uid == 0 else "rootless"
    folders = []
    for place in system:
        folders += [f"{place}/storage.conf.d", f"{place}/storage.{kind}.conf.d"]
        if uid != 0:
            folders.append(f"{place}/storage.{kind}.conf.d/{uid}")
    if user:
        folders.append(f"{user}/storage.conf.d")
    found: dict[str, str] = {}
    for folder in folders:
        try:
            names = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        found |= {name: f"{folder}/{name}" for name in names if name.endswith(".conf")}
    return [path for _, path in sorted(found.items()) if os.path.isfile(path)]


def _must_exist(path: str, variable: str) -> str:
    if not os.path.isfile(path):
        raise StorageConfigError(f"{path}: {variable} names this file, and there is none")
    return path

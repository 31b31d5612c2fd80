"""What a store is opened with: storage.conf and its drop-ins, the environment, and flags."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from trilby.storage import notes
from trilby.storage.configfiles import SYSTEM_DIRECTORIES, config_files
from trilby.storage.errors import StorageConfigError

if TYPE_CHECKING:
    from trilby.storage.configvalues import Values


class StorageConfig(Struct, frozen=True):
    """Where a store lives and how its driver behaves.

    Paths are absolute. ``driver`` "" means: what is on disk, else the first usable of
    ``driver_priority``; ``driver_place`` is where it stands, ``path:line``, if a file named it.
    ``driver_options`` are ``key=value`` in the order given, keys with or
    without the driver's name in front; later ones win. ``option_places`` say where they stand,
    ``path:line``, if they come from files. ``sources`` are the files read.
    ``warnings`` name unknown keys as ``path:line: …``; they were logged already.
    """

    graphroot: str
    runroot: str
    driver: str = ""
    driver_place: str = ""
    driver_priority: tuple[str, ...] = ("overlay",)
    driver_options: tuple[str, ...] = ()
    option_places: tuple[str, ...] = ()
    additional_image_stores: tuple[str, ...] = ()
    transient_store: bool = False
    disable_volatile: bool = False
    sources: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def load_storage_config(
    env: Mapping[str, str],
    *,
    root: str | None = None,
    runroot: str | None = None,
    driver: str | None = None,
    options: Sequence[str] | None = None,
    uid: int | None = None,
    system: Sequence[str] = SYSTEM_DIRECTORIES,
) -> StorageConfig:
    """Read storage.conf (containers-storage.conf(5)) and lay the flags over it.

    ``CONTAINERS_STORAGE_CONF`` names the only file; otherwise the first of the user's,
    /etc's and /usr/share's storage.conf, then drop-ins. ``STORAGE_DRIVER`` and
    ``STORAGE_OPTS`` override the files; ``root``, ``runroot``, ``driver`` and ``options``
    (from the command line) override everything; options given replace all others.
    ``uid`` is whose defaults apply (this process's by default).
    Raises StorageConfigError with ``path:line:``.
    """
    owner = os.geteuid() if uid is None else uid
    files = config_files(env, owner, system)
    values = _read(files, env, owner, system)
    driver_options = values.options if values else []
    places = values.option_places if values else []
    if given := env.get("STORAGE_OPTS"):
        driver_options, places = given.split(","), []
    if options:
        driver_options, places = list(options), []
    stores = list(values.additional_image_stores) if values else []
    for option in driver_options:
        key, _, value = option.partition("=")
        if key.rpartition(".")[2].lower() in ("imagestore", "additionalimagestore") and value:
            stores.append(value)
    graph_default, run_default = default_roots(env, owner)
    chosen = driver or env.get("STORAGE_DRIVER", "")
    graphroot = _absolute(root or (values.graphroot if values else "") or graph_default, "root")
    run = _absolute(runroot or (values.runroot if values else "") or run_default, "runroot")
    for warning in values.warnings if values else ():
        notes.warning(__name__, "%s", warning)
    return StorageConfig(
        graphroot=graphroot,
        runroot=run,
        driver=chosen or (values.driver if values else ""),
        driver_place=values.driver_place if values and not chosen else "",
        driver_priority=tuple(values.driver_priority if values else ()) or ("overlay",),
        driver_options=tuple(driver_options),
        option_places=tuple(places),
        additional_image_stores=tuple(
            _absolute(path, "additional image store") for path in dict.fromkeys(stores)
        ),
        transient_store=values.transient_store if values else False,
        disable_volatile=values.disable_volatile if values else False,
        sources=tuple(files),
        warnings=tuple(values.warnings) if values else (),
    )


def default_roots(env: Mapping[str, str], uid: int) -> tuple[str, str]:
    """(graphroot, runroot) where nothing else is said."""
    if uid == 0:
        return "/var/lib/containers/storage", "/run/containers/storage"
    data = env.get("XDG_DATA_HOME") or os.path.join(env.get("HOME", "/"), ".local/share")
    run = env.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    return os.path.join(data, "containers/storage"), os.path.join(run, "containers")


def _read(
    files: Sequence[str], env: Mapping[str, str], uid: int, system: Sequence[str]
) -> Values | None:
    if not files:
        # Most hosts have no file: the parsers need not be loaded then.
        return None
    from trilby.storage.configvalues import Values, add_file

    values = Values()
    for path in files:
        # A root in the files for all users is meant for the superuser.
        for_all = any(path.startswith(place + "/") for place in system)
        add_file(values, path, env, uid, keep_roots=uid != 0 and for_all)
    return values


def _absolute(path: str, what: str) -> str:
    if not os.path.isabs(path):
        if what in ("root", "runroot"):
            return os.path.abspath(path)
        raise StorageConfigError(f"{what} {path!r}: the path must be absolute")
    return os.path.normpath(path)

"""Finding and removing what killed processes left in a store.

Three kinds: layers whose record says ``incomplete``, staging directories whose lock nobody
holds, and files that no record knows. All three are harmless to readers; they only cost room.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from trilby.storage.containers import Containers, ContainerStore
from trilby.storage.drivers.base import Driver
from trilby.storage.images import ImageStore
from trilby.storage.layers import Layers, LayerStore
from trilby.storage.records import CONTAINER_FLAG, Recovered
from trilby.storage.tempdirs import TempDir

_HEX = frozenset("0123456789abcdef")
_JOURNAL = ".tar-split.gz"


def recover(
    driver: Driver, layers: LayerStore, images: ImageStore, containers: ContainerStore
) -> Recovered:
    """Remove all three kinds; takes the write locks, so nobody is in the middle of anything."""
    staging = [*driver.temp.remove_dead(), *layers.temp.remove_dead()]
    orphans: list[str] = []
    with (
        layers.temp.directory() as here,
        driver.temp.directory() as there,
        layers.records.writing() as known,
        images.records.writing() as known_images,
        containers.records.writing() as known_containers,
    ):
        known, dead = layers.clean(known)
        ownerless = _ownerless(known, known_containers)
        if ownerless:
            known = layers.delete(known, ownerless, here, there)
        for layer_id in driver.layer_ids():
            if layer_id not in known.by_id:
                driver.discard(layer_id, there)
                orphans.append(os.path.join(driver.home, layer_id))
        orphans += _unknown_journals(layers.directory, known.by_id, here)
        orphans += _unknown_directories(layers.directory, known.by_id, here)
        for store, identities in (
            (images.directory, known_images.by_id.keys()),
            (containers.directory, known_containers.by_id.keys()),
        ):
            orphans += _unknown_directories(store, identities, here)
        for directory, owners in (
            (layers.directory, set(known.by_id)),
            (images.directory, set(known_images.by_id)),
            (containers.directory, set(known_containers.by_id)),
        ):
            _remove_partial_writes(directory, records=True)
            for owner in owners:
                _remove_partial_writes(os.path.join(directory, owner), records=False)
    return Recovered((*dead, *ownerless), tuple(staging), tuple(orphans))


def _ownerless(layers: Layers, containers: Containers) -> list[str]:
    """Layers made for containers whose records were never written."""
    parents = {layer.parent for layer in layers.records}
    return [
        layer.id
        for layer in layers.records
        if (owner := layer.flags.get(CONTAINER_FLAG))
        and owner not in containers.by_id
        and layer.id not in parents
    ]


def _unknown_journals(directory: str, known: Iterable[str], into: TempDir) -> list[str]:
    identities = set(known)
    found = []
    for name in os.listdir(directory):
        if name.endswith(_JOURNAL) and name.removesuffix(_JOURNAL) not in identities:
            found.append(os.path.join(directory, name))
            into.take(found[-1])
    return found


def _unknown_directories(directory: str, known: Iterable[str], into: TempDir) -> list[str]:
    identities = set(known)
    found = []
    for name in os.listdir(directory):
        if len(name) == 64 and _HEX.issuperset(name) and name not in identities:
            found.append(os.path.join(directory, name))
            into.take(found[-1])
    return found


def _remove_partial_writes(directory: str, *, records: bool) -> None:
    """Remove temporary files of what was being written: ours, then the peers' form.

    Their writers would hold the locks that we hold. Among ``records`` only those of JSON files:
    other tools may keep something there.
    """
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in names:
        ours = name.startswith(".") and name.endswith(".tmp")
        if (ours and (".json." in name or not records)) or name.startswith(".tmp-"):
            os.unlink(os.path.join(directory, name))

"""The layer store: records, the driver's directories, tar-split files and mounts kept in step.

A layer is made in three steps: its record with the flag ``incomplete`` is saved, the work is
done, the flag is cleared. Deleting goes the other way round. Whoever finds the flag while holding
the lock alone knows that its writer is dead, and deletes the layer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from trilby.storage import notes
from trilby.storage.bigdata import BigData
from trilby.storage.drivers.base import Driver, MountRequest
from trilby.storage.errors import DuplicateName, LayerInUse, LayerNotFound, NotMounted
from trilby.storage.layermounts import MountTable
from trilby.storage.recordfile import RecordFile
from trilby.storage.records import Layer, MountPoint
from trilby.storage.recordstore import RecordStore, Snapshot
from trilby.storage.tempdirs import TempDir, TempRoot

_DECODER = msgspec.json.Decoder(list[Layer])
Layers = Snapshot[Layer]


class LayerStore:
    """The layers of one store: the primary one, or an additional one that is only read."""

    def __init__(
        self,
        graphroot: str,
        runroot: str,
        driver: Driver,
        *,
        read_only: bool = False,
        transient: bool = False,
    ) -> None:
        self.directory = os.path.join(graphroot, f"{driver.name}-layers")
        run_directory = os.path.join(runroot, f"{driver.name}-layers")
        self.driver = driver
        volatile = os.path.join(
            run_directory if transient else self.directory, "volatile-layers.json"
        )
        self.records = RecordStore(
            os.path.join(self.directory, "layers.lock"),
            RecordFile(os.path.join(self.directory, "layers.json"), _DECODER),
            RecordFile(volatile, _DECODER, durable=False),
            read_only=read_only,
        )
        self.data = BigData(self.directory)
        self.mounts = MountTable(run_directory)
        self.temp = TempRoot(os.path.join(self.directory, "tmp"))

    def tar_split(self, layer_id: str) -> str:
        """The path of the layer's tar-split journal, there or not."""
        return os.path.join(self.directory, f"{layer_id}.tar-split.gz")

    # -- making: all of these within records.writing() ------------------------------------------

    def clean(self, layers: Layers) -> tuple[Layers, list[str]]:
        """Delete the layers that dead writers left incomplete; what remains, and their IDs."""
        dead = [layer.id for layer in layers.records if layer.incomplete]
        if not dead:
            return layers, []
        notes.warning(
            __name__, "deleting incomplete layers: %s", ", ".join(name[:12] for name in dead)
        )
        with self.temp.directory() as here, self.driver.temp.directory() as there:
            return self.delete(layers, dead, here, there), dead

    def add(
        self,
        layers: Layers,
        layer: Layer,
        work: Callable[[], None],
        *,
        volatile: bool = False,
        big_data: Mapping[str, bytes] | None = None,
    ) -> Layers:
        """Record the layer as incomplete, do the work, then record it as complete."""
        check_names(layers, layer.id, layer.names)
        marked = replace(layer, flags={**layer.flags, "incomplete": True})
        started = self.records.save(layers.with_record(marked, volatile=volatile))
        try:
            for key, data in (big_data or {}).items():
                self.data.write(layer.id, key, data, durable=not volatile)
            work()
            return self.records.save(started.with_record(layer))
        except BaseException:
            with self.temp.directory() as here, self.driver.temp.directory() as there:
                self._discard([layer.id], here, there)
            self.records.save(layers)
            raise

    def delete(
        self, layers: Layers, identities: Sequence[str], here: TempDir, there: TempDir
    ) -> Layers:
        """Delete layers; their files go to the temporary directories and away with those.

        ``here`` is one of this store's, ``there`` one of the driver's: they may be on two mounts.
        """
        marked = layers
        for identity in identities:
            layer = layers.by_id[identity]
            if not layer.incomplete:
                flags = {**layer.flags, "incomplete": True}
                marked = marked.with_record(replace(layer, flags=flags))
        if marked is not layers:
            self.records.save(marked)
        self._forget_mounts(identities)
        self._discard(identities, here, there)
        return self.records.save(marked.without(identities))

    def _discard(self, identities: Iterable[str], here: TempDir, there: TempDir) -> None:
        for identity in identities:
            self.driver.discard(identity, there)
            here.take(self.tar_split(identity))
            here.take(os.path.join(self.directory, identity))

    def _forget_mounts(self, identities: Iterable[str]) -> None:
        gone = set(identities)
        if not gone.isdisjoint(self.mounts.read()):
            with self.mounts.alone():
                left = self.mounts.entries()
                self.mounts.save({key: left[key] for key in left if key not in gone})

    # -- mounting: within records.reading() or writing() ----------------------------------------

    def mount(self, layer: Layer, request: MountRequest) -> str:
        """Mount the layer or count one user more; the directory."""
        with self.mounts.alone():
            entries = self.mounts.entries()
            entry = entries.get(layer.id)
            if entry is not None and self.driver.mounted(entry.path):
                entries[layer.id] = replace(entry, count=entry.count + 1)
                self.mounts.save(entries)
                return entry.path
            if not request.label and layer.mount_label:
                request = replace(request, label=layer.mount_label)
            path = self.driver.mount(layer.id, request)
            entries[layer.id] = MountPoint(layer.id, path, 1)
            try:
                self.mounts.save(entries)
            except BaseException:
                self.driver.unmount(layer.id)
                raise
            return path

    def unmount(self, layer: Layer, *, force: bool = False) -> bool:
        """Count one user less; unmounted with the last. True if others still use it."""
        with self.mounts.alone():
            entries = self.mounts.entries()
            entry = entries.get(layer.id)
            if entry is None:
                raise NotMounted(f"unmounting layer {layer.id[:12]}: it is not mounted")
            if entry.count > 1 and not force:
                entries[layer.id] = replace(entry, count=entry.count - 1)
                self.mounts.save(entries)
                return True
            self.driver.unmount(layer.id)
            del entries[layer.id]
            self.mounts.save(entries)
            return False

    def unmount_all(self, layer: Layer) -> None:
        """Unmount whatever the count says; not being mounted is fine."""
        if layer.id in self.mounts.read():
            self.unmount(layer, force=True)


def check_names(layers: Layers, identity: str, names: Iterable[str]) -> None:
    """Raise DuplicateName if another layer has one of the names."""
    for name in names:
        owner = layers.by_name.get(name)
        if owner is not None and owner.id != identity:
            raise DuplicateName(f"naming layer {identity[:12]}: {owner.id[:12]} is called {name!r}")


def check_unused(layers: Layers, identity: str, used_by: str) -> None:
    """Raise LayerInUse if the layer has children; ``used_by`` says what was being done."""
    for layer in layers.records:
        if layer.parent == identity:
            raise LayerInUse(f"{used_by}: layer {layer.id[:12]} is on top of {identity[:12]}")


def need(layers: Layers, ref: str, doing: str) -> Layer:
    """The complete layer, or LayerNotFound."""
    layer = layers.find(ref)
    if layer is None or layer.incomplete:
        raise LayerNotFound(f"{doing}: there is no layer {ref!r}")
    return layer

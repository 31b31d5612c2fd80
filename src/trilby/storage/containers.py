"""The container store: records of containers, their big data and their directories."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from trilby.storage.bigdata import BigData
from trilby.storage.errors import ContainerInUse, ContainerNotFound, DuplicateName, StoreUnusable
from trilby.storage.recordfile import RecordFile
from trilby.storage.records import Container
from trilby.storage.recordstore import RecordStore, Snapshot
from trilby.system.errors import TreeBusy
from trilby.system.files import remove_tree

_DECODER = msgspec.json.Decoder(list[Container])
Containers = Snapshot[Container]


class ContainerStore:
    """The containers of one store. In a transient store all of it lives in the run root."""

    def __init__(
        self, graphroot: str, runroot: str, driver_name: str, *, transient: bool = False
    ) -> None:
        self.directory = os.path.join(graphroot, f"{driver_name}-containers")
        self.run_directory = os.path.join(runroot, f"{driver_name}-containers")
        volatile = self.run_directory if transient else self.directory
        self.records = RecordStore(
            os.path.join(volatile, "containers.lock"),
            RecordFile(os.path.join(self.directory, "containers.json"), _DECODER),
            RecordFile(os.path.join(volatile, "volatile-containers.json"), _DECODER, durable=False),
        )
        self.data = BigData(self.directory)

    def add_data(self, container: Container, data: Mapping[str, bytes]) -> Container:
        """Write big data and give the record that knows it; within ``records.writing``."""
        from hashlib import sha256

        for key, value in data.items():
            self.data.write(container.id, key, value, durable=not container.volatile)
        digests = {key: f"sha256:{sha256(value).hexdigest()}" for key, value in data.items()}
        sizes = {key: len(value) for key, value in data.items()}
        return replace(
            container,
            big_data_names=tuple(dict.fromkeys([*container.big_data_names, *data])),
            big_data_sizes=container.big_data_sizes | sizes,
            big_data_digests=container.big_data_digests | digests,
        )

    def directories(self, container_id: str) -> tuple[str, str]:
        """The persistent and the volatile ``userdata`` directory, there or not."""
        return (
            os.path.join(self.directory, container_id, "userdata"),
            os.path.join(self.run_directory, container_id, "userdata"),
        )

    def remove_directories(self, container_id: str) -> None:
        """Remove both directories. Raises ContainerInUse if something is mounted there."""
        for base in (self.directory, self.run_directory):
            try:
                remove_tree(os.path.join(base, container_id))
            except TreeBusy as error:
                raise ContainerInUse(
                    f"deleting container {container_id[:12]}: {error.message}", hint=error.hint
                ) from error
            except OSError as error:
                raise StoreUnusable(
                    f"deleting container {container_id[:12]}: {error.strerror}"
                ) from error


def check_names(containers: Containers, identity: str, names: Iterable[str]) -> None:
    """Raise DuplicateName if another container has one of the names."""
    for name in names:
        owner = containers.by_name.get(name)
        if owner is not None and owner.id != identity:
            raise DuplicateName(
                f"naming container {identity[:12]}: {owner.id[:12]} is called {name!r}"
            )


def need(containers: Containers, ref: str, doing: str) -> Container:
    """The container, or ContainerNotFound."""
    container = containers.find(ref)
    if container is None:
        raise ContainerNotFound(f"{doing}: there is no container {ref!r}")
    return container

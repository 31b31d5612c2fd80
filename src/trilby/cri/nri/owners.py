"""Which plugin changed what in one request, and that no two change the same."""

from __future__ import annotations

import enum

from trilby.cri.nri.errors import AdjustmentConflict
from trilby.cri.nri.proto import adjustment_pb2 as pb

__all__ = ["Claims", "Field", "Owners"]


class Field(enum.IntEnum):
    """What can be changed, with NRI's numbers (nri.pkg.api.v1alpha1.Field)."""

    ANNOTATIONS = 1
    MOUNTS = 2
    OCI_HOOKS = 3
    DEVICES = 4
    CDI_DEVICES = 5
    ENV = 6
    ARGS = 7
    MEM_LIMIT = 8
    MEM_RESERVATION = 9
    MEM_SWAP_LIMIT = 10
    MEM_KERNEL_LIMIT = 11
    MEM_TCP_LIMIT = 12
    MEM_SWAPPINESS = 13
    MEM_DISABLE_OOM_KILLER = 14
    MEM_USE_HIERARCHY = 15
    CPU_SHARES = 16
    CPU_QUOTA = 17
    CPU_PERIOD = 18
    CPU_REALTIME_RUNTIME = 19
    CPU_REALTIME_PERIOD = 20
    CPUSET_CPUS = 21
    CPUSET_MEMS = 22
    PIDS_LIMIT = 23
    HUGEPAGE_LIMITS = 24
    BLOCKIO_CLASS = 25
    RDT_CLASS = 26
    CGROUPS_UNIFIED = 27
    CGROUPS_PATH = 28
    OOM_SCORE_ADJ = 29
    RLIMITS = 30
    IO_PRIORITY = 31
    SECCOMP_POLICY = 32
    NAMESPACE = 33
    SYSCTL = 34
    NET_DEVICES = 35
    SCHEDULER = 36
    RDT_CLOS_ID = 37
    RDT_SCHEMATA = 38
    RDT_ENABLE_MONITORING = 39
    MEMORY_POLICY = 40


class Owners:
    """The changes of one request: by container, field and, where it has entries, by entry."""

    def __init__(self) -> None:
        self._owners: dict[tuple[str, Field, str | None], str] = {}

    def claims(self, container_id: str, plugin: str) -> Claims:
        """For what one plugin wants of one container."""
        return Claims(self, container_id, plugin)

    def claim(self, container_id: str, field: Field, key: str | None, plugin: str) -> None:
        """Raises AdjustmentConflict when another plugin did it already."""
        known = self._owners.setdefault((container_id, field, key), plugin)
        if known != plugin:
            what = field.name.lower() + (f" {key}" if key is not None else "")
            raise AdjustmentConflict(
                f"NRI plugins {known} and {plugin} both change {what}"
                f" of container {container_id[:12]}"
            )

    def clear(self, container_id: str, field: Field, key: str | None) -> None:
        self._owners.pop((container_id, field, key), None)

    def append(self, container_id: str, field: Field, plugin: str) -> None:
        """For what any number of plugins may add to."""
        known = self._owners.get((container_id, field, None))
        self._owners[container_id, field, None] = f"{known},{plugin}" if known else plugin

    def of(self, container_id: str, field: Field) -> list[str]:
        """The plugins that changed a field, or entries of it."""
        found = [
            plugin
            for (some, what, _), plugin in self._owners.items()
            if some == container_id and what is field
        ]
        return sorted({one for plugin in found for one in plugin.split(",")})

    def message(self) -> pb.OwningPlugins:
        """As plugins that validate are told."""
        told = pb.OwningPlugins()
        for (container_id, field, key), plugin in self._owners.items():
            owners = told.owners[container_id]
            if key is None:
                owners.simple[field] = plugin
            else:
                owners.compound[field].owners[key] = plugin
        return told


class Claims:
    """What one plugin wants of one container."""

    def __init__(self, owners: Owners, container_id: str, plugin: str) -> None:
        self._owners = owners
        self._container_id = container_id
        self.plugin = plugin

    def claim(self, field: Field, key: str | None = None) -> None:
        """Raises AdjustmentConflict when another plugin has it."""
        self._owners.claim(self._container_id, field, key, self.plugin)

    def clear(self, field: Field, key: str | None = None) -> None:
        """It was removed: whoever wants may set it anew."""
        self._owners.clear(self._container_id, field, key)

    def append(self, field: Field) -> None:
        self._owners.append(self._container_id, field, self.plugin)

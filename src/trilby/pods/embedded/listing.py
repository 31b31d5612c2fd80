"""Pods as `trilby pod ps` and `inspect` show them: nothing is changed.

States come from state files or from a daemon; manifests from the folders of pods run from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from trilby.pods.config import EngineConfig
from trilby.pods.embedded.errors import AmbiguousPod, PodNotFound
from trilby.pods.embedded.folder import PodFolder, PodRecord, RunnerNote, folders
from trilby.pods.model_status import (
    ContainerState,
    ContainerStatus,
    SandboxState,
    SandboxStatus,
)
from trilby.pods.state import Layout
from trilby.pods.state_status import Inventory


class PodView(msgspec.Struct, frozen=True, kw_only=True):
    """One pod. ``sandbox`` is None while it is being made or after it was lost.

    ``containers`` has the last try of each, in the manifest's order; ``record`` is None for a pod
    that was not made from a manifest here.
    """

    uid: str
    name: str
    namespace: str
    created: float
    sandbox: SandboxStatus | None = None
    containers: tuple[ContainerStatus, ...] = ()
    record: PodRecord | None = None
    note: RunnerNote | None = None
    runner: int = 0

    @property
    def id(self) -> str:
        return self.sandbox.id if self.sandbox else ""

    @property
    def phase(self) -> str:
        """Kubernetes' pod phase, or Stopped for a pod whose sandbox is no longer ready."""
        if self.note is not None:
            return self.note.phase
        main = [each for each in self.containers if not self._is_init(each.name)]
        if any(each.state is ContainerState.RUNNING for each in main):
            return "Running"
        if main and all(each.state is ContainerState.EXITED for each in main):
            return "Failed" if any(each.exit_code for each in main) else "Succeeded"
        ready = self.sandbox is not None and self.sandbox.state is SandboxState.READY
        return "Pending" if ready else "Stopped"

    @property
    def running(self) -> bool:
        """Whether anything of it is alive."""
        ready = self.sandbox is not None and self.sandbox.state is SandboxState.READY
        return bool(self.runner) or ready

    def ready(self) -> tuple[int, int]:
        """How many of its containers are ready, of how many; a running one without a runner is."""
        main = [each for each in self.containers if not self._is_init(each.name)]
        count = sum(self._container_ready(each) for each in main)
        return count, len(self.record.pod.spec.containers) if self.record else len(main)

    def restarts(self) -> int:
        return sum(each.attempt for each in self.containers)

    def container(self, name: str) -> ContainerStatus:
        """A container by name; without one the pod's only or first. Raises PodNotFound."""
        main = [each for each in self.containers if not self._is_init(each.name)]
        for each in self.containers if name else main:
            if name in ("", each.name):
                return each
        known = ", ".join(each.name for each in self.containers) or "none"
        what = f"container {name}" if name else "container"
        raise PodNotFound(f"pod {self.name} has no {what} (there: {known})")

    def _container_ready(self, container: ContainerStatus) -> bool:
        if container.state is not ContainerState.RUNNING:
            return False
        note = self.note.containers.get(container.name) if self.note else None
        return note.ready if note else True

    def _is_init(self, name: str) -> bool:
        return self.record is not None and any(
            each.name == name for each in self.record.pod.spec.init_containers
        )


class Source(Protocol):
    """Who knows the states: the inventory of an engine's roots, or a daemon's answers."""

    def sandboxes(self) -> list[SandboxStatus]: ...

    def containers(self, sandbox_id: str | None = None) -> list[ContainerStatus]: ...


class PodList:
    """All pods under an engine's roots, or of ``source``."""

    def __init__(self, config: EngineConfig, source: Source | None = None) -> None:
        self.root = config.root
        self.run_root = config.run_root
        self.inventory = source or Inventory(Layout(config.root, config.run_root))

    def all(self) -> list[PodView]:
        """Every pod, the newest first."""
        own = {folder.uid: folder for folder in folders(self.root, self.run_root)}
        found = []
        for sandbox in self.inventory.sandboxes():
            found.append(self._view(own.pop(sandbox.uid, None), sandbox))
        found += [view for folder in own.values() if (view := self._view(folder, None))]
        views = [view for view in found if view is not None]
        return sorted(views, key=lambda view: -view.created)

    def find(self, ref: str) -> PodView:
        """A pod by name, namespace/name, uid or the beginning of its sandbox' id.

        Of several sandboxes of one pod, as a restarted one has, the only one that runs.

        Raises:
            PodNotFound, AmbiguousPod.
        """
        views = self.all()
        exact = [
            v for v in views if ref and ref in (v.name, f"{v.namespace}/{v.name}", v.uid, v.id)
        ]
        found = exact or [view for view in views if len(ref) >= 3 and view.id.startswith(ref)]
        if not found:
            raise PodNotFound(f"no pod {ref}", hint="trilby pod ps lists the pods")
        if len({view.uid for view in found}) == 1:
            found = [view for view in found if view.running] or found[:1]
        if len(found) > 1:
            ids = ", ".join(view.id[:12] or view.uid for view in found)
            raise AmbiguousPod(f"{ref} fits several pods: {ids}")
        return found[0]

    def _view(self, folder: PodFolder | None, sandbox: SandboxStatus | None) -> PodView | None:
        record = folder.record() if folder else None
        containers = self._containers(sandbox.id, record) if sandbox else ()
        runner = folder.runner() if folder else 0
        note = folder.note() if folder and runner else None
        if sandbox is not None:
            return PodView(
                uid=sandbox.uid,
                name=sandbox.name,
                namespace=sandbox.namespace,
                created=record.created if record else sandbox.created_at / 1e9,
                sandbox=sandbox,
                containers=containers,
                record=record,
                note=note,
                runner=runner,
            )
        if record is None:
            return None
        meta = record.pod.metadata
        return PodView(
            uid=record.uid,
            name=meta.name,
            namespace=meta.namespace,
            created=record.created,
            record=record,
            note=note,
            runner=runner,
        )

    def _containers(self, sandbox_id: str, record: PodRecord | None) -> tuple[ContainerStatus, ...]:
        last: dict[str, ContainerStatus] = {}
        for each in self.inventory.containers(sandbox_id):
            if each.name not in last or each.attempt > last[each.name].attempt:
                last[each.name] = each
        order = _order(record)
        return tuple(sorted(last.values(), key=lambda each: order.get(each.name, len(order))))


def _order(record: PodRecord | None) -> dict[str, int]:
    if record is None:
        return {}
    spec = record.pod.spec
    names: Sequence[str] = [each.name for each in (*spec.init_containers, *spec.containers)]
    return {name: index for index, name in enumerate(names)}

"""Whoever is hooked into the lives of sandboxes and containers: nobody, or NRI's plugins.

The engine tells what it does at the places that the Node Resource Interface defines, and takes
what the hooks want changed as plain values. Without hooks nothing is gathered for them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from trilby.oci.runtime import LinuxResources, Namespace, Spec
from trilby.pods.model_common import Resources
from trilby.pods.model_status import ContainerStatus
from trilby.pods.state import ContainerRecord, SandboxLive, SandboxRecord


class HookedSandbox(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox as it is now. ``namespaces`` are the pinned ones."""

    record: SandboxRecord
    live: SandboxLive
    namespaces: tuple[Namespace, ...] = ()


class HookedContainer(msgspec.Struct, frozen=True, kw_only=True):
    """A container as it is now; ``status`` is None while it is being created."""

    record: ContainerRecord
    spec: Spec
    status: ContainerStatus | None = None


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """New limits for a container, wanted by a hook; what is not set keeps its value."""

    container_id: str
    limits: LinuxResources
    ignore_failure: bool = False


class Adjusted(msgspec.Struct, frozen=True, kw_only=True):
    """A container that is being created as the hooks want it, and what is to change elsewhere."""

    spec: Spec
    updates: tuple[Update, ...] = ()
    warnings: tuple[str, ...] = ()


class Updated(msgspec.Struct, frozen=True, kw_only=True):
    """``limits`` for the container in place of what was asked for; None leaves that."""

    limits: LinuxResources | None = None
    updates: tuple[Update, ...] = ()


class Hooks(Protocol):
    """What is told, and when. A request fails with what is raised, except where noted."""

    async def run_sandbox(self, pod: HookedSandbox) -> None:
        """It stands, and nobody else knows it yet. A failure undoes it."""
        ...

    async def update_sandbox(
        self, pod: HookedSandbox, overhead: Resources | None, resources: Resources | None
    ) -> None: ...

    async def post_update_sandbox(self, pod: HookedSandbox) -> None: ...

    async def stop_sandbox(self, pod: HookedSandbox) -> None:
        """Its containers have ended, its network stands. A failure is only logged."""
        ...

    async def remove_sandbox(self, pod: HookedSandbox) -> None:
        """It and its containers are gone. A failure is only logged."""
        ...

    async def create_container(self, pod: HookedSandbox, container: HookedContainer) -> Adjusted:
        """Its OCI config is made, and not used yet. A failure undoes it."""
        ...

    async def post_create(self, pod: HookedSandbox, container: HookedContainer) -> None: ...

    async def start(self, pod: HookedSandbox, container: HookedContainer) -> None:
        """It is about to be started. After a failure it stays created."""
        ...

    async def post_start(self, pod: HookedSandbox, container: HookedContainer) -> None: ...

    async def update(
        self, pod: HookedSandbox, container: HookedContainer, resources: Resources
    ) -> Updated: ...

    async def post_update(self, pod: HookedSandbox, container: HookedContainer) -> None: ...

    async def stop(self, pod: HookedSandbox, container: HookedContainer) -> tuple[Update, ...]:
        """It has ended, or was not made after all. May be called again. Failures are logged."""
        ...

    async def remove(self, pod: HookedSandbox, container: HookedContainer) -> None:
        """It is gone. A failure is only logged."""
        ...


class HookPoint:
    """One per engine. ``hooks`` is None while nobody wants to know anything.

    Whoever joins has to know everything there is: while ``still()`` is held, nothing is between
    having been told to the hooks and being seen by who looks.
    """

    def __init__(self) -> None:
        self.hooks: Hooks | None = None
        self._making = 0
        self._still = False
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def making(self) -> AsyncIterator[Hooks | None]:
        """From before something is told as being made until it can be seen."""
        while self._still:
            await self._wait()
        self._making += 1
        try:
            yield self.hooks
        finally:
            self._making -= 1
            self._wake()

    @contextlib.asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Nothing is being made inside the block; what wants to be waits."""
        while self._still:
            await self._wait()
        self._still = True
        try:
            while self._making:
                await self._wait()
            yield
        finally:
            self._still = False
            self._wake()

    async def _wait(self) -> None:
        changed = self._changed
        await changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


__all__ = [
    "Adjusted",
    "HookPoint",
    "HookedContainer",
    "HookedSandbox",
    "Hooks",
    "Update",
    "Updated",
]

"""What plugins want of one request, put together: a container to be made, or new limits for one."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from trilby.cri.nri import limits
from trilby.cri.nri.adjust import Adjuster
from trilby.cri.nri.errors import HookFailed, InvalidAdjustment
from trilby.cri.nri.owners import Owners
from trilby.cri.nri.plugin import Plugin
from trilby.cri.nri.proto import adjustment_pb2, pod_pb2
from trilby.cri.nri.proto import plugin_pb2 as pb
from trilby.cri.nri.settings import Rules
from trilby.cri.nri.state import container_message, pod_message
from trilby.cri.nri.validation import check
from trilby.oci.runtime import LinuxResources
from trilby.pods.hooks import Adjusted, HookedContainer, HookedSandbox, Update, Updated
from trilby.pods.model_common import Resources
from trilby.pods.spec.host import detect_host

__all__ = ["Creation", "Updating", "updates_of"]


class _Others:
    """New limits that plugins want for containers which the request is not about."""

    def __init__(self, owners: Owners, container_id: str) -> None:
        self.evictions: list[adjustment_pb2.ContainerEviction] = []
        self._owners = owners
        self._container_id = container_id
        self._wanted: dict[str, adjustment_pb2.ContainerUpdate] = {}

    def take(self, updates: Iterable[adjustment_pb2.ContainerUpdate], plugin: str) -> None:
        """Raises AdjustmentConflict, and InvalidAdjustment for the container itself."""
        for update in updates:
            if update.container_id == self._container_id:
                raise InvalidAdjustment(
                    f"the NRI plugin {plugin} updates container {update.container_id[:12]},"
                    " which is being created"
                )
            claims = self._owners.claims(update.container_id, plugin)
            limits.claim_limits(update.linux.resources, claims)
            known = self._wanted.get(update.container_id)
            if known is None:
                known = self._wanted[update.container_id] = adjustment_pb2.ContainerUpdate()
                known.CopyFrom(update)
            else:
                known.linux.MergeFrom(update.linux)
                known.ignore_failure = known.ignore_failure and update.ignore_failure

    def messages(self) -> list[adjustment_pb2.ContainerUpdate]:
        return list(self._wanted.values())


class Creation:
    """A container that is being created; each plugin sees what those before it changed."""

    def __init__(self, pod: HookedSandbox, container: HookedContainer, min_memory: int) -> None:
        self.told: list[Plugin] = []
        self._sandbox = pod
        self._pod = pod_message(pod)
        self._container = container
        self._owners = Owners()
        self._adjuster = Adjuster(
            container.record.id, container.spec, self._owners, min_memory=min_memory
        )
        self._others = _Others(self._owners, container.record.id)
        self._adjustment = adjustment_pb2.ContainerAdjustment()

    async def ask(self, plugin: Plugin) -> None:
        """Raises HookFailed, AdjustmentConflict, InvalidInput kinds."""
        request = pb.CreateContainerRequest(pod=self._pod, container=self._message())
        self.told.append(plugin)  # before: a caller may give up while it is told
        try:
            answer = await plugin.tell(pb.CREATE_CONTAINER, request, pb.CreateContainerResponse)
        except HookFailed:
            self.told.remove(plugin)
            raise
        if answer is None:
            self.told.remove(plugin)
            return
        self._adjuster.apply(answer.adjust, plugin.name)
        self._adjustment.MergeFrom(answer.adjust)
        self._others.take(answer.update, plugin.name)
        self._others.evictions.extend(answer.evict)

    async def validate(self, plugins: Iterable[Plugin], rules: Rules | None) -> None:
        """Look at the result, and have plugins look at it that do so. Raises HookFailed."""
        there = [one for one in plugins if not one.connection.closed.is_set()]
        if rules is not None:
            names = [one.name for one in there]
            check(rules, self._sandbox, self._container, self._owners, names)
        validators = [one for one in there if one.wants(pb.VALIDATE_CONTAINER_ADJUSTMENT)]
        if not validators:
            return
        request = pb.ValidateContainerAdjustmentRequest(
            pod=self._pod,
            container=container_message(self._container),
            adjust=self._adjustment,
            update=self._others.messages(),
            owners=self._owners.message(),
            plugins=[pb.PluginInstance(name=one.base, index=one.index) for one in there],
        )
        kind = pb.ValidateContainerAdjustmentResponse
        for plugin in validators:
            answer = await plugin.tell(pb.VALIDATE_CONTAINER_ADJUSTMENT, request, kind)
            if answer is None:
                raise HookFailed(f"the NRI plugin {plugin.name} cannot validate: it is gone")
            if answer.reject:
                raise HookFailed(
                    f"the NRI plugin {plugin.name} rejects the adjustments: {answer.reason}"
                )

    @property
    def evictions(self) -> list[adjustment_pb2.ContainerEviction]:
        return self._others.evictions

    def result(self) -> Adjusted:
        return Adjusted(
            spec=self._adjuster.spec,
            updates=updates_of(self._others.messages()),
            warnings=self._adjuster.warnings,
        )

    def _message(self) -> pod_pb2.Container:
        return container_message(replace(self._container, spec=self._adjuster.spec))


class Updating:
    """New limits for a container; each plugin sees what those before it changed."""

    def __init__(
        self, pod: HookedSandbox, container: HookedContainer, resources: Resources
    ) -> None:
        self._id = container.record.id
        self._owners = Owners()
        self._others = _Others(self._owners, "")
        self._changed = False
        self._request = pb.UpdateContainerRequest(
            pod=pod_message(pod),
            container=container_message(container),
            linux_resources=limits.from_engine(resources),
        )

    async def ask(self, plugin: Plugin) -> None:
        """Raises HookFailed, AdjustmentConflict."""
        answer = await plugin.tell(pb.UPDATE_CONTAINER, self._request, pb.UpdateContainerResponse)
        if answer is None:
            return
        own = [one for one in answer.update if one.container_id == self._id]
        for one in own:
            limits.claim_limits(one.linux.resources, self._owners.claims(self._id, plugin.name))
            changed = limits.overlay(
                limits.overlay(LinuxResources(), self._request.linux_resources),
                one.linux.resources,
            )
            self._request.linux_resources.CopyFrom(limits.from_oci(changed))
            self._changed = True
        self._others.take(
            (one for one in answer.update if one.container_id != self._id), plugin.name
        )
        self._others.evictions.extend(answer.evict)

    @property
    def evictions(self) -> list[adjustment_pb2.ContainerEviction]:
        return self._others.evictions

    def result(self) -> Updated:
        updates = updates_of(self._others.messages())
        if not self._changed:
            return Updated(updates=updates)
        wanted = limits.overlay(LinuxResources(), self._request.linux_resources)
        given, _ = limits.clamp(wanted, detect_host().limits)
        return Updated(limits=given, updates=updates)


def updates_of(wanted: Iterable[adjustment_pb2.ContainerUpdate]) -> tuple[Update, ...]:
    """For the engine; what the host cannot limit is left out."""
    host = detect_host().limits
    return tuple(
        Update(
            container_id=one.container_id,
            limits=limits.clamp(limits.overlay(LinuxResources(), one.linux.resources), host)[0],
            ignore_failure=one.ignore_failure,
        )
        for one in wanted
    )

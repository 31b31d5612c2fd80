"""A plugin's adjustments of a container that is being created, put into its OCI config.

Names, places and types that begin with "-" ask for a removal. What the host cannot give is clamped
with a warning, as for what the kubelet asks. Two plugins that change the same are a conflict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from trilby.cri.nri import limits
from trilby.cri.nri.adjust_linux import adjust_linux
from trilby.cri.nri.errors import InvalidAdjustment
from trilby.cri.nri.marks import edited, name_of, removed
from trilby.cri.nri.owners import Claims, Field, Owners
from trilby.cri.nri.proto import adjustment_pb2, pod_pb2
from trilby.oci.runtime import (
    Hook,
    Hooks,
    IoPriority,
    Linux,
    LinuxResources,
    Mount,
    Process,
    Rlimit,
    Scheduler,
    Spec,
)
from trilby.pods.spec.cdi import (
    SPEC_DIRS,
    edit_devices,
    edit_hooks,
    edit_mounts,
    edit_process,
    find_edits,
)
from trilby.pods.spec.devices import build_devices
from trilby.pods.spec.host import HostFacts, detect_host
from trilby.pods.spec.limits import build_oom_score, build_rlimits

__all__ = ["Adjuster"]


class Adjuster:
    """Takes one plugin's adjustments after the other's; ``spec`` is how the config is now."""

    def __init__(
        self,
        container_id: str,
        spec: Spec,
        owners: Owners,
        *,
        host: HostFacts | None = None,
        min_memory: int = 0,
        cdi_dirs: Sequence[str] = SPEC_DIRS,
    ) -> None:
        self.spec = spec
        self.warnings: tuple[str, ...] = ()
        self._container_id = container_id
        self._owners = owners
        self._host = host or detect_host()
        self._min_memory = min_memory
        self._cdi_dirs = cdi_dirs

    def apply(self, wanted: adjustment_pb2.ContainerAdjustment, plugin: str) -> None:
        """Raises AdjustmentConflict, InvalidAdjustment, InvalidPodConfig; then nothing is done."""
        claims = self._owners.claims(self._container_id, plugin)
        spec, warnings = self.spec, self.warnings
        process = spec.process
        if process is None:
            raise InvalidAdjustment(f"container {self._container_id[:12]} has no process to adjust")
        spec = replace(
            spec,
            annotations=edited(spec.annotations, wanted.annotations, Field.ANNOTATIONS, claims),
            hooks=_hooks(spec.hooks, wanted.hooks, claims),
        )
        process, more = self._process(process, wanted, claims)
        spec = self._devices(replace(spec, process=process), wanted.CDI_devices, claims)
        linux, rest = self._linux(spec.linux or Linux(), wanted, claims)
        mounts = _mounts(spec.mounts, wanted.mounts, claims)
        self.spec = replace(
            spec,
            mounts=mounts,
            linux=replace(
                linux, rootfs_propagation=_propagation(linux.rootfs_propagation, wanted.mounts)
            ),
        )
        self.warnings = warnings + more + rest

    def _process(
        self, process: Process, wanted: adjustment_pb2.ContainerAdjustment, claims: Claims
    ) -> tuple[Process, tuple[str, ...]]:
        args = process.args
        if wanted.args:
            if not wanted.args[0]:
                claims.clear(Field.ARGS)
            claims.claim(Field.ARGS)
            args = tuple(wanted.args if wanted.args[0] else wanted.args[1:])
        rlimits = {item.type: item for item in process.rlimits}
        for item in wanted.rlimits:
            claims.claim(Field.RLIMITS, item.type)
            rlimits[item.type] = Rlimit(item.type, hard=item.hard, soft=item.soft)
        given, warnings = build_rlimits(rlimits.values(), self._host.limits)
        changed = replace(process, args=args, env=_env(process.env, wanted.env, claims))
        changed = replace(changed, rlimits=given)
        linux = wanted.linux
        if linux.HasField("oom_score_adj"):
            claims.claim(Field.OOM_SCORE_ADJ)
            score, more = build_oom_score(linux.oom_score_adj.value, self._host.limits)
            changed, warnings = replace(changed, oom_score_adj=score), warnings + more
        if linux.HasField("io_priority"):
            claims.claim(Field.IO_PRIORITY)
            kind: int = getattr(linux.io_priority, "class")
            priority = IoPriority(name_of(pod_pb2.IOPrioClass, kind), linux.io_priority.priority)
            changed = replace(changed, io_priority=priority if kind else None)
        if linux.HasField("scheduler"):
            claims.claim(Field.SCHEDULER)
            changed = replace(changed, scheduler=_scheduler(linux.scheduler))
        return changed, warnings

    def _devices(self, spec: Spec, wanted: Iterable[pod_pb2.CDIDevice], claims: Claims) -> Spec:
        """CDI devices are only added; their specifications say what that means."""
        names = [item.name for item in wanted]
        for name in names:
            claims.claim(Field.CDI_DEVICES, name)
        edits = find_edits(names, self._cdi_dirs)
        if not edits:
            return spec
        assert spec.process is not None
        linux = spec.linux or Linux()
        resources = linux.resources or LinuxResources()
        nodes, rules = build_devices(edit_devices(edits), privileged=False)
        places = {node.path for node in nodes}
        return replace(
            spec,
            process=edit_process(spec.process, edits),
            mounts=spec.mounts + edit_mounts(edits),
            hooks=_joined(spec.hooks, edit_hooks(edits)),
            linux=replace(
                linux,
                devices=(*(node for node in linux.devices if node.path not in places), *nodes),
                # The first rule is that nothing is allowed; the container has it.
                resources=replace(resources, devices=(*resources.devices, *rules[1:])),
            ),
        )

    def _linux(
        self, linux: Linux, wanted: adjustment_pb2.ContainerAdjustment, claims: Claims
    ) -> tuple[Linux, tuple[str, ...]]:
        changed, warnings = adjust_linux(linux, wanted.linux, claims)
        if not wanted.linux.HasField("resources"):
            return changed, warnings
        resources = wanted.linux.resources
        limits.claim_limits(resources, claims)
        given, more = limits.clamp(
            limits.overlay(changed.resources or LinuxResources(), resources),
            self._host.limits,
            self._min_memory,
        )
        return replace(changed, resources=given), warnings + more


def _env(
    env: tuple[str, ...], wanted: Iterable[adjustment_pb2.KeyValue], claims: Claims
) -> tuple[str, ...]:
    """Variables keep their places; new ones come last."""
    lines = {line.partition("=")[0]: line for line in env}
    items = list(wanted)
    for item in items:
        key, away = removed(item.key)
        if away:
            claims.clear(Field.ENV, key)
            lines.pop(key, None)
    for item in items:
        if not removed(item.key)[1]:
            if not item.key or "=" in item.key or "\0" in item.key + item.value:
                raise InvalidAdjustment(f"{claims.plugin} sets a variable called {item.key!r}")
            claims.claim(Field.ENV, item.key)
            lines[item.key] = f"{item.key}={item.value}"
    return tuple(lines.values())


def _mounts(
    mounts: tuple[Mount, ...], wanted: Iterable[pod_pb2.Mount], claims: Claims
) -> tuple[Mount, ...]:
    """What is at a place is replaced; then by depth again, as the engine has them."""
    items = list(wanted)
    if not items:
        return mounts
    places = {mount.destination: mount for mount in mounts}
    for item in items:
        place, away = removed(item.destination)
        if away:
            claims.clear(Field.MOUNTS, place)
            places.pop(place, None)
    for item in items:
        if removed(item.destination)[1]:
            continue
        if not item.destination.startswith("/"):
            raise InvalidAdjustment(f"{claims.plugin} mounts at {item.destination!r}")
        claims.claim(Field.MOUNTS, item.destination)
        places.pop(item.destination, None)
        places[item.destination] = Mount(
            item.destination, item.type, item.source, tuple(item.options)
        )
    return tuple(sorted(places.values(), key=lambda mount: mount.destination.count("/")))


def _propagation(now: str, wanted: Iterable[pod_pb2.Mount]) -> str:
    """As much as the most demanding mount needs."""
    options = {option for item in wanted for option in item.options}
    if "rshared" in options:
        return "rshared"
    return now or ("rslave" if "rslave" in options else "")


def _hooks(hooks: Hooks | None, wanted: pod_pb2.Hooks, claims: Claims) -> Hooks | None:
    more = Hooks(*(tuple(map(_hook, getattr(wanted, stage))) for stage in _STAGES))
    if more == Hooks():
        return hooks
    claims.append(Field.OCI_HOOKS)
    return _joined(hooks, more)


_STAGES = Hooks.__struct_fields__


def _hook(hook: pod_pb2.Hook) -> Hook:
    timeout = hook.timeout.value if hook.HasField("timeout") else None
    return Hook(hook.path, tuple(hook.args), tuple(hook.env), timeout)


def _joined(first: Hooks | None, second: Hooks | None) -> Hooks | None:
    if first is None or second is None:
        return first or second
    return Hooks(*(getattr(first, stage) + getattr(second, stage) for stage in _STAGES))


def _scheduler(wanted: pod_pb2.LinuxScheduler) -> Scheduler | None:
    if not wanted.policy:
        return None
    return Scheduler(
        policy=name_of(pod_pb2.LinuxSchedulerPolicy, wanted.policy),
        nice=wanted.nice,
        priority=wanted.priority,
        flags=tuple(name_of(pod_pb2.LinuxSchedulerFlag, flag) for flag in wanted.flags),
        runtime=wanted.runtime,
        deadline=wanted.deadline,
        period=wanted.period,
    )

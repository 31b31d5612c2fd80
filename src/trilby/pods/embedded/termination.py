"""Stopping a pod's containers as the kubelet does: preStop hook, signal, grace period, order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic

from trilby.pods.embedded.api import PodEngine
from trilby.pods.embedded.checks import Target, perform
from trilby.pods.embedded.events import Emit, Notice
from trilby.pods.errors import ContainerNotFound
from trilby.pods.manifest import schema
from trilby.pods.model_status import ContainerState

# What a container gets after its preStop hook has used up the grace period.
LEAST_GRACE = 2.0


async def stop_container(target: Target, grace: float, emit: Emit) -> None:
    """Run the preStop hook and stop the container, both within ``grace`` seconds."""
    try:
        status = await target.engine.read_container(target.container_id)
    except ContainerNotFound:
        return
    if status.state is not ContainerState.RUNNING:
        return
    begun = monotonic()
    lifecycle = target.container.lifecycle
    if lifecycle is not None and lifecycle.pre_stop is not None and grace > 0:
        failure = await perform(target, lifecycle.pre_stop, grace)
        if failure:
            emit(Notice(target.container.name, f"preStop hook failed: {failure}"))
    left = grace - (monotonic() - begun)
    await target.engine.stop_container(
        target.container_id, max(left, LEAST_GRACE) if grace > 0 else 0
    )


async def stop_containers(
    engine: PodEngine,
    spec: schema.PodSpec,
    running: Mapping[str, str],
    address: str,
    grace: float,
    emit: Emit,
) -> None:
    """Stop a pod's containers, name -> id: all at once, then sidecars from last to first."""
    begun = monotonic()
    everything = (*spec.init_containers, *spec.containers)
    sidecars = [each for each in spec.init_containers if each.restart_policy == "Always"]
    names = {each.name for each in sidecars}
    await asyncio.gather(
        *(
            stop_container(Target(engine, each, running[each.name], address), grace, emit)
            for each in everything
            if each.name in running and each.name not in names
        )
    )
    for each in reversed(sidecars):
        if each.name in running:
            left = max(grace - (monotonic() - begun), 0)
            target = Target(engine, each, running[each.name], address)
            await stop_container(target, max(left, LEAST_GRACE) if grace > 0 else 0, emit)

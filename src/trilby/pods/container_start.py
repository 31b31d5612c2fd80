"""Starting a created container; one that cannot be started stays, with what the runtime said."""

from __future__ import annotations

import logging
import time

from msgspec.structs import replace

from trilby.errors import TrilbyError
from trilby.pods import hooked
from trilby.pods.engine_parts import Parts
from trilby.pods.engine_tasks import finish
from trilby.pods.errors import RuntimeFailed, StartFailed, WrongContainerState
from trilby.pods.sandbox import wait_network
from trilby.pods.state import CREATED, FAILED, RUNNING, STARTING, ContainerLive, ContainerRecord
from trilby.pods.state_locks import locked
from trilby.pods.state_status import START_ERROR_CODE, container_exit
from trilby.pods.trace import part

log = logging.getLogger(__name__)


async def start_container(parts: Parts, container_id: str) -> None:
    """See Engine.start_container."""
    sandbox_id, container_id = parts.layout.find_container(container_id)
    name = parts.layout.load_container(sandbox_id, container_id).config.name
    with parts.traces.stage(sandbox_id, "start_container", subject=name):
        await _start(parts, sandbox_id, container_id)


async def _start(parts: Parts, sandbox_id: str, container_id: str) -> None:
    with part("wait for the network"):
        await wait_network(parts, sandbox_id)
    async with locked(parts.layout.lock(container_id)):
        record = parts.layout.load_container(sandbox_id, container_id)
        live = parts.layout.load_container_live(container_id)
        if live is not None and live.phase == FAILED:
            await hooked.end(parts, sandbox_id, container_id)
            raise StartFailed(
                f"starting container {record.config.name}: {live.message}", hint=live.hint
            )
        if live is None or live.phase != CREATED or container_exit(parts.layout, record, live):
            state = live.phase if live else "exited"
            raise WrongContainerState(
                f"starting container {record.config.name} ({container_id[:12]}): it is {state}",
                hint="only a created container can be started, and only once",
            )
        await hooked.start(parts, record)
        starting = replace(live, phase=STARTING, started_at=time.time_ns())
        parts.layout.save_container_live(container_id, starting)
        try:
            with parts.events.starting(container_id, sandbox_id):
                with part("runtime start"):
                    await parts.runtimes.get(record.handler).start(container_id)
                running = replace(starting, phase=RUNNING)
                parts.layout.save_container_live(container_id, running)
                await hooked.started(parts, record)
        except RuntimeFailed as error:
            await finish(_fail(parts, record, live, error))
            await hooked.end(parts, sandbox_id, container_id)
            raise StartFailed(
                f"starting container {record.config.name}: {error.message}", hint=error.hint
            ) from error


async def _fail(
    parts: Parts, record: ContainerRecord, live: ContainerLive, error: RuntimeFailed
) -> None:
    """Keep the container as evidence: EXITED, 128, StartError; nothing of it runs."""
    failed = replace(
        live,
        phase=FAILED,
        finished_at=time.time_ns(),
        exit_code=START_ERROR_CODE,
        message=error.message,
        hint=error.hint,
    )
    parts.layout.save_container_live(record.id, failed)
    try:
        await parts.runtimes.get(record.handler).delete(record.id)
    except TrilbyError as again:
        log.warning("container %s, which did not start: %s", record.id, again)


async def settle_start(parts: Parts, record: ContainerRecord, live: ContainerLive) -> None:
    """After a crash during the start: the runtime knows whether the program was let go."""
    status = await parts.runtimes.get(record.handler).status(record.id)
    phase = CREATED if status == "created" else RUNNING
    started_at = 0 if status == "created" else live.started_at
    parts.layout.save_container_live(record.id, replace(live, phase=phase, started_at=started_at))

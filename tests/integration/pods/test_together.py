"""Several tasks, engines and processes on one pair of roots; callers that go away."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from tests.support.pods import Place, busybox, own_engine, pod

from trilby.pods.engine import Engine
from trilby.pods.errors import PodsError
from trilby.pods.model_status import SandboxState

REPOSITORY = Path(__file__).resolve().parents[3]
PROGRAM = """
import asyncio, sys
from pathlib import Path
from tests.support.pods import DirectoryRootfs, Place, busybox, make_config, pod
from trilby.pods.engine import Engine

async def main(root, tag, name):
    place = Place(tag, Path(root))
    engine = Engine(make_config(place), DirectoryRootfs(place.root / "rootfs"))
    await engine.start()
    sandbox = await engine.run_sandbox(pod("same", uid="1"))
    container = await engine.create_container(sandbox, busybox(name))
    await engine.start_container(container)
    print(sandbox, container)
    await engine.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_share_the_roots(place: Place, nothing_left_behind: None) -> None:
    async with own_engine(place) as engine:
        env = {**os.environ, "PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY}"}
        programs = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", PROGRAM, str(place.root), place.tag, name,
                env=env, stdout=asyncio.subprocess.PIPE,
            )
            for name in ("a", "b")
        ]  # fmt: skip
        lines = [(await program.communicate())[0].decode().split() for program in programs]
        assert [program.returncode for program in programs] == [0, 0]
        assert lines[0][0] == lines[1][0] and lines[0][1] != lines[1][1]
        assert [status.id for status in engine.list_sandboxes()] == [lines[0][0]]
        assert {status.id for status in engine.list_containers()} == {lines[0][1], lines[1][1]}
        # The processes that made them have ended; everything can be had from here.
        assert (await engine.exec_sync(lines[0][1], ["echo", "x"])).stdout == b"x\n"
        waiting = asyncio.create_task(engine.wait_container(lines[1][1]))
        await engine.stop_container(lines[1][1], 0)
        assert await waiting == 137


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.005, 0.01, 0.02, 0.03])
async def test_a_caller_that_goes_away_leaves_nothing(engine: Engine, delay: float) -> None:
    config = pod()
    task = asyncio.create_task(engine.run_sandbox(config))
    await asyncio.sleep(delay)
    task.cancel()
    await asyncio.wait([task])
    sandbox = await engine.run_sandbox(config)
    assert [status.id for status in engine.list_sandboxes()] == [sandbox]
    making = asyncio.create_task(engine.create_container(sandbox, busybox()))
    await asyncio.sleep(delay)
    making.cancel()
    await asyncio.wait([making])
    container = await engine.create_container(sandbox, busybox())
    assert [status.id for status in engine.list_containers(sandbox)] == [container]
    await engine.start_container(container)


async def test_removing_while_creating(engine: Engine) -> None:
    sandbox = await engine.run_sandbox(pod())
    creations = [
        asyncio.create_task(engine.create_container(sandbox, busybox(f"c{number}")))
        for number in range(3)
    ]
    await asyncio.sleep(0.01)
    await engine.remove_sandbox(sandbox)
    results = await asyncio.gather(*creations, return_exceptions=True)
    assert all(isinstance(result, str | PodsError) for result in results), results
    assert engine.list_containers() == []


async def test_many_pods_at_once(engine: Engine) -> None:
    async def life(number: int) -> None:
        sandbox = await engine.run_sandbox(pod(f"pod{number}"))
        container = await engine.create_container(sandbox, busybox())
        await engine.start_container(container)
        assert engine.sandbox_status(sandbox).state is SandboxState.READY
        result = await engine.exec_sync(container, ["echo", str(number)])
        assert result.stdout == f"{number}\n".encode()
        await engine.stop_sandbox(sandbox)
        await engine.remove_sandbox(sandbox)

    await asyncio.gather(*map(life, range(8)))
    assert engine.list_sandboxes() == []

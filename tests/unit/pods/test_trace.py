"""Stages of a pod: what is kept, nested parts, and the price."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from trilby.pods import trace
from trilby.pods.trace import Stage, Traces, part


@pytest.fixture(autouse=True)
def every_part(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(trace, "SHORTEST", 0)
    yield


def names(traces: Traces, sandbox_id: str = "pod") -> list[str]:
    return [stage.name for stage in traces.of(sandbox_id)]


async def test_parts_find_their_operation_from_tasks_and_threads() -> None:
    traces = Traces()

    def blocking() -> None:
        with part("in a thread"):
            pass

    async def task() -> None:
        with part("in a task"):
            pass

    with traces.stage("pod", "create_container", subject="web"):
        await asyncio.to_thread(blocking)
        await asyncio.create_task(task())
    with part("outside"):
        pass
    found = traces.of("pod")
    assert [each.name for each in found] == ["create_container", "in a thread", "in a task"]
    assert {(each.operation, each.subject) for each in found} == {("create_container", "web")}
    assert [each.depth for each in found] == [0, 1, 1]


async def test_operations_at_once_keep_their_parts_apart() -> None:
    traces = Traces()

    async def one(name: str) -> None:
        with traces.stage(name, "run_sandbox"):
            await asyncio.sleep(0)
            with part(f"of {name}"):
                await asyncio.sleep(0)

    await asyncio.gather(one("a"), one("b"))
    assert names(traces, "a") == ["run_sandbox", "of a"]
    assert names(traces, "b") == ["run_sandbox", "of b"]


def test_a_failure_is_recorded_and_goes_on() -> None:
    traces = Traces()
    told: list[Stage] = []
    traces.listener = told.append
    with pytest.raises(ValueError, match="no address"):
        with traces.stage("pod", "run_sandbox"):
            with part("network"):
                raise ValueError("no address")
    assert [each.error for each in traces.of("pod")] == ["no address", "no address"]
    assert [each.name for each in told] == ["network", "run_sandbox"]


def test_short_parts_are_left_out_unless_they_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "SHORTEST", 10**12)
    traces = Traces()
    with pytest.raises(ValueError), traces.stage("pod", "stop_sandbox"):
        with part("quick"):
            pass
        with part("broken"):
            raise ValueError
    assert names(traces) == ["stop_sandbox", "broken"]


def test_what_is_kept_is_bounded_and_has_both_ends() -> None:
    traces = Traces()
    for number in range(1000):
        with traces.stage("pod", f"start_{number}"):
            pass
    with traces.stage("pod", "remove_sandbox"):
        pass
    kept = names(traces)
    assert len(kept) == trace.FIRST + trace.LAST
    assert kept[0] == "start_0"
    assert kept[-1] == "remove_sandbox"


def test_of_many_commands_the_first_ones_are_kept() -> None:
    traces = Traces()
    for _ in range(100):
        with traces.stage("pod", "exec"), part("runtime exec"):
            pass
    with traces.stage("pod", "stop_container"):
        pass
    assert names(traces).count("exec") == trace.EXECS
    assert names(traces)[-1] == "stop_container"


def test_the_oldest_pods_are_forgotten() -> None:
    traces = Traces()
    for number in range(trace.PODS + 10):
        with traces.stage(f"pod{number}", "run_sandbox"):
            pass
    assert traces.of("pod0") == []
    assert traces.find("pod0") == []
    assert len(traces.of(f"pod{trace.PODS + 9}")) == 1


def test_a_stage_costs_microseconds() -> None:
    traces = Traces()
    begin = time.process_time()
    with traces.stage("pod", "run_sandbox"):
        for _ in range(10_000):
            with part("x"):
                pass
    assert (time.process_time() - begin) / 10_000 < 100e-6

"""Startup, liveness and readiness probes of a running container, by the kubelet's rules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from trilby.pods.embedded.checks import Target, perform
from trilby.pods.manifest import schema

Report = Callable[[str], None]


async def watch(
    target: Target,
    container: schema.Container,
    *,
    started: Callable[[], None],
    ready: Callable[[bool], None],
    report: Report,
) -> str:
    """Probe until the container has to be killed; return why.

    ``started`` is called once the startup probe has succeeded (at once without one), ``ready`` at
    each change of readiness. Without a reason to kill it never returns: cancel it.
    """
    startup = container.startup_probe
    if startup is not None:
        failure = await _until(target, startup, "startup", report, good=True)
        if failure:
            return failure
    started()
    tasks = [asyncio.ensure_future(_readiness(target, container.readiness_probe, ready, report))]
    if container.liveness_probe is not None:
        tasks.append(
            asyncio.ensure_future(
                _until(target, container.liveness_probe, "liveness", report, good=False)
            )
        )
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until(
    target: Target, probe: schema.Probe, kind: str, report: Report, *, good: bool
) -> str:
    """Probe until the first success (if ``good``: "") or too many failures in a row (why)."""
    await asyncio.sleep(probe.initial_delay_seconds)
    failures = 0
    while True:
        failure = await perform(target, probe, probe.timeout_seconds)
        if not failure and good:
            return ""
        failures = failures + 1 if failure else 0
        if failure:
            report(f"{kind} probe failed ({failures}/{probe.failure_threshold}): {failure}")
        if failures >= probe.failure_threshold:
            return f"{kind} probe failed: {failure}"
        await asyncio.sleep(probe.period_seconds)


async def _readiness(
    target: Target,
    probe: schema.Probe | None,
    ready: Callable[[bool], None],
    report: Report,
) -> str:
    """Never returns: readiness kills nothing."""
    if probe is None:
        ready(True)
        await asyncio.Event().wait()
        return ""
    await asyncio.sleep(probe.initial_delay_seconds)
    is_ready = False
    successes = failures = 0
    while True:
        failure = await perform(target, probe, probe.timeout_seconds)
        successes, failures = (0, failures + 1) if failure else (successes + 1, 0)
        if not is_ready and successes >= probe.success_threshold:
            is_ready = True
            ready(True)
        elif is_ready and failures >= probe.failure_threshold:
            is_ready = False
            ready(False)
            report(f"not ready: {failure}")
        await asyncio.sleep(probe.period_seconds)

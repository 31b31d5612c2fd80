"""Whether the programs that trilby.conf names are there and run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Final

from trilby.cri.config_finding import Finding, Severity, about
from trilby.cri.config_load import BUILT_IN, Loaded
from trilby.pods.config import CgroupManager, default_runtimes
from trilby.pods.config_option import HANDLERS
from trilby.system import process

__all__ = ["check_programs"]

TIMEOUT: Final = 10.0
USUAL: Final = ("crun", "runc")


def check_programs(loaded: Loaded) -> Iterator[Finding]:
    """Findings about the runtimes, conmon, the infra process and systemd."""
    engine = loaded.config.engine
    yield from _default(loaded)
    for name, handler in sorted(engine.runtimes.items()):
        key = _handler_key(loaded, name)
        if name == engine.default_runtime or handler != default_runtimes().get(name):
            yield from _runs(
                loaded, key, handler.path or name, f"pods of the handler {name} are refused"
            )
        if handler.monitor_path:
            key = f"{HANDLERS}.{name}.monitor_path"
            why = f"no container of the handler {name} starts"
            yield from _runs(loaded, key, handler.monitor_path, why)
    yield from _runs(loaded, "trilby.runtime.conmon", engine.conmon, "no container starts")
    if shutil.which(engine.infra_command) is None:
        yield about(
            loaded,
            "trilby.runtime.infra_command",
            f"is {engine.infra_command}, which is not installed",
            why="pods that share one PID namespace are refused",
            hint="install it",
            severity=Severity.WARNING,
        )
    if engine.cgroup_manager is CgroupManager.SYSTEMD and not os.path.isdir("/run/systemd/system"):
        yield about(
            loaded,
            "trilby.runtime.cgroup_manager",
            "is systemd, and systemd does not run this host",
            why="no container starts",
            hint="set it to cgroupfs, here and for the kubelet",
        )


def _handler_key(loaded: Loaded, name: str) -> str:
    """Where a person finds what chose the handler's program."""
    key = f"{HANDLERS}.{name}.runtime_path"
    default = "trilby.runtime.default_runtime"
    chosen = name == loaded.config.engine.default_runtime
    return default if chosen and loaded.origins.get(key) == BUILT_IN else key


def _default(loaded: Loaded) -> Iterator[Finding]:
    """Without a default the first usual runtime that is installed counts."""
    engine = loaded.config.engine
    if engine.default_runtime:
        return
    programs = [engine.runtimes[name].path or name for name in USUAL if name in engine.runtimes]
    if not any(shutil.which(program) for program in programs):
        yield about(
            loaded,
            "trilby.runtime.default_runtime",
            f"is empty, and none of {', '.join(programs)} is installed",
            why="pods that name no runtime class are refused",
            hint="install crun or runc, or name a handler",
        )


def _runs(loaded: Loaded, key: str, program: str, why: str) -> Iterator[Finding]:
    if shutil.which(program) is None:
        there = os.path.exists(program)
        what = "cannot be executed" if "/" in program and there else "is not installed"
        hint = f"chmod +x {program}" if "/" in program and there else "install it, or name another"
        yield about(loaded, key, f"means {program}, which {what}", why=why, hint=hint)
        return
    try:
        process.run([program, "--version"], timeout=TIMEOUT)
    except process.CommandFailed as error:
        said = (error.stderr or error.stdout).decode(errors="replace").strip()
        last = said.splitlines()[-1] if said else error.message
        yield about(
            loaded,
            key,
            f"means {program}, which does not run: {last}",
            why=why,
            hint=f"try it: {error.command}",
        )

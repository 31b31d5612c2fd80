"""Pods: up, exec, stop and remove, with a bridge network and runc; podman beside them."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import time

from tests.bench import pod_phases
from tests.bench.measure import median, run
from tests.bench.place import Place
from tests.bench.pod_phases import Span
from tests.bench.report import Line, Section
from tests.bench.spawns import SpawnLog
from tests.support import pods
from tests.support.store import docker_archive, layer_tar, wait_for_users

from trilby.pods.engine import Engine

GOALS = {"up": 80.0, "exec": 12.0, "stop and remove": 80.0}
TRACED = 8

Rounds = dict[str, list[Span]]

METHOD = """\
busybox from an overlay store on tmpfs, bridge plugin, runc, cgroupfs; wall time, one after another.
trilby: the engine in this process, as in a daemon. up: sandbox with its network, then create, then
start, as a kubelet asks; together: the container is created while the network is set up. exec: of
`true`, its output collected. stop and remove: kill, then everything gone.
podman: one process per step (run -d, exec, rm -f -t 0) without a pod: one container, no sandbox.
Below: who was at work, from the kernel's process events, in rounds of their own."""


def measure(place: Place, rounds: int) -> list[Section]:
    """Both engines, round by round in turn; then rounds with the processes traced."""
    conflist = place.networks / "10-bench.conflist"
    section = Section(title="Pods", method=METHOD)
    with pods.own_place(place.directory / "pods") as own:
        conflist.write_text(_conflist(own))
        found, lines = asyncio.run(_compare(place, own, rounds))
        section.lines += [_line(name, found) for name in found]
        section.lines += lines
    conflist.unlink()
    return [section]


async def _compare(place: Place, own: pods.Place, rounds: int) -> tuple[Rounds, list[Line]]:
    own.root.mkdir()
    podman = _Podman(place)
    found: Rounds = {}
    # The same configuration for both, but for the builtin network, which saves iptables' time.
    given = {"cni_config_dirs": (str(place.networks),)}
    rootfs = pods.store_rootfs(own)
    async with pods.own_engine(own, rootfs) as builtin:
        for number in range(rounds + 1):
            now: Rounds = {}
            await _trilby(builtin, now, "trilby")
            await _trilby(builtin, now, "trilby, together", together=True)
            podman.round(now)
            if number:
                for step, spans in now.items():
                    found.setdefault(step, []).extend(spans)
        lines = await _traced(builtin, min(rounds, TRACED))
    podman.close()
    async with pods.own_engine(own, rootfs, **given) as same:
        for number in range(rounds // 2 + 1):
            now = {}
            await _trilby(same, now, "trilby, podman's conflist")
            if number:
                for step, spans in now.items():
                    found.setdefault(step, []).extend(spans)
    return found, lines


async def _trilby(engine: Engine, found: Rounds, who: str, *, together: bool = False) -> None:
    """One pod's life."""
    start = time.monotonic()
    sandbox = await engine.run_sandbox(pods.pod(), wait_network=not together)
    container = await engine.create_container(sandbox, pods.busybox())
    await engine.start_container(container)
    up = time.monotonic()
    found.setdefault(f"{who}: up", []).append((start, up))
    if not together:
        result = await engine.exec_sync(container, ["true"])
        executed = time.monotonic()
        assert result.exit_code == 0
        found.setdefault(f"{who}: exec", []).append((up, executed))
        if who == "trilby":
            found.setdefault("runc: exec", []).append(_bare_exec(engine, container))
    down = time.monotonic()
    await engine.stop_sandbox(sandbox)
    await engine.remove_sandbox(sandbox)
    if not together:
        found.setdefault(f"{who}: stop and remove", []).append((down, time.monotonic()))


def _bare_exec(engine: Engine, container: str) -> Span:
    """The runtime alone, with nothing around it: less than this is not possible with runc."""
    root = engine._parts.runtimes.root_of("runc")
    start = time.monotonic()
    subprocess.run(["runc", "--root", root, "exec", container, "true"], check=True)
    return start, time.monotonic()


class _Podman:
    """podman on a store and a network of its own."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.store = place.store("podman")
        self.store.mkdir(parents=True)
        archive = docker_archive(
            self.store / "image.tar",
            "localhost/busybox:latest",
            [layer_tar(dict(pods.busybox_files()))],
        )
        self._do("load", "-q", "-i", str(archive))

    def round(self, found: Rounds) -> None:
        steps = {
            "up": (
                "run",
                "-d",
                "--network=bench",
                "--name=c",
                "localhost/busybox:latest",
                "sleep",
                "99",
            ),
            "exec": ("exec", "c", "true"),
            "stop and remove": ("rm", "-f", "-t", "0", "c"),
        }
        for step, arguments in steps.items():
            start = time.monotonic()
            self._do(*arguments)
            found.setdefault(f"podman: {step}", []).append((start, time.monotonic()))

    def _do(self, *arguments: str) -> None:
        command = self.place.podman(self.store, *arguments)
        run(command, self.place.environment(), self.place.log)

    def close(self) -> None:
        wait_for_users(self.store)
        self.place.remove_store(self.store)


async def _traced(engine: Engine, rounds: int) -> list[Line]:
    """Who was at work, and CPU time, over a few rounds more."""
    found: Rounds = {}
    waits: list[Span] = []
    before = _cpu()
    with SpawnLog() as log, pod_phases.monitor_spans(waits):
        for _ in range(rounds):
            await _trilby(engine, found, "traced")
    cpu = [(after - since) / rounds * 1000 for after, since in zip(_cpu(), before, strict=True)]
    lines = []
    for step, spans in found.items():
        lines += pod_phases.lines(step.partition(": ")[2], spans, log.lives, waits)
    names = ("ours, user", "ours, kernel", "children, user", "children, kernel")
    note = "of a whole life: up, exec, stop and remove"
    for name, value in zip(names, cpu, strict=True):
        lines.append(Line(name=f"  CPU: {name}", unit="ms", value=value, note=note))
        note = ""
    return lines


def _cpu() -> tuple[float, float, float, float]:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime, own.ru_stime, children.ru_utime, children.ru_stime


def _line(name: str, found: Rounds) -> Line:
    who, _, step = name.partition(": ")
    values = [(end - start) * 1000 for start, end in found[name]]
    other = [(end - start) * 1000 for start, end in found[f"podman: {step}"]]
    return Line(
        name=name if name != "runc: exec" else "runc exec, nothing around it",
        unit="ms",
        value=median(values),
        values=tuple(values),
        ratio=median(values) / median(other) if who.startswith("trilby") else None,
        against="podman",
        goal=GOALS[step] if who == "trilby" else None,
    )


def _conflist(own: pods.Place) -> str:
    """The builtin network as a file, with a masquerade by the plugin: one that podman takes."""
    return json.dumps(
        {
            "cniVersion": "0.4.0",
            "name": "bench",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": own.bridge,
                    "isGateway": True,
                    "ipMasq": True,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(own.root / "ipam"),
                        "routes": [{"dst": "0.0.0.0/0"}],
                        "ranges": [[{"subnet": own.subnet}]],
                    },
                }
            ],
        }
    )

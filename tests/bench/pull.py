"""Pulling an image into an empty overlay store: trilby, skopeo and podman, turn by turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.bench import image
from tests.bench.measure import Memory, Run, median, run, watch_memory
from tests.bench.place import Place
from tests.bench.pull_phases import phases
from tests.bench.report import Line, Section
from tests.support.registry import start_registry

TIME_GOAL = 0.5
MEMORY_GOAL = 150.0

Command = Callable[[Place, Path, str], list[str]]


def _trilby(place: Place, store: Path, name: str) -> list[str]:
    flags = ("--quiet", "--no-tls-verify", "--signature-policy", f"{place.directory}/policy.json")
    return place.trilby(store, "image", "pull", *flags, f"docker://{name}")


def _skopeo(place: Place, store: Path, name: str) -> list[str]:
    flags = ["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]
    target = f"containers-storage:[overlay@{store}/g+{store}/r]{name}"
    return ["skopeo", *flags, f"docker://{name}", target]


def _podman(place: Place, store: Path, name: str) -> list[str]:
    return place.podman(store, "pull", "--quiet", "--tls-verify=false", name)


TOOLS: dict[str, Command] = {"trilby": _trilby, "skopeo": _skopeo, "podman": _podman}


def measure(place: Place, rounds: int) -> list[Section]:
    """Both images: the one of the speed goal, and one with a single large layer."""
    sections = []
    images = {
        "Pull, 200 MB in 10,000 files": image.large_layout(place.directory),
        "Pull, one file of 600 MB in one layer": image.big_layer_layout(place.directory),
    }
    with start_registry(place.directory / "registry") as registry:
        for number, (title, layout) in enumerate(images.items()):
            name = image.push(layout, registry.address, f"bench/{number}")
            method = (
                f"{image.describe(layout)}; loopback registry, empty overlay store and TMPDIR on "
                "tmpfs; whole processes, turn by turn, one round of warming up;\n"
                "memory in a round of its own: sum of every process' VmHWM (an upper bound), "
                "and the largest sum of PSS at one moment"
            )
            section = Section(title=title, method=method)
            large = number == 0
            section.lines += _compare(place, name, rounds if large else max(1, rounds // 3), large)
            section.lines += _memory(place, name)
            if large:
                section.lines += phases(place, _trilby, name, rounds)
            sections.append(section)
    return sections


def _compare(place: Place, name: str, rounds: int, goal: bool) -> list[Line]:
    runs: dict[str, list[Run]] = {tool: [] for tool in TOOLS}
    for number in range(rounds + 1):
        for tool, command in TOOLS.items():
            store = place.store(tool)
            place.remove_store(store)
            done = run(command(place, store, name), place.environment(), place.log)
            place.remove_store(store)
            if number:
                runs[tool].append(done)
    lines = []
    peer = median([done.wall for done in runs["skopeo"]])
    for tool, found in runs.items():
        walls = [done.wall for done in found]
        cpu = median([done.user for done in found]), median([done.system for done in found])
        lines.append(
            Line(
                name=f"{tool}, wall",
                unit="s",
                value=median(walls),
                values=tuple(walls),
                ratio=median(walls) / peer if tool != "skopeo" else None,
                against="skopeo",
                goal=TIME_GOAL * peer if goal and tool == "trilby" else None,
                note=f"CPU: user {cpu[0]:.2f} s, system {cpu[1]:.2f} s",
            )
        )
    return lines


def _memory(place: Place, name: str) -> list[Line]:
    found: dict[str, Memory] = {}
    for tool, command in TOOLS.items():
        store = place.store(tool)
        found[tool] = watch_memory(command(place, store, name), place.environment(), place.log)
        place.remove_store(store)
    return [
        Line(
            name=f"{tool}, peak memory",
            unit="MB",
            value=memory.high_water / 1e6,
            ratio=memory.high_water / found["skopeo"].high_water if tool != "skopeo" else None,
            against="skopeo",
            goal=MEMORY_GOAL if tool == "trilby" else None,
            note=f"{memory.processes} process(es); PSS {memory.proportional / 1e6:.0f} MB",
        )
        for tool, memory in found.items()
    ]

"""Where the time of a pull goes: a process that notes when it passes the stations on the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from tests.bench.measure import median, run
from tests.bench.place import ROOT, Place
from tests.bench.report import Line

STATIONS = {
    "python": "interpreter start",
    "imported": "imports of the command and of the registry client",
    "manifest": "store opened, manifest and config asked for",
    "unpacked": "layers fetched, verified and unpacked (and in the page cache)",
    "committed": "commit: fsync, records",
    "end": "clean-up and interpreter exit",
}


def phases(
    place: Place, command: Callable[[Place, Path, str], list[str]], name: str, rounds: int
) -> list[Line]:
    """Medians over some rounds; they are not the rounds that are compared."""
    found: dict[str, list[float]] = {station: [] for station in STATIONS}
    notes = place.directory / "stations.json"
    env = place.environment() | {
        "BENCH_STATIONS": str(notes),
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
    }
    for _ in range(min(rounds, 5)):
        store = place.store("phases")
        argv = command(place, store, name)
        argv[argv.index("-c") + 1] = "from tests.bench.stations import traced; traced()"
        start = time.monotonic()
        run(argv, env, place.log)
        end = time.monotonic()
        place.remove_store(store)
        last = start
        passed = msgspec.json.decode(notes.read_bytes(), type=dict[str, float]) | {"end": end}
        for station in STATIONS:
            found[station].append((passed[station] - last) * 1000)
            last = passed[station]
    return [
        Line(name=f"  {text}", unit="ms", value=median(found[key]), values=tuple(found[key]))
        for key, text in STATIONS.items()
    ]

"""The command line of the benchmarks: ``python -m tests.bench`` from the root of the repository.

Needs root, podman, skopeo, docker-registry, runc, conmon, the CNI plugins, and some time. Nothing
is asserted: the figures are for reading. Everything is on tmpfs and gone afterwards.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench import listing, place, pods, pull, report, stats

Benchmark = Callable[[place.Place, int], list[report.Section]]

BENCHMARKS: dict[str, tuple[Benchmark, int]] = {
    "pull": (pull.measure, 7),
    "pods": (pods.measure, 20),
    "list": (listing.measure, 15),
    "stats": (stats.measure, 9),
}


def main(arguments: list[str] | None = None) -> None:
    """Run what was asked for, print the tables, write the JSON."""
    options = _parser().parse_args(arguments)
    chosen = options.only.split(",") if options.only else list(BENCHMARKS)
    unknown = set(chosen) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    machine = place.machine()
    sections: list[report.Section] = []
    with place.own_place(options.work) as here:
        for name in chosen:
            measure, rounds = BENCHMARKS[name]
            print(f"{name} ...", file=sys.stderr, flush=True)
            sections += measure(here, options.rounds or rounds)
    print(report.show(machine, sections))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_bytes(report.encode(machine, sections))
    print(f"\nevery round: {options.json}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", metavar="NAMES", help="of pull,pods,list,stats; all by default")
    parser.add_argument("--rounds", type=int, help="of each benchmark; by default 7, 20, 15, 9")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        default=Path("build/bench.json"),
        help="where every round goes [default: build/bench.json]",
    )
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="keep the images here for the next run"
    )
    return parser

"""The command line of the benchmarks: ``python -m tests.bench`` from the root of the repository.

Needs root, podman, skopeo, docker-registry, runc, conmon, the CNI plugins, and some time. Nothing
is asserted: the figures are for reading. Everything is on tmpfs and gone afterwards.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.bench import cri, density, listing, place, pods, pull, report, soak, stats
from tests.support.cri_side import parse_peer

Benchmark = Callable[[place.Place, int], list[report.Section]]

BENCHMARKS: dict[str, tuple[Benchmark, int]] = {
    "pull": (pull.measure, 7),
    "pods": (pods.measure, 20),
    "list": (listing.measure, 15),
    "stats": (stats.measure, 9),
    "cri": (partial(cri.measure, settings=cri.Settings()), 15),
    "soak": (soak.measure, 500),
    "density": (partial(density.measure, settings=density.Settings()), 1),
}
#: What runs when nothing is chosen; the soak and a full node take minutes.
USUAL = ("pull", "pods", "list", "stats", "cri")


def main(arguments: list[str] | None = None) -> None:
    """Run what was asked for, print the tables, write the JSON."""
    options = _parser().parse_args(arguments)
    chosen = options.only.split(",") if options.only else list(USUAL)
    unknown = set(chosen) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    machine = place.machine()
    sections: list[report.Section] = []
    with place.own_place(options.work) as here:
        for name in chosen:
            measure, rounds = BENCHMARKS[name]
            if name == "cri":
                measure = partial(cri.measure, settings=_cri(options))
            if name == "density":
                others = tuple(options.other)
                settings = density.Settings(others=others, pods=options.pods)
                measure = partial(density.measure, settings=settings)
            print(f"{name} ...", file=sys.stderr, flush=True)
            sections += measure(here, options.rounds or rounds)
    print(report.show(machine, sections))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_bytes(report.encode(machine, sections))
    print(f"\nevery round: {options.json}")
    if any(line.note == "GROWS" for section in sections for line in section.lines):
        sys.exit(1)


def _cri(options: argparse.Namespace) -> cri.Settings:
    usual = cri.Settings()
    return cri.Settings(
        peers=tuple(options.peer),
        image=options.image or usual.image,
        registries_conf=options.registries_conf,
        runtime=options.runtime,
        parts=tuple(options.parts.split(",")) if options.parts else usual.parts,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--only",
        metavar="NAMES",
        help="of pull,pods,list,stats,cri,soak,density; by default all but the last two",
    )
    parser.add_argument("--rounds", type=int, help="of each benchmark")
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
    group = parser.add_argument_group("of the benchmark cri")
    group.add_argument(
        "--peer",
        type=parse_peer,
        action="append",
        default=[],
        metavar="NAME=SOCKET[,pid=N][,handler=NAME]",
        help="a CRI daemon that runs, to measure beside ours; can be given several times",
    )
    group.add_argument("--image", default="", help="a busybox that all have or can pull")
    group.add_argument(
        "--registries-conf",
        type=Path,
        metavar="FILE",
        help="a registries.conf by which our daemon pulls it; else it gets one from here",
    )
    group.add_argument("--runtime", default="", metavar="PATH", help="our daemon's runc")
    group.add_argument(
        "--parts", default="", metavar="NAMES", help=f"of {','.join(cri.PARTS)}; all by default"
    )
    group = parser.add_argument_group("of the benchmark density")
    group.add_argument(
        "--other",
        type=density.parse_runtime,
        action="append",
        default=[],
        metavar="NAME=SOCKET=COMMAND",
        help="another runtime: its socket, and what starts it, both in the host that is made;"
        " it finds the images in /var/lib/containers/storage",
    )
    group.add_argument("--pods", type=int, default=density.PODS, help="[default: %(default)s]")
    return parser

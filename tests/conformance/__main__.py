"""Conformance: Kubernetes' own suite on a cluster of hosts whose containers run on Trilby.

::

    python -m tests.conformance --host cluster-1                all, against a cluster of hosts.py
    python -m tests.conformance --kubeconfig FILE --set node    node specs, against any other

The images that specs want are put into the registry of the hosts' network before. Results are in
build/conformance: a JUnit file and a log for each run, and table.txt.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conformance.results import Spec, table
from tests.conformance.suite import SETS, Cluster, Part, Run, parts
from tests.support.cluster_images import publish
from tests.support.cluster_images_list import suite_images
from tests.support.hosts_place import argv, fabric_pid, pid_of

FOLDER = Path(__file__).resolve().parents[2] / "build" / "conformance"


def main() -> int:
    """0 if every spec passed, 1 if not."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("conformance: told to end"))
    folder: Path = arguments.output.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.kubeconfig:
        cluster = Cluster(arguments.kubeconfig)
    else:
        if not arguments.published:
            publish(suite_images(), fabric_pid())
        cluster = _of_host(arguments.host, folder)
    wanted = [
        part
        for name in arguments.set or SETS
        for part in parts(name, arguments.procs, arguments.focus)
        if part.title.endswith(arguments.part)
    ]
    done = _run_all(wanted, cluster, folder)
    sys.stdout.write(table(done))
    return 0 if all(spec.passed for _, specs in done for spec in specs) else 1


def _run_all(wanted: list[Part], cluster: Cluster, folder: Path) -> list[tuple[str, list[Spec]]]:
    """Specs that wait run beside those that work; serial ones have the cluster for themselves."""
    done: list[tuple[str, list[Spec]]] = []
    began = time.monotonic()

    def ended(run: Run) -> None:
        done.append((run.part.title, run.wait()))
        took = time.monotonic() - began
        sys.stderr.write(f"conformance: {took:5.0f} s  {run.part.title} ended\n")
        (folder / "table.txt").write_text(table(done))

    with contextlib.ExitStack() as stack:

        def start(part: Part) -> Run:
            run = Run(part, cluster, folder)
            stack.callback(run.end)
            return run

        waiting = [start(part) for part in wanted if part.waits]
        for part in wanted:
            if not part.waits and not part.serial:
                ended(start(part))
        for run in waiting:
            ended(run)
        for part in wanted:
            if part.serial:
                ended(start(part))
    return done


def _of_host(name: str, folder: Path) -> Cluster:
    """The cluster that a host of ours is a control plane of."""
    command = argv(name, ["cat", "/etc/kubernetes/admin.conf"])
    kubeconfig = folder / "admin.conf"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    return Cluster(kubeconfig, pid_of(name))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.conformance")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--host", help="a host of the control plane")
    where.add_argument("--kubeconfig", type=Path)
    parser.add_argument("--set", action="append", choices=SETS)
    parser.add_argument("--procs", type=int, default=4, help="how many specs at a time")
    parser.add_argument("--part", default="", choices=["", "slow", "together", "serial"])
    parser.add_argument("--focus", action="append", default=[], metavar="REGEXP")
    parser.add_argument("--published", action="store_true", help="the registry has the images")
    parser.add_argument("--output", type=Path, default=FOLDER)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

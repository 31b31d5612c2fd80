"""Runs Kubernetes' own end-to-end suite against a cluster.

Specs that may run together are run by several processes, those that are marked ``[Serial]`` one
after the other behind them. Each run writes a JUnit file.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec
from tests.conformance.results import Spec, read
from tests.support.kubernetes import program

__all__ = ["SETS", "Cluster", "Part", "Run", "parts", "run"]

#: What a set of specs is, as a filter of Ginkgo's labels. The second has nothing of the first.
SETS = {
    "node": "NodeConformance",
    "conformance": "Conformance && !NodeConformance",
}
#: How many of the slow specs run at a time.
WAITING = 12
#: How many seconds it gets to write what is there when it is told to end.
GRACE = 30
#: The longest spec waits half an hour for a kubelet's longest pause.
SPEC_TIMEOUT = "2h"


class Cluster(msgspec.Struct, frozen=True):
    """How a cluster is reached: by a file, in the network of a process (0: ours)."""

    kubeconfig: Path
    network: int = 0


class Part(msgspec.Struct, frozen=True):
    """Some specs: those of a filter of labels, perhaps only those that a pattern names.

    ``waits`` if they do so little that they can be run beside all but those that are ``serial``.
    """

    title: str
    labels: str
    processes: int = 1
    focus: Sequence[str] = ()
    skip: Sequence[str] = ()
    waits: bool = False
    serial: bool = False


def parts(name: str, processes: int, focus: Sequence[str] = ()) -> list[Part]:
    """The runs of a set. Slow specs wait for minutes and do little: they wait together."""
    labels = SETS[name]
    return [
        Part(f"{name}-slow", f"{labels} && Slow && !Serial", WAITING, focus, waits=True),
        Part(f"{name}-together", f"{labels} && !Slow && !Serial", processes, focus),
        Part(f"{name}-serial", f"{labels} && Serial", 1, focus, serial=True),
    ]


class Run:
    """Specs that are being run; the JUnit file and the log are in ``folder``, by the part's title."""

    def __init__(self, part: Part, cluster: Cluster, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.part = part
        self.report = folder / f"{part.title}.xml"
        self.report.unlink(missing_ok=True)
        self.log = folder / f"{part.title}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*_network(cluster), *_command(part, cluster, folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={"PATH": os.environ["PATH"], "HOME": str(folder), "KUBECONFIG": ""},
                start_new_session=True,
            )

    def wait(self) -> list[Spec]:
        """What became of the specs. When we are told to end, so is Ginkgo."""
        try:
            self.process.wait()
        except BaseException:
            self.end()
            raise
        if not self.report.exists():
            raise SystemExit(f"conformance: {self.part.title} has no result, see {self.log}")
        return read(self.report)

    def end(self) -> None:
        """Let Ginkgo write what is there, and end; nothing if it has ended."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def run(part: Part, cluster: Cluster, folder: Path) -> list[Spec]:
    """What became of the specs of one part."""
    return Run(part, cluster, folder).wait()


def _network(cluster: Cluster) -> list[str]:
    return ["nsenter", "--net", "--target", str(cluster.network)] if cluster.network else []


def _command(part: Part, cluster: Cluster, folder: Path) -> list[str]:
    return [
        str(program("ginkgo")),
        f"--procs={part.processes}",
        *([f"--label-filter={part.labels}"] if part.labels else []),
        f"--timeout={SPEC_TIMEOUT}",
        *(f"--focus={pattern}" for pattern in part.focus),
        *(f"--skip={pattern}" for pattern in part.skip),
        *("--keep-going", "--no-color", "--silence-skips", "--poll-progress-after=0"),
        f"--output-dir={folder}",
        f"--junit-report={part.title}.xml",
        str(program("e2e.test")),
        "--",
        f"--kubeconfig={cluster.kubeconfig}",
        f"--kubectl-path={program('kubectl')}",
        *("--provider=skeleton", "--disable-log-dump", "--dump-logs-on-failure=false"),
    ]

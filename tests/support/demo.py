"""The whole story of the project, on this machine: ``scripts/demo`` calls it.

Packages are built of the clone, a fresh host boots that has nothing of ours, the playbook makes it
a node, its kubelet runs a pod, and everything is removed again. Each step is a line; what it did in
detail is in build/demo.log. All is below TRILBY_HOSTS, or else /dev/shm/trilby-demo.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from tests.support import standin

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[2]
LOG = ROOT / "build/demo.log"
PLACE = Path(os.environ.get("TRILBY_HOSTS") or "/dev/shm/trilby-demo")
RPMS, MOLECULE = ROOT / "scripts/rpms", ROOT / "scripts/molecule"
KUBERNETES = "tests.support.kubernetes"
HOST, ADDRESS = "demo-1", "10.88.0.10"
INVENTORY = "examples/inventory/demo"
SOCKET = "/run/trilby/trilby.sock"
POD = f"hello-{HOST}"

#: What a line of a step's output says that a person wants to read.
TELLING = re.compile(
    r"^(?:standin: +[\d.]+ s +(?P<standin>.+)|rpms?: (?P<rpms>.+)|TASK \[(?P<task>.+)\]"
    r"|RUNNING HANDLER \[(?P<handler>.+)\]|(?:setup|molecule|programs): (?P<setup>.+))"
)

console = Console(highlight=False)


class StepFailed(Exception):
    """A step ended with an error; the end of the log says which."""


class Story:
    """The steps, in their order, with a log of what they said."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        LOG.parent.mkdir(exist_ok=True)
        self.log = LOG.open("w")

    def step(self, what: str, *command: str | Path) -> None:
        """Run a command; while it runs its last telling line is shown."""
        began = time.monotonic()
        words = [str(word) for word in command]
        self.log.write(f"\n== {what}\n$ {' '.join(words)}\n")
        self.log.flush()
        with (
            console.status(f"{what} ...") as status,
            subprocess.Popen(
                words,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=environment(),
            ) as process,
        ):
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    self.log.write(line)
                    self.log.flush()
                    if found := TELLING.match(line):
                        said = next(group for group in found.groups() if group)
                        status.update(f"{what}: [dim]{escape(said[:90])}[/]")
            except BaseException:
                process.terminate()
                raise
        took = time.monotonic() - began
        if process.returncode:
            console.print(f"[red]failed[/]  {what}")
            raise StepFailed(f"{words[0]} ended with {process.returncode}")
        console.print(f"[green]ok[/] {took:6.1f} s  {what}")

    def show(self, command: str) -> None:
        """A command in the host, as one would type it there, with what it says."""
        console.print(f"\n[bold]{HOST}#[/] [bold]{escape(command)}[/]")
        words = [*in_host(), "sh", "-c", command]
        done = subprocess.run(
            words,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment(),
        )
        text = (done.stdout + done.stderr).rstrip()
        self.log.write(f"\n$ {command}\n{text}\n")
        console.print(text, markup=False, soft_wrap=True)
        if done.returncode:
            raise StepFailed(f"{command} ended with {done.returncode}")

    def journal(self) -> None:
        """What the host's services said, if it got so far; for the log."""
        words = [
            *in_host(),
            "journalctl",
            "--no-pager",
            "--lines=20",
            "--unit=trilby",
            "--unit=kubelet",
        ]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=environment())
        self.log.write(done.stdout)
        self.log.flush()


def launcher() -> str:
    """What the host is made of: namespaces need the v1 hierarchies of cgroups."""
    v1 = Path("/sys/fs/cgroup/memory").is_dir()
    return os.environ.get("TRILBY_HOSTS_LAUNCHER") or ("namespaces" if v1 else "qemu")


def environment() -> dict[str, str]:
    """Hosts of the demo's own, which install the packages that the demo has built."""
    return {
        **os.environ,
        "TRILBY_HOSTS_LAUNCHER": launcher(),
        "TRILBY_HOSTS": str(PLACE),
        "TRILBY_HOSTS_PACKAGES": str(ROOT / "build/rpms"),
        "ANSIBLE_CONNECTION_PLUGINS": str(ROOT / "tests/molecule/plugins/connection"),
        "ANSIBLE_PIPELINING": "yes",
        "ANSIBLE_NOCOLOR": "1",
    }


def hosts(*words: str) -> list[str]:
    return [sys.executable, "-m", "tests.support.hosts", *words]


def in_host() -> list[str]:
    return hosts("run", HOST)


def playbook(name: str) -> list[str | Path]:
    command = ("ansible-playbook", "-i", ROOT / INVENTORY, f"trilby.node.{name}")
    return [MOLECULE, "--", *command]


def make(story: Story) -> None:
    """From the clone to a pod that runs."""
    python = (sys.executable, "-m")
    story.step("A stand-in for Fedora's repositories", *python, "tests.support.standin")
    story.step("Trilby's packages, built of this clone and signed", RPMS, "--no-check")
    story.step(
        "Kubernetes' programs, built of their sources",
        *python,
        KUBERNETES,
        "kubelet",
        "kubeadm",
        "kubectl",
    )
    if launcher() == "qemu":
        story.step("A virtual machine's programs", ROOT / "scripts/setup", "qemu")
    story.step("Ansible", MOLECULE, "--install")
    story.step("A network with a repository of these packages, and a registry", *hosts("prepare"))
    story.step("A fresh host with systemd and dnf5", *hosts("create", HOST, ADDRESS))
    story.step("The playbook trilby.node.node makes it a node", *playbook("node"))
    story.step("The playbook trilby.node.verify runs a pod on it", *playbook("verify"))
    ready = f"until trilby pod exec --host {SOCKET} {POD} -- true 2>/dev/null; do sleep 1; done"
    waiting = ("timeout", "120", "sh", "-c", ready)
    story.step("The kubelet runs the pod of the inventory", *in_host(), *waiting)


def look(story: Story) -> None:
    """What there is to see of the pod."""
    story.show("rpm -q trilby kubernetes1.36 && systemctl is-active trilby kubelet")
    story.show("trilby node check | tail -n 1")
    story.show(f"trilby pod ps --host {SOCKET}")
    story.show(f"trilby pod logs --host {SOCKET} {POD}")
    story.show(f"trilby pod exec --host {SOCKET} {POD} -- wget -q -O - http://{ADDRESS}:8080/")


def summary(kept: bool) -> None:
    """What runs where, how to look into it, how to remove it."""
    inside = " ".join([f"TRILBY_HOSTS={PLACE}", ".venv/bin/python", "-m", "tests.support.hosts"])
    rows = [
        (
            "the node",
            f"{HOST}, {ADDRESS}: systemd, trilby.service, kubelet.service; Fedora's layout",
        ),
        ("the pod", f"{POD}: made by the kubelet of /etc/kubernetes/manifests/hello.yaml"),
        ("its packages", "build/rpms, a signed repository: copy trilby.repo to a host of yours"),
        ("its inventory", f"{INVENTORY}: what the playbook was told"),
        ("the log", str(LOG.relative_to(ROOT))),
    ]
    if kept:
        rows += [
            ("look into it", "make demo ARGS=--shell"),
            ("or run a command", f"{inside} run {HOST} trilby pod ps --host {SOCKET}"),
            ("remove it", "make demo ARGS=--remove"),
        ]
    else:
        rows += [
            ("removed", f"the host, its network and {PLACE}; build/ and the caches stay"),
            ("to look around", "make demo ARGS=--keep"),
        ]
    console.print()
    for name, text in rows:
        console.print(f"[bold]{name:>16}[/]  {escape(text)}", soft_wrap=True)


def remove() -> None:
    subprocess.run(hosts("clear"), cwd=ROOT, env=environment(), check=True)


def run(keep: bool) -> int:
    if reason := standin.impossible():
        console.print(f"demo: {reason}; make demo-pod needs less", markup=False)
        return 1
    if PLACE.exists():
        remove()
    story = Story()
    kept = False
    try:
        make(story)
        look(story)
        kept = keep
    except StepFailed as error:
        story.journal()
        console.print("\n".join(LOG.read_text().splitlines()[-40:]), markup=False)
        console.print(f"demo: {error}; the whole log is {LOG.relative_to(ROOT)}", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if not kept:
            with console.status("removing everything ..."):
                remove()
    summary(kept)
    console.print(f"\nThat was the demo, in {time.monotonic() - story.began:.0f} seconds")
    return 0


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description="The whole story of Trilby.")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--keep", action="store_true", help="leave the host running")
    group.add_argument("--shell", action="store_true", help="a shell in the host that was kept")
    group.add_argument("--remove", action="store_true", help="remove what was kept")
    chosen = parser.parse_args(words)
    if os.geteuid():
        parser.error("it makes hosts, which takes root")
    if chosen.shell:
        os.execve(sys.executable, [*in_host(), "bash", "-l"], environment())
    if chosen.remove:
        remove()
        return 0
    return run(chosen.keep)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

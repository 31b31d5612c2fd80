"""The commands against a running daemon: a pod's life by --host, status, events, trace."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest
from tests.support.cli_daemon import Commands, commands
from tests.support.leftovers import leftovers
from tests.support.pods import Place, own_place

from trilby.cri.event_lines import EventLine

MANIFEST = """
apiVersion: v1
kind: Pod
metadata:
  name: NAME
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 5
  initContainers:
  - {name: init, image: busybox, imagePullPolicy: Never, command: [sh, -c, echo first]}
  containers:
  - name: web
    image: busybox
    imagePullPolicy: Never
    command: [sh, -c, "echo hello; echo trouble >&2; trap 'exit 7' TERM; while :; do sleep 0.05; done"]
  - name: cat
    image: busybox
    imagePullPolicy: Never
    stdin: true
    command: [cat]
    volumeMounts: [{name: v, mountPath: /v}]
  volumes:
  - {name: v, emptyDir: {}}
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Commands]:
    """One daemon for this file; nothing of it may be left at the end."""
    root = Path(tempfile.mkdtemp(prefix="trilby-", dir="/dev/shm"))
    root.chmod(0o711)
    with own_place(root) as place:
        with commands(place) as daemon:
            yield daemon
        found = leftovers(place, _children())
        assert not found, "left behind:\n" + "\n".join(found)
    shutil.rmtree(root)


def _children() -> set[int]:
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


def write_manifest(place: Place, name: str, text: str = MANIFEST) -> str:
    path = place.root / f"{name}.yaml"
    path.write_text(dedent(text).replace("NAME", name))
    return str(path)


@pytest.fixture
def hello(daemon: Commands, request: pytest.FixtureRequest) -> Iterator[str]:
    """A detached pod; its name."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:40].strip(
        "-"
    )
    daemon.trilby("pod", "run", "-d", write_manifest(daemon.place, name))
    yield name
    daemon.trilby("pod", "rm", "-f", "-i", "-t", "0", name)


def test_status(daemon: Commands) -> None:
    document = msgspec.json.decode(daemon.trilby("status", "--format", "json").stdout)
    assert document["ready"] is True
    assert document["name"] == "trilby"
    assert {one["type"] for one in document["conditions"]} == {"RuntimeReady", "NetworkReady"}
    assert document["storage"]["driver"] == "overlay"
    assert document["storage"]["graph_root"] == str(daemon.place.root / "s")
    assert document["cgroups"] == {
        "manager": "cgroupfs", "parent": daemon.place.cgroup_parent
    }  # fmt: skip
    assert document["network"]["file"] == ""
    assert "runc" in document["handlers"]
    text = daemon.trilby("status", host=False, check=False)
    assert text.returncode == 5, "without TRILBY_HOST it looks where nobody is"


def test_a_pod_from_start_to_end(daemon: Commands, hello: str) -> None:
    (pod,) = [
        each
        for each in msgspec.json.decode(daemon.trilby("pod", "ps", "--format", "json").stdout)
        if each["name"] == hello
    ]
    assert (pod["phase"], pod["ready"], pod["total"]) == ("Running", 2, 2)
    assert pod["sandbox"]["ips"]
    here = daemon.trilby("pod", "ps", host=False).stdout
    assert hello in here, "the roots are the same, so it is seen without the daemon too"

    logs = daemon.trilby("pod", "logs", hello)
    assert "init | first" in logs.stdout and "web  | hello" in logs.stdout
    assert "web  | trouble" in logs.stderr
    (inspected,) = msgspec.json.decode(daemon.trilby("pod", "inspect", hello).stdout)
    assert [each["name"] for each in inspected["containers"]] == ["init", "web", "cat"]
    assert inspected["containers"][0]["exit_code"] == 0
    assert inspected["manifest"]["metadata"]["name"] == hello

    daemon.trilby("pod", "stop", hello)
    (stopped,) = msgspec.json.decode(daemon.trilby("pod", "inspect", hello).stdout)
    codes = {each["name"]: each["exit_code"] for each in stopped["containers"]}
    assert codes["web"] == 7, "it had its grace"
    assert stopped["sandbox"]["state"] == "NOTREADY"
    daemon.trilby("pod", "rm", hello)
    assert hello not in daemon.trilby("pod", "ps").stdout
    assert not (daemon.place.root / "s/trilby/pods" / pod["uid"]).exists()


def test_in_the_foreground(daemon: Commands) -> None:
    text = """
        apiVersion: v1
        kind: Pod
        metadata: {name: NAME}
        spec:
          restartPolicy: OnFailure
          containers:
          - name: twice
            image: busybox
            imagePullPolicy: Never
            command: [sh, -c, "test -e /v/done && exit 0; echo again; touch /v/done; exit 3"]
            volumeMounts: [{name: v, mountPath: /v}]
            lifecycle: {postStart: {exec: {command: ["true"]}}}
          volumes:
          - {name: v, emptyDir: {medium: Memory}}
        """
    done = daemon.trilby("pod", "run", "--rm", write_manifest(daemon.place, "twice", text))
    assert done.stdout == "twice | again\n"
    assert "exited with 3" in done.stderr and "started, attempt 1" in done.stderr
    assert "twice" not in daemon.trilby("pod", "ps").stdout


def test_a_program_that_is_not_there(daemon: Commands) -> None:
    text = """
        apiVersion: v1
        kind: Pod
        metadata: {name: NAME}
        spec:
          restartPolicy: Never
          containers:
          - {name: bad, image: busybox, imagePullPolicy: Never, command: [/nonesuch]}
        """
    done = daemon.trilby(
        "pod", "run", "--rm", write_manifest(daemon.place, "bad", text), check=False
    )
    assert done.returncode == 1
    assert "failed to start" in done.stderr and "nonesuch" in done.stderr


def test_interrupted_in_the_foreground(daemon: Commands) -> None:
    manifest = write_manifest(daemon.place, "interrupted")
    process = subprocess.Popen(
        daemon.command("pod", "run", manifest),
        env=daemon.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "hello" in line:
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.communicate()
    (pod,) = msgspec.json.decode(daemon.trilby("pod", "inspect", "interrupted").stdout)
    assert pod["sandbox"]["state"] == "NOTREADY"
    assert {each["name"]: each["exit_code"] for each in pod["containers"]}["web"] == 7
    daemon.trilby("pod", "rm", "interrupted")


def test_commands_in_a_container(daemon: Commands, hello: str) -> None:
    both = daemon.trilby(
        "pod", "exec", hello, "-c", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3",
        check=False,
    )  # fmt: skip
    assert (both.returncode, both.stdout, both.stderr) == (3, "out\n", "err\n")
    data = "x" * 300_000 + "\n"
    echoed = daemon.trilby("pod", "exec", "-i", hello, "-c", "web", "--", "cat", stdin=data)
    assert echoed.stdout == data
    missing = daemon.trilby("pod", "exec", hello, "/nonesuch", check=False)
    assert missing.returncode == 127
    user = daemon.trilby("pod", "exec", "-u", "1", hello, "id", check=False)
    assert user.returncode == 125
    assert "cannot be given by the CRI" in user.stderr


def test_a_terminal(daemon: Commands, hello: str) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        command = daemon.command(
            "pod",
            "exec",
            "-it",
            "-c",
            "web",
            hello,
            "sh",
            "-c",
            "echo go; read x; stty size; exit $x",
        )
        os.execve(command[0], command, daemon.environment())
    try:
        termios.tcsetwinsize(terminal, (33, 99))
        said = b""
        while b"go" not in said:
            said += _read(terminal)
        os.write(terminal, b"5\n")
        while data := _read(terminal):
            said += data
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 5
        assert b"33 99\r\n" in said
    finally:
        os.close(terminal)


def _read(fd: int) -> bytes:
    readable, _, _ = select.select([fd], [], [], 20)
    assert readable, "nothing came"
    try:
        return os.read(fd, 4096)
    except OSError:
        return b""


def test_attach(daemon: Commands, hello: str) -> None:
    process = subprocess.Popen(
        daemon.command("pod", "attach", hello, "-c", "cat"),
        env=daemon.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(b"there and back\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"there and back\n"
        daemon.trilby("pod", "stop", "-t", "0", hello)
        assert process.wait(20) == 137
    finally:
        process.kill()
        process.communicate()


def test_logs_that_are_followed_end_with_the_container(daemon: Commands, hello: str) -> None:
    process = subprocess.Popen(
        daemon.command("pod", "logs", "-f", hello, "-c", "web"),
        env=daemon.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() in (b"hello\n", b"trouble\n")
        daemon.trilby("pod", "stop", "-t", "1", hello)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def test_statistics(daemon: Commands, hello: str) -> None:
    rows = msgspec.json.decode(
        daemon.trilby("pod", "stats", "--no-stream", "--format", "json", hello).stdout
    )
    assert [row["name"] for row in rows][0] == hello
    assert {row["name"] for row in rows[1:]} == {"web", "cat"}
    assert rows[0]["memory"]["working_set"] > 0
    assert rows[0]["cpu"]["usage_nano_cores"] is not None
    assert rows[0]["interfaces"][0]["rx_bytes"] >= 0


def test_events(daemon: Commands) -> None:
    follower = subprocess.Popen(
        daemon.command("events", "-f", "--format", "json", "--filter", "pod=followed"),
        env=daemon.environment(),
        stdout=subprocess.PIPE,
    )
    assert follower.stdout is not None
    try:
        _until_followed(daemon, follower)
        begun = time.time()
        daemon.trilby("pod", "run", "-d", write_manifest(daemon.place, "followed"))
        daemon.trilby("pod", "rm", "-f", "-t", "3", "followed")
        lines: list[EventLine] = []
        while not lines or (lines[-1].type, lines[-1].container) != ("deleted", ""):
            lines.append(msgspec.json.decode(follower.stdout.readline(), type=EventLine))
    finally:
        follower.kill()
        follower.communicate()
    happened = [(line.type, line.container) for line in lines]
    for each in (
        ("created", ""), ("created", "init"), ("stopped", "init"), ("started", "web"),
        ("stopped", "web"), ("deleted", ""),
    ):  # fmt: skip
        assert each in happened
    (ended,) = [line for line in lines if (line.type, line.container) == ("stopped", "web")]
    assert (ended.state, ended.exit_code, ended.reason) == ("exited", 7, "Error")
    assert {line.pod for line in lines} == {"followed"}

    remembered = daemon.trilby("events", "--format", "json", "--filter", "pod=followed").stdout
    again = [msgspec.json.decode(line, type=EventLine) for line in remembered.splitlines()]
    assert [(line.type, line.container) for line in again][-len(happened) :] == happened
    late = daemon.trilby("events", "--since", f"{time.time() - begun + 5:.0f}s").stdout
    assert "followed" in late


def _until_followed(daemon: Commands, follower: subprocess.Popen[bytes]) -> None:
    """Wait until the command has its stream: make something happen until it says so."""
    assert follower.stdout is not None
    text = "{apiVersion: v1, kind: Pod, metadata: {name: followed, uid: UID}, spec: "
    text += "{restartPolicy: Never, containers: ["
    text += "{name: a, image: busybox, imagePullPolicy: Never, command: ['true']}]}}"
    for number in range(20):
        manifest = write_manifest(daemon.place, "probe", text.replace("UID", f"probe-{number}"))
        daemon.trilby("pod", "run", "-q", "--rm", manifest)
        readable, _, _ = select.select([follower.stdout], [], [], 0.5)
        if readable:
            while b'"deleted"' not in follower.stdout.readline():
                pass
            return
    raise AssertionError("the command follows nothing")


def test_a_trace(daemon: Commands, hello: str, tmp_path: Path) -> None:
    document = msgspec.json.decode(daemon.trilby("pod", "trace", hello, "--format", "json").stdout)
    stages = document["stages"]
    assert document["name"] == f"default/{hello}"
    names = {(stage["operation"], stage["name"], stage["subject"]) for stage in stages}
    for each in (
        ("run_sandbox", "run_sandbox", ""),
        ("run_sandbox", "network", ""),
        ("create_container", "create_container", "web"),
        ("create_container", "conmon and runtime create", "web"),
        ("create_container", "root file system", "cat"),
        ("start_container", "runtime start", "init"),
    ):
        assert each in names
    assert any(name.startswith("ADD ") for _, name, _ in names)
    # Parts are inside of their operation, and explain most of it.
    for whole in (stage for stage in stages if stage["depth"] == 0):
        inside = [
            stage
            for stage in stages
            if stage["depth"] == 1
            and (stage["operation"], stage["subject"]) == (whole["operation"], whole["subject"])
        ]
        assert all(whole["begin"] <= each["begin"] <= whole["end"] for each in inside)
    table = daemon.trilby("pod", "trace", hello).stdout
    assert "create container: web" in table and "█" in table
    daemon.trilby("pod", "trace", hello, "-o", str(tmp_path / "x.html"))
    assert (tmp_path / "x.html").read_text().startswith("<!DOCTYPE html>")
    daemon.trilby("pod", "trace", hello, "-o", str(tmp_path / "x.json"))
    assert msgspec.json.decode((tmp_path / "x.json").read_bytes())["traceEvents"]

    daemon.trilby("pod", "rm", "-f", "-t", "0", hello)
    gone = daemon.trilby("pod", "trace", hello).stdout
    assert "remove sandbox" in gone, "also when it is removed"
    unknown = daemon.trilby("pod", "trace", "nobody", check=False)
    assert unknown.returncode == 3


def test_images(daemon: Commands) -> None:
    (image,) = msgspec.json.decode(daemon.trilby("image", "list", "--format", "json").stdout)
    assert image["Names"] == ["docker.io/library/busybox:latest"]
    (here,) = msgspec.json.decode(
        daemon.trilby("image", "list", "--format", "json", host=False).stdout
    )
    assert (image["Id"], image["Size"]) == (here["Id"], here["Size"])
    (inspected,) = msgspec.json.decode(daemon.trilby("image", "inspect", "busybox").stdout)
    assert inspected["Id"] == image["Id"]
    assert inspected["Info"]["imageSpec"]["architecture"]
    daemon.trilby("image", "tag", "busybox", "localhost/other:1", "localhost/another:1", host=False)
    refused = daemon.trilby("image", "remove", "localhost/other:1", check=False)
    assert refused.returncode == 9 and "--force" in refused.stderr
    assert daemon.trilby("image", "remove", "-i", "localhost/none:1").stdout == ""
    daemon.trilby(
        "image", "untag", "busybox", "localhost/other:1", "localhost/another:1", host=False
    )
    missing = daemon.trilby("image", "inspect", "localhost/none:1", check=False)
    assert missing.returncode == 3


def test_what_a_daemon_cannot_be_told(daemon: Commands) -> None:
    for argv in (
        ("image", "pull", "--tls-verify=false", "localhost/x:1"),
        ("image", "pull", "--platform", "linux/arm64", "localhost/x:1"),
        ("image", "inspect", "--raw", "busybox"),
    ):
        done = daemon.trilby(*argv, check=False)
        assert done.returncode == 2, argv
        assert "--host" in done.stderr or "daemon" in done.stderr


def test_a_pull_that_fails_says_why(daemon: Commands) -> None:
    done = daemon.trilby("image", "pull", "127.0.0.1:1/x:1", check=False)
    assert done.returncode == 5
    assert "127.0.0.1:1" in done.stderr


def test_a_daemon_that_dies_meanwhile(daemon: Commands) -> None:
    text = """
        apiVersion: v1
        kind: Pod
        metadata: {name: NAME}
        spec:
          restartPolicy: Never
          containers:
          - name: main
            image: busybox
            imagePullPolicy: Never
            command: [sh, -c, "echo begun; until test -e /v/go; do sleep 0.05; done; exit 4"]
            volumeMounts: [{name: v, mountPath: /v}]
          volumes:
          - {name: v, hostPath: {path: FOLDER}}
        """
    folder = daemon.place.root / "go"
    folder.mkdir()
    manifest = write_manifest(daemon.place, "survivor", text.replace("FOLDER", str(folder)))
    process = subprocess.Popen(
        daemon.command("pod", "run", "--rm", manifest),
        env=daemon.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert "begun" in process.stdout.readline()
        daemon.daemon.kill()
        (folder / "go").touch()
        asyncio.run(daemon.daemon.start())
        _, said = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "container main: exited with 4" in said
    finally:
        process.kill()
        process.communicate()
    assert "survivor" not in daemon.trilby("pod", "ps").stdout

"""State files, names, journals and locks on disk."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trilby.pods.errors import ContainerNotFound, PodBusy, SandboxNotFound, StateCorrupt
from trilby.pods.journal import (
    AnyStep,
    Attachment,
    Cgroup,
    Home,
    Journal,
    Name,
    Pin,
    Processes,
    by_rank,
)
from trilby.pods.model_container import ContainerConfig, ImageSpec
from trilby.pods.model_sandbox import SandboxConfig
from trilby.pods.model_status import ContainerState, SandboxState
from trilby.pods.state import (
    CREATED,
    CREATING,
    FAILED,
    READY,
    RUNNING,
    STOPPED,
    ContainerLive,
    ContainerRecord,
    Layout,
    SandboxLive,
    SandboxRecord,
    is_id,
    new_id,
)
from trilby.pods.state_locks import locked, take_lock, try_lock
from trilby.pods.state_process import descendants, is_alive, open_alive, start_time
from trilby.pods.state_status import Inventory


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(str(tmp_path / "root"), str(tmp_path / "run"))
    layout.make()
    return layout


def add_sandbox(layout: Layout, live: SandboxLive | None, created_at: int = 1) -> str:
    sandbox_id = new_id()
    os.mkdir(layout.sandbox_dir(sandbox_id))
    record = SandboxRecord(
        id=sandbox_id, full_name="k8s_p", config=SandboxConfig(name="p", uid="u"),
        created_at=created_at, handler="runc", hostname="h", cgroup="/x", own_cgroup=True,
        log_directory="/l",
    )  # fmt: skip
    layout.save_sandbox(record)
    if live:
        os.mkdir(layout.sandbox_run(sandbox_id))
        layout.save_sandbox_live(sandbox_id, live)
    return sandbox_id


def add_container(layout: Layout, sandbox_id: str, live: ContainerLive | None) -> str:
    container_id = new_id()
    os.mkdir(layout.container_dir(sandbox_id, container_id))
    config = ContainerConfig(name="c", image=ImageSpec(image="i"))
    layout.save_container(
        ContainerRecord(
            id=container_id,
            sandbox_id=sandbox_id,
            full_name="k8s_c",
            config=config,
            created_at=1,
            handler="runc",
            log_path="/l",
            cgroup="/x",
        )  # fmt: skip
    )
    if live:
        os.mkdir(layout.bundle(container_id))
        layout.save_container_live(container_id, live)
    return container_id


def test_ids_are_64_lower_case_hex_digits_and_nothing_else() -> None:
    whole = new_id()
    assert is_id(whole)
    for other in ("", whole[1:], whole + "0", "g" + whole[1:], "A" + whole[1:], "٠" + whole[1:]):
        assert not is_id(other)
    assert not is_id(whole + "\n") and not is_id(whole[1:] + "\n")


def test_sandboxes_are_found_by_prefix_and_state(layout: Layout) -> None:
    ready = add_sandbox(layout, SandboxLive(phase=READY, ips=("10.0.0.2",)), 1)
    rebooted = add_sandbox(layout, None, 2)
    making = add_sandbox(layout, SandboxLive(phase=CREATING), 3)
    inventory = Inventory(layout)
    assert [status.id for status in inventory.sandboxes()] == [rebooted, ready]
    assert inventory.sandbox(ready[:20]).state is SandboxState.READY
    assert inventory.sandbox(rebooted).reason == "HostRestarted"
    for missing in (making, "", "0" * 64, ready + "x"):
        with pytest.raises(SandboxNotFound):
            inventory.sandbox(missing)
    layout.hide_sandbox(ready)
    layout.hide_sandbox(ready)
    with pytest.raises(SandboxNotFound):
        inventory.sandbox(ready)
    assert layout.load_removed_sandbox(ready) is not None


def test_an_infra_process_that_is_gone_makes_a_sandbox_not_ready(layout: Layout) -> None:
    me = os.getpid()
    alive = SandboxLive(phase=READY, infra_pid=me, infra_start=start_time(me))
    dead = SandboxLive(phase=READY, infra_pid=me, infra_start=1)
    inventory = Inventory(layout)
    assert inventory.sandbox(add_sandbox(layout, alive)).state is SandboxState.READY
    found = inventory.sandbox(add_sandbox(layout, dead))
    assert (found.state, found.reason) == (SandboxState.NOTREADY, "InfraExited")


def test_a_stopped_sandbox_has_no_infra_process_and_needs_no_reason(layout: Layout) -> None:
    stopped = SandboxLive(phase=STOPPED, infra_pid=os.getpid(), infra_start=1)
    found = Inventory(layout).sandbox(add_sandbox(layout, stopped))
    assert (found.state, found.pid, found.reason) == (SandboxState.NOTREADY, 0, "")


def test_states_of_containers(layout: Layout) -> None:
    sandbox = add_sandbox(layout, SandboxLive(phase=READY))
    pid, start = os.getpid(), start_time(os.getpid())
    inventory = Inventory(layout)

    def state(live: ContainerLive | None) -> tuple[ContainerState, int | None, str]:
        status = inventory.container(add_container(layout, sandbox, live))
        return status.state, status.exit_code, status.reason

    assert (
        state(ContainerLive(phase=CREATED, pid=pid, pid_start=start))[0] is ContainerState.CREATED
    )
    assert (
        state(ContainerLive(phase=RUNNING, pid=pid, pid_start=start))[0] is ContainerState.RUNNING
    )
    assert state(ContainerLive(phase=RUNNING, pid=1, pid_start=3)) == (
        ContainerState.EXITED, 255, "Unknown",
    )  # fmt: skip
    assert state(None) == (ContainerState.EXITED, 255, "Unknown")
    assert state(ContainerLive(phase=FAILED, exit_code=128)) == (
        ContainerState.EXITED, 128, "StartError",
    )  # fmt: skip
    with pytest.raises(ContainerNotFound):
        state(ContainerLive(phase=CREATING))


def test_exit_files_decide(layout: Layout) -> None:
    sandbox = add_sandbox(layout, SandboxLive(phase=READY))
    pid = os.getpid()
    live = ContainerLive(phase=RUNNING, pid=pid, pid_start=start_time(pid))
    container = add_container(layout, sandbox, live)
    inventory = Inventory(layout)
    Path(layout.exit_file(container)).write_text("0")
    os.utime(layout.exit_file(container), ns=(5, 5))
    status = inventory.container(container)
    assert (status.exit_code, status.reason, status.finished_at, status.pid) == (
        0,
        "Completed",
        5,
        0,
    )
    Path(layout.exit_file(container)).write_text("137")
    assert inventory.container(container).reason == "Error"
    Path(layout.container_dir(sandbox, container), "oom").touch()
    assert inventory.container(container).reason == "OOMKilled"
    # After a restart of the host conmon's other copy is left.
    os.rename(layout.exit_file(container), f"{layout.container_dir(sandbox, container)}/exit")
    assert inventory.container(container).exit_code == 137


def test_a_damaged_state_file_says_which(layout: Layout) -> None:
    sandbox = add_sandbox(layout, SandboxLive(phase=READY))
    path = f"{layout.sandbox_dir(sandbox)}/sandbox.json"
    Path(path).write_text('{"id": 3')
    with pytest.raises(StateCorrupt, match="sandbox.json"):
        layout.load_sandbox(sandbox)
    assert Inventory(layout).sandboxes() == []


def test_the_journal_survives_a_torn_line(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    assert journal.read() == []
    steps: list[AnyStep] = [
        Name("/n", "1"), Home("/h"), Cgroup("/c"), Pin("/p"), Attachment("s"),
        Processes("c", "runc", "/c"),
    ]  # fmt: skip
    journal.write(steps[:4])
    journal.write(steps[4:])
    with open(journal.path, "ab") as file:
        file.write(b'{"made": "pin", "pa')
    assert journal.read() == steps
    assert [[type(step).__name__ for step in group] for group in by_rank(steps)] == [
        ["Processes"], ["Attachment"], ["Pin", "Cgroup"], ["Name"], ["Home"],
    ]  # fmt: skip


async def test_locks_exclude_and_share(layout: Layout) -> None:
    path = layout.lock("a")
    async with locked(path, shared=True), locked(path, shared=True):
        assert try_lock(path) is None
        with pytest.raises(PodBusy):
            await take_lock(path, timeout=0.01)
        waiting = asyncio.create_task(take_lock(path))
        await asyncio.sleep(0.02)
        assert not waiting.done()
    held = await waiting
    held.unlink()
    # The file is gone: a second one is another lock, which is what a new thing of the name needs.
    other = try_lock(path)
    assert other is not None
    other.release()
    held.release()


def test_a_lock_is_released_by_death(layout: Layout) -> None:
    path = layout.lock("b")
    program = (
        "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.flock(f,fcntl.LOCK_EX);"
        "print('have', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout and child.stdout.readline() == b"have\n"
        assert try_lock(path) is None
        child.kill()
        child.wait()
    held = try_lock(path)
    assert held is not None
    held.release()


def test_processes_on_record() -> None:
    with subprocess.Popen(["sleep", "100"]) as child:
        start = start_time(child.pid)
        assert is_alive(child.pid, start) and not is_alive(child.pid, start + 1)
        assert child.pid in set(descendants(os.getpid()))
        assert open_alive(child.pid, start + 1) is None
        pidfd = open_alive(child.pid, start)
        assert pidfd is not None
        os.close(pidfd)
        child.kill()
    assert not is_alive(child.pid, start) and open_alive(child.pid, start) is None


def test_listing_imports_little() -> None:
    program = "import sys, trilby.pods.state_status as s; print(*sys.modules)"
    printed = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    heavy = {"asyncio", "subprocess", "logging", "aiohttp", "yaml", "tempfile", "dataclasses"}
    assert not heavy & set(printed)


def test_a_container_that_was_found_before_is_found_while_it_is_there(layout: Layout) -> None:
    sandboxes = [add_sandbox(layout, SandboxLive(phase=READY)) for _ in range(3)]
    container = new_id()
    os.mkdir(layout.container_dir(sandboxes[1], container))
    other = Layout(layout.root, layout.run_root)
    for _ in range(2):
        assert layout.find_container(container) == (sandboxes[1], container)
    # Another process removes it.
    os.rmdir(other.container_dir(sandboxes[1], container))
    with pytest.raises(ContainerNotFound):
        layout.find_container(container)

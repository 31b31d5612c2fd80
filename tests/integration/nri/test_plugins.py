"""Plugins of NRI's own Go module, on a real daemon: what they are told, and what they change."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from tests.support.daemon import IMAGE, DaemonProcess, own_daemon
from tests.support.kubernetes import program
from tests.support.nri import plugin
from tests.support.nri_peer import Peer, peer_at
from tests.support.pods import Place

from trilby.cri.nri import mux
from trilby.cri.nri.proto import plugin_pb2 as pb
from trilby.cri.proto import common_pb2, container_pb2, sandbox_pb2, stats_pb2
from trilby.errors import TrilbyError

pytestmark = pytest.mark.timeout(300)  # the Go program may have to be built

POD = ["RunPodSandbox", "StopPodSandbox", "RemovePodSandbox"]
CONTAINER = [
    "CreateContainer",
    "PostCreateContainer",
    "StartContainer",
    "PostStartContainer",
    "StopContainer",
    "RemoveContainer",
]


async def stop(daemon: DaemonProcess, container: str) -> None:
    request = container_pb2.StopContainerRequest(container_id=container, timeout=0)
    await daemon.call(request, container_pb2.StopContainerResponse)


async def remove(daemon: DaemonProcess, container: str) -> None:
    request = container_pb2.RemoveContainerRequest(container_id=container)
    await daemon.call(request, container_pb2.RemoveContainerResponse)


async def update(daemon: DaemonProcess, container: str, **limits: object) -> None:
    resources = common_pb2.LinuxContainerResources(**limits)  # type: ignore[arg-type]
    request = container_pb2.UpdateContainerResourcesRequest(container_id=container, linux=resources)
    await daemon.call(request, container_pb2.UpdateContainerResourcesResponse)


async def shares(daemon: DaemonProcess, container: str) -> int:
    return (await daemon.status(container)).resources.linux.cpu_shares


def cpu(number: int) -> dict[str, object]:
    return {"cpu": {"shares": {"value": str(number)}}}


async def test_a_life_is_told_in_order(trilbyd: DaemonProcess, nri: str) -> None:
    async with plugin(nri) as told:
        configured = await told.expect("Configure")
        assert configured["more"]["runtime"] == "trilby"
        assert configured["more"]["nri"] == "v0.12.3"
        assert (configured["more"]["registration"], configured["more"]["request"]) == (5000, 500)
        sandbox = await trilbyd.run_pod("pod", labels={"a": "b"}, annotations={"c": "d"})
        container = await trilbyd.run(
            sandbox, "main", envs=[common_pb2.KeyValue(key="E", value=b"f")]
        )
        await update(trilbyd, container, cpu_shares=512)
        await stop(trilbyd, container)
        await stop(trilbyd, container)
        await remove(trilbyd, container)
        await trilbyd.remove_pod(sandbox)
        await trilbyd.remove_pod(sandbox)
        await told.expect("RemovePodSandbox")
        updates = ["UpdateContainer", "PostUpdateContainer"]
        expected = [*CONTAINER[:4], *updates, *CONTAINER[4:]]
        assert told.names(container) == expected
        assert [said["event"] for said in told.events if "pod" in said] == [
            POD[0], *expected, *POD[1:]
        ]  # fmt: skip
        assert not any(said["unknown"] for said in told.events)
        (ran, created, post), stopped = told.events[2:5], told.events[-4]
    pod = ran["pod"]
    assert (pod["id"], pod["name"], pod["uid"], pod["namespace"]) == (
        sandbox, "pod", "uid-pod", "test"
    )  # fmt: skip
    assert (pod["labels"], pod["annotations"]) == ({"a": "b"}, {"c": "d"})
    assert len(pod["ips"]) == 1
    assert {one["type"] for one in pod["linux"]["namespaces"]} >= {"network", "ipc", "uts"}
    assert (created["container"]["name"], created["container"]["podSandboxId"]) == ("main", sandbox)
    assert created["container"]["args"] == ["sleep", "1000"]
    assert "E=f" in created["container"]["env"]
    assert created["container"]["image"]["name"] == IMAGE
    assert len(created["container"]["image"]["configDigest"]) == 71
    assert "state" not in created["container"]  # it is nothing yet
    assert post["container"]["state"] == "CONTAINER_CREATED" and post["container"]["pid"]
    assert stopped["event"] == "StopContainer"
    assert stopped["container"]["state"] == "CONTAINER_STOPPED"
    assert stopped["container"]["linux"]["resources"]["cpu"]["shares"]["value"] == "512"


async def test_adjustments_are_seen_inside_and_by_the_next_plugin(
    trilbyd: DaemonProcess, nri: str
) -> None:
    shared = trilbyd.place.root / "shared"
    shared.mkdir()
    (shared / "file").write_text("of the plugin")
    adjust = {
        "annotations": {"io.example/by": "plugin"},
        "env": [{"key": "BY", "value": "a plugin"}, {"key": "-GONE"}],
        "mounts": [
            {"destination": "/shared", "type": "bind", "source": str(shared),
             "options": ["rbind", "ro"]}
        ],
        "rlimits": [{"type": "RLIMIT_CORE", "hard": "4096", "soft": "4096"}],
        "args": ["sleep", "2000"],
        "linux": {
            "resources": cpu(700),
            "sysctl": {"kernel.msgmax": "10000"},
            "devices": [
                {"path": "/dev/null2", "type": "c", "major": "1", "minor": "3",
                 "fileMode": {"value": 0o666}}
            ],
        },
    }  # fmt: skip
    async with plugin(nri, "first", "10", adjust=adjust), plugin(nri, "second", "20") as second:
        sandbox = await trilbyd.run_pod()
        gone = [common_pb2.KeyValue(key="GONE", value=b"1")]
        container = await trilbyd.run(sandbox, "main", envs=gone)
        script = "cat /shared/file; echo; env; ulimit -c; cat /proc/sys/kernel/msgmax"
        code, out = await trilbyd.exec(container, "sh", "-c", script)
        assert code == 0
        lines = out.decode().split("\n")
        assert lines[0] == "of the plugin" and "BY=a plugin" in lines
        assert not any(line.startswith("GONE") for line in lines)
        assert lines[-3:] == ["8", "10000", ""]  # blocks of 512 bytes
        _, out = await trilbyd.exec(container, "sh", "-c", "cat /proc/*/cmdline")
        assert b"sleep\x002000\x00" in out
        code, _ = await trilbyd.exec(container, "sh", "-c", "echo x > /dev/null2")
        assert code == 0
        seen = (await second.expect("CreateContainer"))["container"]
        assert seen["annotations"]["io.example/by"] == "plugin"
        assert "BY=a plugin" in seen["env"] and seen["args"] == ["sleep", "2000"]
        assert "/shared" in [mount["destination"] for mount in seen["mounts"]]
        assert seen["linux"]["resources"]["cpu"]["shares"]["value"] == "700"
        assert await second.expect("PostStartContainer")


async def test_plugins_that_want_the_same_fail_the_creation(
    trilbyd: DaemonProcess, nri: str
) -> None:
    wanted = {"env": [{"key": "SAME", "value": "1"}]}
    sandbox = await trilbyd.run_pod()
    async with plugin(nri, "one", "10", adjust=wanted) as one:
        async with plugin(nri, "two", "20", adjust=wanted):
            with pytest.raises(TrilbyError, match="10-one and 20-two both change env SAME"):
                await trilbyd.create(sandbox)
            assert await trilbyd.containers() == []
            undone = await one.expect("RemoveContainer")
            assert one.names(undone["container"]["id"])[:3] == [
                "CreateContainer", "StopContainer", "RemoveContainer"
            ]  # fmt: skip
    async with plugin(nri, "one", "10", adjust=wanted):
        assert (await trilbyd.exec(await trilbyd.run(sandbox), "sh", "-c", "echo $SAME"))[
            1
        ] == b"1\n"


async def test_a_refused_pod_leaves_nothing(trilbyd: DaemonProcess, nri: str) -> None:
    async with plugin(nri, "first", "10") as first:
        async with plugin(nri, "second", "20", refuse={"RunPodSandbox": "not today"}):
            with pytest.raises(TrilbyError, match="20-second refused RunPodSandbox.*not today"):
                await trilbyd.run_pod()
            assert await trilbyd.sandboxes() == []
            await first.expect("RemovePodSandbox")
            assert first.names()[2:] == POD
        sandbox = await trilbyd.run_pod()
        assert [one.id for one in await trilbyd.sandboxes()] == [sandbox]


async def test_a_refused_container_and_start(trilbyd: DaemonProcess, nri: str) -> None:
    sandbox = await trilbyd.run_pod()
    async with plugin(nri, refuse={"CreateContainer": "never"}):
        with pytest.raises(TrilbyError, match="refused CreateContainer.*never"):
            await trilbyd.create(sandbox)
        assert await trilbyd.containers() == []
    async with plugin(nri, refuse={"StartContainer": "later"}):
        container = await trilbyd.create(sandbox)
        with pytest.raises(TrilbyError, match="refused StartContainer.*later"):
            await trilbyd.start_container(container)
        assert (await trilbyd.status(container)).state == container_pb2.CONTAINER_CREATED
    await trilbyd.start_container(container)


async def test_ends_cannot_be_refused(trilbyd: DaemonProcess, nri: str) -> None:
    names = (*POD[1:], "StopContainer", "RemoveContainer", "PostCreateContainer")
    async with plugin(nri, refuse=dict.fromkeys(names, "no")):
        sandbox = await trilbyd.run_pod()
        await trilbyd.run(sandbox)
        await trilbyd.remove_pod(sandbox)
        assert await trilbyd.sandboxes() == []


async def test_a_slow_plugin_is_let_go(trilbyd: DaemonProcess, nri: str) -> None:
    async with plugin(nri, "slow", "10", delay={"RunPodSandbox": 3000}) as slow:
        async with plugin(nri, "quick", "20") as quick:
            sandbox = await trilbyd.run_pod()
            await quick.expect("RunPodSandbox")
            await slow.expect("Closed")
            await trilbyd.run(sandbox)
            assert "CreateContainer" not in slow.names()


async def test_who_joins_is_told_what_there_is(trilbyd: DaemonProcess, nri: str) -> None:
    sandbox = await trilbyd.run_pod()
    running = await trilbyd.run(sandbox, "running")
    created = await trilbyd.create(sandbox, "created")
    ended = await trilbyd.run(sandbox, "ended")
    await stop(trilbyd, ended)
    async with plugin(nri, others={"running": cpu(300)}) as told:
        found = (await told.expect("Synchronize"))["more"]
        assert found["pods"] == [sandbox]
        assert sorted(found["containers"]) == sorted([running, created])
        new = await trilbyd.create(sandbox, "new")
        assert await shares(trilbyd, running) == 300
        await remove(trilbyd, ended)
        await remove(trilbyd, running)
        assert told.names(running) == ["StopContainer", "RemoveContainer"]
        assert told.names(ended) == []
        assert told.names(new) == ["CreateContainer", "PostCreateContainer"]


async def test_a_container_that_ends_by_itself(trilbyd: DaemonProcess, nri: str) -> None:
    async with plugin(nri) as told:
        sandbox = await trilbyd.run_pod()
        container = await trilbyd.run(sandbox, "main", "sh", "-c", "exit 3")
        ended = await told.expect("StopContainer")
        assert (ended["container"]["id"], ended["container"]["exitCode"]) == (container, 3)
        await stop(trilbyd, container)
        await trilbyd.remove_pod(sandbox)
        await told.expect("RemovePodSandbox")
        assert told.names(container) == CONTAINER
        assert told.names()[-3:] == ["StopPodSandbox", "RemoveContainer", "RemovePodSandbox"]


async def test_a_program_that_does_not_exist(trilbyd: DaemonProcess, nri: str) -> None:
    async with plugin(nri) as told:
        sandbox = await trilbyd.run_pod()
        container = await trilbyd.create(sandbox, "main", "/not/there")
        with pytest.raises(TrilbyError):
            await trilbyd.start_container(container)
        await told.expect("StopContainer")
        await remove(trilbyd, container)
        await told.expect("RemoveContainer")
        names = told.names(container)
        assert names[0] == "CreateContainer" and names[-2:] == CONTAINER[-2:]
        assert "PostStartContainer" not in names


async def test_limits_by_plugins(trilbyd: DaemonProcess, nri: str) -> None:
    sandbox = await trilbyd.run_pod()
    other = await trilbyd.run(sandbox, "other")
    async with plugin(nri, limits=cpu(333), others={"other": cpu(222)}) as told:
        container = await trilbyd.run(sandbox)
        assert await shares(trilbyd, other) == 222
        await update(trilbyd, container, cpu_shares=900, memory_limit_in_bytes=100 << 20)
        status = (await trilbyd.status(container)).resources.linux
        assert (status.cpu_shares, status.memory_limit_in_bytes) == (333, 100 << 20)
        after = (await told.expect("PostUpdateContainer"))["container"]["linux"]["resources"]
        assert after["cpu"]["shares"]["value"] == "333"
        told.order(other, cpu(444))
        assert (await told.expect("Updated"))["more"] == {"failed": 0, "error": ""}
        assert await shares(trilbyd, other) == 444
        told.order("f" * 64, cpu(1))
        await told.expect("Updated", lambda said: said is not told.events[-2])


async def test_limits_of_a_pod(trilbyd: DaemonProcess, nri: str) -> None:
    async with plugin(nri) as told:
        sandbox = await trilbyd.run_pod()
        request = sandbox_pb2.UpdatePodSandboxResourcesRequest(
            pod_sandbox_id=sandbox,
            resources=common_pb2.LinuxContainerResources(cpu_shares=77),
        )
        await trilbyd.call(request, sandbox_pb2.UpdatePodSandboxResourcesResponse)
        assert (await told.expect("UpdatePodSandbox"))["more"] == {"overhead": 0, "limits": 77}
        pod = (await told.expect("PostUpdatePodSandbox"))["pod"]
        assert pod["linux"]["podResources"]["cpu"]["shares"]["value"] == "77"


async def test_validation_rejects(trilbyd: DaemonProcess, nri: str) -> None:
    sandbox = await trilbyd.run_pod()
    adjust = {"annotations": {"a": "b"}}
    async with (
        plugin(nri, "adjusts", "10", adjust=adjust),
        plugin(nri, "validates", "90", reject="a is not allowed") as judge,
    ):
        with pytest.raises(TrilbyError, match="rejects the adjustments.*a is not allowed"):
            await trilbyd.create(sandbox)
        said = await judge.expect("ValidateContainerAdjustment")
        assert '"10-adjusts"' in json.dumps(said["more"])
        assert await trilbyd.containers() == []


@pytest.fixture
def installed(place: Place) -> Path:
    """A plugin in the daemon's directory, beside what is none."""
    log = place.root / "installed.log"
    for folder in ("nri.d", "nri-conf.d"):
        (place.root / folder).mkdir()
    shutil.copy(program("nriplugin"), place.root / "nri.d" / "05-installed")
    (place.root / "nri.d" / "README").write_text("not a plugin")
    (place.root / "nri.d" / "nonsense").write_text("#!/bin/sh\n")
    (place.root / "nri.d" / "nonsense").chmod(0o755)
    (place.root / "nri.d" / "06-fails").write_text("#!/bin/sh\nexit 1\n")
    (place.root / "nri.d" / "06-fails").chmod(0o755)
    config = {"log": str(log), "adjust": {"env": [{"key": "INSTALLED", "value": "yes"}]}}
    (place.root / "nri-conf.d" / "installed.conf").write_text(json.dumps(config))
    return log


async def test_an_installed_plugin(installed: Path, trilbyd: DaemonProcess) -> None:
    sandbox = await trilbyd.run_pod()
    container = await trilbyd.run(sandbox)
    assert (await trilbyd.exec(container, "sh", "-c", "echo $INSTALLED"))[1] == b"yes\n"
    await trilbyd.stop()
    events = [json.loads(line)["event"] for line in installed.read_text().splitlines()]
    assert events[:4] == ["Configure", "Synchronize", "RunPodSandbox", "CreateContainer"]
    assert "Shutdown" in events
    await trilbyd.start()
    events = [json.loads(line) for line in installed.read_text().splitlines()]
    (again,) = [one for one in events if one["event"] == "Synchronize"][1:]
    assert again["more"] == {"pods": [sandbox], "containers": [container]}


async def test_plugins_of_a_killed_daemon_can_join_the_next(
    trilbyd: DaemonProcess, nri: str
) -> None:
    async with plugin(nri) as told:
        sandbox = await trilbyd.run_pod()
        trilbyd.kill()
        await told.expect("Closed")
    await trilbyd.start()
    async with plugin(nri) as told:
        assert (await told.expect("Synchronize"))["more"]["pods"] == [sandbox]
        await trilbyd.run(sandbox)
        await told.expect("PostStartContainer")


async def test_a_container_in_another_cgroup(
    trilbyd: DaemonProcess, nri: str, place: Place
) -> None:
    path = f"{place.cgroup_parent}/elsewhere"
    async with plugin(nri, adjust={"linux": {"cgroupsPath": path}}):
        sandbox = await trilbyd.run_pod()
        container = await trilbyd.run(sandbox)
        code, out = await trilbyd.exec(container, "cat", "/proc/self/cgroup")
        assert code == 0 and f":{path}".encode() in out
    request = stats_pb2.ContainerStatsRequest(container_id=container)
    stats = (await trilbyd.call(request, stats_pb2.ContainerStatsResponse)).stats
    assert stats.memory.usage_bytes.value > 0
    async with plugin(nri, adjust={"linux": {"cgroupsPath": "no path"}}):
        with pytest.raises(TrilbyError, match="no cgroup path: 'no path'"):
            await trilbyd.create(sandbox, "other")


async def test_nothing_is_lost_while_plugins_join(trilbyd: DaemonProcess, nri: str) -> None:
    sandbox = await trilbyd.run_pod()

    async def make(number: int) -> str:
        return await trilbyd.create(sandbox, f"c{number}")

    async with plugin(nri, "first", "10"):
        making = [asyncio.ensure_future(make(number)) for number in range(4)]
        async with plugin(nri, "late", "20", delay={"Synchronize": 300}, joined=False) as late:
            await late.expect("Synchronize")
            making += [asyncio.ensure_future(make(number)) for number in range(4, 8)]
            containers = await asyncio.gather(*making)
            known = (await late.expect("Synchronize"))["more"]["containers"]
            told = [
                said["container"]["id"]
                for said in late.events
                if said["event"] == "CreateContainer"
            ]
            assert sorted([*known, *told]) == sorted(containers)
            assert len(told) >= 4


async def evict(peer: Peer, other: str) -> None:
    """A plugin that wants another container's end when one is created."""
    create, stop = 1 << (pb.CREATE_CONTAINER - 1), 1 << (pb.STOP_CONTAINER - 1)
    await peer.register(events=create | stop)
    number, _, _ = await peer.request(pb.SynchronizeRequest)
    peer.reply(number, pb.SynchronizeResponse())
    number, _, _ = await peer.request(pb.CreateContainerRequest)
    answer = pb.CreateContainerResponse()
    answer.evict.add(container_id=other, reason="the new one is better")
    peer.reply(number, answer)
    number, _, request = await peer.request(pb.StopContainerRequest)
    assert request.container.id == other
    peer.reply(number, pb.StopContainerResponse())


async def test_a_container_is_evicted(trilbyd: DaemonProcess, nri: str) -> None:
    sandbox = await trilbyd.run_pod()
    other = await trilbyd.run(sandbox, "other")
    async with peer_at(nri) as peer:
        evicting = asyncio.ensure_future(evict(peer, other))
        # Its creation waits until the plugin has joined, or comes before: then there is another.
        for number in range(100):
            await trilbyd.create(sandbox, f"c{number}")
            if evicting.done():
                break
        await asyncio.wait_for(evicting, 20)
    status = await trilbyd.status(other)
    assert (status.state, status.exit_code) == (container_pb2.CONTAINER_EXITED, 137)


@pytest.mark.parametrize(
    "data", [b"\xff" * 64, mux.frames(2, b"\0\0\0\1\0\0\0\1\1\0x")], ids=["no frame", "no call"]
)
async def test_what_is_no_plugin_harms_nobody(
    trilbyd: DaemonProcess, nri: str, data: bytes
) -> None:
    async with peer_at(nri) as stranger, plugin(nri) as told:
        stranger.writer.write(data)
        assert await stranger.ended()
        await trilbyd.run(await trilbyd.run_pod())
        await told.expect("PostStartContainer")


async def test_a_plugin_that_has_to_be_there(
    place: Place, nothing_left_behind: None, nri: str
) -> None:
    rules = (
        "[trilby.nri.default_validator]\nnri_enable_default_validator = true\n"
        'nri_validator_required_plugins = ["needed"]\n'
        "nri_validator_reject_oci_hook_adjustment = true\n"
    )
    async with own_daemon(place, rules) as trilbyd:
        sandbox = await trilbyd.run_pod()
        with pytest.raises(TrilbyError, match="have to be there are not: needed"):
            await trilbyd.create(sandbox)
        async with plugin(nri, "needed"):
            await trilbyd.run(sandbox)
            hooks = {"hooks": {"prestart": [{"path": "/bin/true"}]}}
            async with plugin(nri, "hooks", "20", adjust=hooks):
                with pytest.raises(TrilbyError, match="OCI hooks .* not allowed here: 20-hooks"):
                    await trilbyd.create(sandbox, "other")
        with pytest.raises(TrilbyError, match="have to be there are not: needed"):
            await trilbyd.create(sandbox, "other")


@pytest.mark.parametrize("event", ["RunPodSandbox", "CreateContainer"])
async def test_a_daemon_that_is_killed_while_plugins_are_told(
    trilbyd: DaemonProcess, nri: str, event: str
) -> None:
    async with plugin(nri, delay={event: 400}) as told:
        sandbox = "" if event == "RunPodSandbox" else await trilbyd.run_pod()
        making = asyncio.ensure_future(trilbyd.create(sandbox) if sandbox else trilbyd.run_pod())
        await told.expect(event)
        trilbyd.kill()
        with pytest.raises(TrilbyError):
            await making
    await trilbyd.start()
    assert await trilbyd.containers() == []
    assert [one.id for one in await trilbyd.sandboxes()] == ([sandbox] if sandbox else [])
    await trilbyd.run(sandbox or await trilbyd.run_pod())


async def test_a_caller_that_gives_up_while_plugins_are_told(
    trilbyd: DaemonProcess, nri: str
) -> None:
    async with plugin(nri, delay={"CreateContainer": 300}) as told:
        sandbox = await trilbyd.run_pod()
        making = asyncio.ensure_future(trilbyd.create(sandbox))
        created = await told.expect("CreateContainer")
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)
        await told.expect("RemoveContainer")
        assert told.names(created["container"]["id"]) == [
            "CreateContainer", "StopContainer", "RemoveContainer"
        ]  # fmt: skip
        assert await trilbyd.containers() == []
        assert await trilbyd.create(sandbox)

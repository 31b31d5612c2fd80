"""Plugins as their connection's other end makes them: joining, events, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.nri_peer import Peer, peer_of

from trilby.cri.nri import ttrpc
from trilby.cri.nri.errors import HookFailed, RegistrationFailed
from trilby.cri.nri.launch import Installed, find
from trilby.cri.nri.plugin import CHUNK, Plugin, chunks
from trilby.cri.nri.proto import plugin_pb2 as pb
from trilby.cri.nri.proto import pod_pb2
from trilby.cri.nri.settings import Settings

SETTINGS = Settings(registration_timeout=0.3, request_timeout=0.2)
ALL = (1 << 14) - 1
RUN = 1 << (pb.RUN_POD_SANDBOX - 1)


async def no_updates(_: Plugin, request: pb.UpdateContainersRequest) -> pb.UpdateContainersResponse:
    return pb.UpdateContainersResponse(failed=request.update)


@contextlib.asynccontextmanager
async def made(settings: Settings = SETTINGS, **given: str) -> AsyncIterator[tuple[Plugin, Peer]]:
    plugin = Plugin(settings, no_updates, **given)
    async with peer_of(plugin.connection) as peer:
        yield plugin, peer


@contextlib.asynccontextmanager
async def joined(events: int = ALL) -> AsyncIterator[tuple[Plugin, Peer]]:
    async with made() as (plugin, peer):
        await asyncio.gather(plugin.join(), peer.register(events=events))
        yield plugin, peer


async def test_a_plugin_says_who_it_is() -> None:
    async with made() as (plugin, peer):
        await asyncio.gather(plugin.join(), peer.register("policy", "42", RUN))
        assert plugin.name == "42-policy"
        assert plugin.wants(pb.RUN_POD_SANDBOX) and not plugin.wants(pb.CREATE_CONTAINER)


async def test_one_that_was_started_is_who_its_file_says() -> None:
    async with made(index="05", base="file", config="c") as (plugin, peer):
        await asyncio.gather(plugin.join(), peer.register("other", "99"))
        assert plugin.name == "05-file"
        # No events means all, but for the validation.
        assert plugin.wants(pb.CREATE_CONTAINER)
        assert not plugin.wants(pb.VALIDATE_CONTAINER_ADJUSTMENT)


@pytest.mark.parametrize(
    ("name", "index"),
    [("", "10"), ("a b", "10"), ("a/b", "10"), ("a", "1"), ("a", "1x"), ("a", "")],
)
async def test_names_that_are_refused(name: str, index: str) -> None:
    async with made() as (plugin, peer):
        joining = asyncio.ensure_future(plugin.join())
        with pytest.raises(AssertionError, match="NRI plugin"):
            await peer.register(name, index)
        with pytest.raises(RegistrationFailed, match="did not register within 0.3 s"):
            await joining


async def test_a_plugin_that_leaves_before_it_registers() -> None:
    async with made() as (plugin, peer):
        joining = asyncio.ensure_future(plugin.join())
        await asyncio.sleep(0)
        peer.writer.close()
        with pytest.raises(RegistrationFailed, match="left"):
            await joining


async def test_registering_twice_is_refused() -> None:
    async with joined() as (_, peer):
        request = pb.RegisterPluginRequest(plugin_name="other", plugin_idx="11")
        peer.call(3, "RegisterPlugin", request.SerializeToString())
        assert (await peer.response())[1].status.code == ttrpc.INVALID_ARGUMENT


@pytest.mark.parametrize("events", [1 << 14, -1])
async def test_events_that_do_not_exist(events: int) -> None:
    async with made() as (plugin, peer):
        with pytest.raises(RegistrationFailed, match="unknown events"):
            await asyncio.gather(plugin.join(), peer.register(events=events))


async def test_a_plugin_that_cannot_be_configured() -> None:
    async with made() as (plugin, peer):
        joining = asyncio.ensure_future(plugin.join())
        request = pb.RegisterPluginRequest(plugin_name="a", plugin_idx="11")
        peer.call(1, "RegisterPlugin", request.SerializeToString())
        await peer.response()
        number, _, configure = await peer.request(pb.ConfigureRequest)
        assert (configure.registration_timeout, configure.request_timeout) == (300, 200)
        peer.answer(number, code=ttrpc.UNKNOWN, text="bad config")
        with pytest.raises(RegistrationFailed, match="bad config"):
            await joining


async def test_updates_before_the_configuration_are_refused() -> None:
    async with made() as (_, peer):
        peer.call(1, "UpdateContainers")
        assert (await peer.response())[1].status.code == ttrpc.INVALID_ARGUMENT


async def test_updates_that_nobody_asked_for() -> None:
    async with joined() as (_, peer):
        request = pb.UpdateContainersRequest()
        request.update.add(container_id="c")
        peer.call(3, "UpdateContainers", request.SerializeToString())
        response = (await peer.response())[1]
        failed = pb.UpdateContainersResponse.FromString(response.payload).failed
        assert [one.container_id for one in failed] == ["c"]


def request_of(name: str = "pod") -> pb.RunPodSandboxRequest:
    return pb.RunPodSandboxRequest(pod=pod_pb2.PodSandbox(name=name))


async def test_only_what_is_subscribed_to_is_told() -> None:
    async with joined(RUN) as (plugin, _):
        stop = pb.StopPodSandboxRequest()
        assert await plugin.tell(pb.STOP_POD_SANDBOX, stop, pb.StopPodSandboxResponse) is None


async def test_a_refusal_is_the_caller_s() -> None:
    async with joined() as (plugin, peer):
        telling = asyncio.ensure_future(
            plugin.tell(pb.RUN_POD_SANDBOX, request_of(), pb.RunPodSandboxResponse)
        )
        number, method, request = await peer.request(pb.RunPodSandboxRequest)
        assert (method, request.pod.name) == ("RunPodSandbox", "pod")
        peer.answer(number, code=ttrpc.UNKNOWN, text="not now")
        with pytest.raises(HookFailed, match="10-peer refused RunPodSandbox: not now"):
            await telling
        assert not plugin.connection.closed.is_set()


@pytest.mark.parametrize("said", [None, b"\xff\xff\xff"], ids=["nothing", "nonsense"])
async def test_no_answer_lets_the_plugin_go(said: bytes | None) -> None:
    async with joined() as (plugin, peer):
        telling = asyncio.ensure_future(
            plugin.tell(pb.RUN_POD_SANDBOX, request_of(), pb.RunPodSandboxResponse)
        )
        number, _, _ = await peer.request(pb.RunPodSandboxRequest)
        if said is not None:
            peer.answer(number, said)
        assert await telling is None
        assert plugin.connection.closed.is_set()
        again = await plugin.tell(pb.RUN_POD_SANDBOX, request_of(), pb.RunPodSandboxResponse)
        assert again is None


async def test_older_plugins_are_told_state_changes() -> None:
    async with joined() as (plugin, peer):

        async def answer() -> list[str]:
            methods = []
            for _ in range(3):
                number, method, request = await peer.request(pb.StateChangeEvent)
                methods.append(method)
                if method == "StateChange":
                    assert request.event == pb.RUN_POD_SANDBOX
                    assert request.pod.name == "pod"
                    peer.reply(number, pb.Empty())
                else:
                    peer.answer(number, code=ttrpc.UNIMPLEMENTED, text="no such method")
            return methods

        answering = asyncio.ensure_future(answer())
        for _ in range(2):
            told = await plugin.tell(pb.RUN_POD_SANDBOX, request_of(), pb.RunPodSandboxResponse)
            assert told == pb.RunPodSandboxResponse()
        assert await answering == ["RunPodSandbox", "StateChange", "StateChange"]


async def test_creating_is_no_state_change() -> None:
    async with joined() as (plugin, peer):
        request = pb.CreateContainerRequest()
        telling = asyncio.ensure_future(
            plugin.tell(pb.CREATE_CONTAINER, request, pb.CreateContainerResponse)
        )
        number, _, _ = await peer.request(pb.CreateContainerRequest)
        peer.answer(number, code=ttrpc.UNIMPLEMENTED, text="no such method")
        with pytest.raises(HookFailed):
            await telling


def many_pods() -> list[pod_pb2.PodSandbox]:
    return [
        pod_pb2.PodSandbox(id=str(number), annotations={"long": "x" * 100_000})
        for number in range(80)
    ]


@pytest.mark.parametrize("able", [True, False])
async def test_much_state_comes_in_several_messages(able: bool) -> None:
    async with joined() as (plugin, peer):
        pods = many_pods()
        containers = [pod_pb2.Container(id="c")]
        joining = asyncio.ensure_future(plugin.synchronize(pods, containers))
        found: list[str] = []
        more = True
        while more:
            number, method, request = await peer.request(pb.SynchronizeRequest)
            assert method == "Synchronize"
            found += [pod.id for pod in request.pods]
            found += [container.id for container in request.containers]
            answer = pb.SynchronizeResponse(more=request.more and able)
            if not request.more:
                answer.update.add(container_id="c")
            more = request.more and able
            peer.reply(number, answer)
        if able:
            assert [one.container_id for one in await joining] == ["c"]
            assert found == [*map(str, range(80)), "c"]
        else:
            with pytest.raises(RegistrationFailed, match="several messages"):
                await joining


def test_chunks_fit_into_messages() -> None:
    requests = chunks(many_pods(), [])
    assert len(requests) == 3
    assert all(one.ByteSize() <= CHUNK + 1000 < ttrpc.LONGEST for one in requests)
    assert [one.more for one in requests] == [True, True, False]
    assert chunks([], []) == [pb.SynchronizeRequest()]


async def test_shutting_down_waits_a_little() -> None:
    async with joined() as (plugin, peer):
        ending = asyncio.ensure_future(plugin.shut_down(0.2))
        _, method, _ = await peer.request(pb.Empty)
        assert method == "Shutdown"
        await ending
        assert plugin.connection.closed.is_set()


def test_installed_plugins_are_found(tmp_path: Path) -> None:
    plugins, configs = tmp_path / "plugins", tmp_path / "conf.d"
    for folder in (plugins, configs, plugins / "03-folder"):
        folder.mkdir()
    for name, mode, data in (
        ("20-b", 0o755, b"#!"),
        ("10-a", 0o755, b"#!"),
        ("30-not-executable", 0o644, b"#!"),
        ("no-index", 0o755, b"#!"),
        ("40-wasm", 0o755, b"\0asm\1\0\0\0"),
    ):
        (plugins / name).write_bytes(data)
        (plugins / name).chmod(mode)
    (configs / "b.conf").write_text("for b")
    (configs / "10-a.conf").write_text("for 10-a")
    (configs / "a.conf").write_text("for any a")
    assert find(str(plugins), str(configs)) == [
        Installed(str(plugins / "10-a"), "10", "a", "for 10-a"),
        Installed(str(plugins / "20-b"), "20", "b", "for b"),
    ]
    assert find(str(tmp_path / "nothing"), str(configs)) == []

"""The order of plugin calls, with plugins that only write down what they were told."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from trilby.pods.model_sandbox import PortMapping
from trilby.pods.network.attachment import Attachment
from trilby.pods.network.cni import Cni
from trilby.pods.network.conflist import Conflist, parse_conflist
from trilby.pods.network.errors import NetworkNotReady, PluginFailed, PluginNotFound
from trilby.pods.network.service import NetworkSettings, PodNetwork
from trilby.system import process
from trilby.system.events import Inotify

# Each call leaves a file <number>-<plugin>-<command> with its stdin, and one with its environment.
PLUGIN = r"""#!/bin/sh
dir=$(dirname "$0"); name=$(basename "$0"); set -- "$dir"/calls/*.in
[ -e "$1" ] && n=$(printf %02d $#) || n=00
cat >"$dir/calls/$n-$name-$CNI_COMMAND.in"
env >"$dir/calls/$n-$name-$CNI_COMMAND.env"
if [ -e "$dir/fail-$name-$CNI_COMMAND" ]; then cat "$dir/fail-$name-$CNI_COMMAND"; exit 1; fi
case $CNI_COMMAND in
ADD) echo '{"cniVersion":"'$VERSION'","ips":[{"address":"10.9.0.5/24"}],"by":"'$name'"}' ;;
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}' ;;
esac
"""
POD = Attachment(
    sandbox_id="pod1",
    netns="/proc/self/ns/net",
    name="p",
    port_mappings=(PortMapping(container_port=80, host_port=8080),),
)


class Plugins:
    """A plugin directory with plugins ``one`` and ``two``, and a cache directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "plugins"
        (self.directory / "calls").mkdir(parents=True)
        self.cache = directory / "cache"
        self.cni = Cni([str(self.directory)], str(self.cache), owner="me")
        self.install("1.0.0")

    def install(self, version: str) -> None:
        for name in ("one", "two"):
            path = self.directory / name
            path.write_text(PLUGIN.replace("$VERSION", version))
            path.chmod(0o755)

    def network(self, version: str = "1.0.0", **more: object) -> Conflist:
        document = {
            "cniVersion": version,
            "name": "net",
            "plugins": [{"type": "one"}, {"type": "two", "capabilities": {"portMappings": True}}],
            **more,
        }
        return parse_conflist(json.dumps(document).encode(), "")

    def fail(self, name: str, command: str, printed: str = "") -> None:
        (self.directory / f"fail-{name}-{command}").write_text(printed)

    def heal(self) -> None:
        for path in self.directory.glob("fail-*"):
            path.unlink()

    def calls(self) -> list[str]:
        """``plugin-COMMAND`` of each call since the last time."""
        paths = sorted((self.directory / "calls").glob("*.in"))
        return [path.stem.split("-", 1)[1] for path in paths]

    def told(self, call: str) -> dict[str, object]:
        (path,) = (self.directory / "calls").glob(f"*-{call}.in")
        told: dict[str, object] = json.loads(path.read_text())
        return told

    def forget(self) -> None:
        for path in (self.directory / "calls").iterdir():
            path.unlink()


@pytest.fixture
def plugins(tmp_path: Path) -> Plugins:
    return Plugins(tmp_path)


async def test_add_and_delete(plugins: Plugins) -> None:
    network = plugins.network()
    result = await plugins.cni.add(network, POD)
    assert result.pod_ips() == ("10.9.0.5",)
    assert plugins.calls() == ["one-ADD", "two-ADD"]
    first, second = plugins.told("one-ADD"), plugins.told("two-ADD")
    assert first["name"] == "net" and first["cniVersion"] == "1.0.0"
    assert "prevResult" not in first and "runtimeConfig" not in first
    previous = second["prevResult"]
    assert isinstance(previous, dict) and previous["by"] == "one"
    assert second["runtimeConfig"] == {
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}]
    }
    (env_file,) = (plugins.directory / "calls").glob("*one-ADD.env")
    env = dict(line.partition("=")[::2] for line in env_file.read_text().splitlines())
    assert env["CNI_CONTAINERID"] == "pod1" and env["CNI_IFNAME"] == "eth0"
    assert "K8S_POD_NAME=p" in env["CNI_ARGS"] and env["CNI_PATH"] == str(plugins.directory)
    plugins.forget()
    # The cached list counts, not one that is there by now.
    await plugins.cni.delete(None, POD)
    assert plugins.calls() == ["two-DEL", "one-DEL"]
    previous = plugins.told("one-DEL")["prevResult"]
    assert isinstance(previous, dict) and previous["by"] == "two"
    assert not list((plugins.cache / "results").iterdir())


async def test_delete_is_idempotent_and_needs_no_namespace(plugins: Plugins) -> None:
    network = plugins.network()
    gone = Attachment(sandbox_id="x", netns="/nowhere")
    await plugins.cni.delete(network, gone)
    (env_file,) = (plugins.directory / "calls").glob("*one-DEL.env")
    assert "CNI_NETNS=\n" in env_file.read_text()
    await plugins.cni.delete(None, gone)


async def test_a_failed_add_is_undone_and_can_be_replayed(plugins: Plugins) -> None:
    plugins.fail("two", "ADD", '{"code": 7, "msg": "no", "details": "because"}')
    with pytest.raises(PluginFailed, match="no: because") as caught:
        await plugins.cni.add(plugins.network(), POD)
    assert caught.value.code == 7
    assert plugins.calls() == ["one-ADD", "two-ADD", "two-DEL", "one-DEL"]
    assert not list((plugins.cache / "results").iterdir())
    plugins.forget()
    command = caught.value.hint.partition(": ")[2]
    done = await process.arun(["sh", "-c", command], check=False)
    assert done.returncode == 1 and b'"msg": "no"' in done.stdout
    assert plugins.calls() == ["two-ADD"]


async def test_a_cancelled_add_is_undone(plugins: Plugins) -> None:
    slow = plugins.directory / "two"
    slow.write_text('#!/bin/sh\n[ "$CNI_COMMAND" = ADD ] && touch $0.started && exec sleep 60\n')
    with Inotify([plugins.directory]) as changes:
        adding = asyncio.create_task(plugins.cni.add(plugins.network(), POD))
        async for event in changes:
            if event.name == "two.started":
                break
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    assert plugins.calls()[-1] == "one-DEL"


async def test_a_failed_delete_runs_all_plugins_and_can_be_repeated(plugins: Plugins) -> None:
    await plugins.cni.add(plugins.network(), POD)
    plugins.forget()
    plugins.fail("two", "DEL", "not json")
    with pytest.raises(PluginFailed, match="not json"):
        await plugins.cni.delete(None, POD)
    assert plugins.calls() == ["two-DEL", "one-DEL"]
    plugins.heal()
    await plugins.cni.delete(None, POD)
    assert not list((plugins.cache / "results").iterdir())


async def test_check(plugins: Plugins) -> None:
    with pytest.raises(NetworkNotReady):
        await plugins.cni.check(POD)
    await plugins.cni.add(plugins.network(), POD)
    plugins.forget()
    await plugins.cni.check(POD)
    assert plugins.calls() == ["one-CHECK", "two-CHECK"]
    plugins.fail("two", "CHECK")
    with pytest.raises(PluginFailed, match="exit status 1"):
        await plugins.cni.check(POD)


async def test_versions_are_negotiated_only_when_there_is_a_choice(plugins: Plugins) -> None:
    network = plugins.network(cniVersions=["0.4.0", "1.0.0", "1.1.0"])
    await plugins.cni.add(network, POD)
    await plugins.cni.add(network, Attachment(sandbox_id="pod2", netns="/proc/self/ns/net"))
    assert plugins.calls().count("one-VERSION") == 1
    assert plugins.calls().count("one-ADD") == 2
    with pytest.raises(NetworkNotReady):
        await plugins.cni.version(plugins.network("1.1.0", cniVersions=["0.3.1"]))


async def test_status_and_garbage_where_the_version_has_them(plugins: Plugins) -> None:
    plugins.install("1.1.0")
    new, old = plugins.network("1.1.0"), plugins.network("1.0.0")
    await plugins.cni.status(old)
    assert plugins.calls() == []
    await plugins.cni.status(new)
    assert plugins.calls() == ["one-STATUS", "two-STATUS"]
    plugins.fail("one", "STATUS", '{"code": 50, "msg": "later"}')
    with pytest.raises(NetworkNotReady, match="later"):
        await plugins.cni.status(new)
    plugins.heal()
    for name in ("keep", "stale"):
        await plugins.cni.add(new, Attachment(sandbox_id=name, netns="/proc/self/ns/net"))
    stranger = Cni([str(plugins.directory)], str(plugins.cache), owner="podman")
    await stranger.add(new, Attachment(sandbox_id="theirs", netns="/proc/self/ns/net"))
    plugins.forget()
    assert await plugins.cni.collect_garbage(new, [("keep", "eth0")]) == []
    assert plugins.calls() == ["two-DEL", "one-DEL", "one-GC", "two-GC"]
    assert plugins.told("one-GC")["cni.dev/valid-attachments"] == [
        {"containerID": "keep", "ifname": "eth0"},
        {"containerID": "theirs", "ifname": "eth0"},
    ]
    assert sorted(os.listdir(plugins.cache / "results")) == ["net-keep-eth0", "net-theirs-eth0"]


async def test_a_missing_plugin(plugins: Plugins) -> None:
    (plugins.directory / "two").unlink()
    with pytest.raises(PluginNotFound, match=str(plugins.directory)):
        await plugins.cni.status(plugins.network())
    with pytest.raises(PluginNotFound):
        await plugins.cni.add(plugins.network(), POD)


async def test_the_configuration_is_followed(tmp_path: Path) -> None:
    directory = tmp_path / "not/there/yet"
    settings = NetworkSettings(config_dirs=(str(directory),), cache_dir=str(tmp_path / "cache"))
    network = PodNetwork(settings)
    await network.start()
    try:
        assert network.configuration().name == "trilby"
        directory.mkdir(parents=True)
        await until(network, "trilby")
        temporary = directory / ".new"
        temporary.write_text('{"cniVersion": "1.0.0", "name": "a", "type": "x"}')
        temporary.rename(directory / "10-a.conf")
        await until(network, "a")
        (directory / "10-a.conf").unlink()
        await until(network, "trilby")
        (tmp_path / "linked").write_text('{"cniVersion": "1.0.0", "name": "l", "type": "x"}')
        (directory / "10-l.conf").symlink_to(tmp_path / "linked")
        await until(network, "l")
        (directory / "10-l.conf").unlink()
        await until(network, "trilby")
        # A directory that is replaced, maybe by one with the same inode.
        for name in ("b", "c"):
            directory.rmdir()
            directory.mkdir()
            (directory / "x.conf").write_text(
                f'{{"cniVersion": "1.0.0", "name": "{name}", "type": "x"}}'
            )
            await until(network, name)
            (directory / "x.conf").unlink()
            await until(network, "trilby")
    finally:
        await network.close()


async def until(network: PodNetwork, name: str) -> None:
    while network.configuration().name != name:
        await network.wait_changed()


async def test_a_broken_file_is_not_replaced_by_the_builtin_network(tmp_path: Path) -> None:
    (tmp_path / "10-x.conflist").write_text("{")
    network = PodNetwork(NetworkSettings(config_dirs=(str(tmp_path),), cache_dir=str(tmp_path)))
    with pytest.raises(NetworkNotReady, match="10-x.conflist:1:"):
        network.configuration()
    named = NetworkSettings(config_dirs=(), default_network="other")
    with pytest.raises(NetworkNotReady, match="other"):
        PodNetwork(named).configuration()

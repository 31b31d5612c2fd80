"""The daemon as a process: systemd, signals, its configuration, and the pages on its socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import aiohttp
import pytest
from tests.support.daemon import DaemonProcess, own_daemon
from tests.support.pods import Place, store_rootfs

ROOT = Path(__file__).resolve().parents[3]


class NotifySocket:
    """What systemd's end of sd_notify(3) gets."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)

    async def until(self, line: str) -> list[str]:
        """All lines up to this one."""
        seen: list[str] = []
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(20):
            while line not in seen:
                seen += (await loop.sock_recv(self._socket, 4096)).decode().splitlines()
        return seen

    def fill(self) -> None:
        """Whoever sends from now on waits until somebody reads."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(self.path)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sender.send(b"X=1")

    def close(self) -> None:
        self._socket.close()


async def test_who_is_ready_obeys_a_reload(
    place: Place, nothing_left_behind: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd looks for a handler of SIGHUP when it is told, and ends a service without one."""
    told = NotifySocket(place.root / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", told.path)
    told.fill()
    try:
        async with own_daemon(place) as daemon:
            assert daemon.process is not None
            status = Path(f"/proc/{daemon.process.pid}/status").read_text()
            caught = int(status.partition("SigCgt:")[2].split()[0], 16)
            assert caught >> (signal.SIGHUP - 1) & 1
            await told.until("READY=1")
    finally:
        told.close()


async def test_systemd_is_told(
    place: Place, nothing_left_behind: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = NotifySocket(place.root / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", told.path)
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    try:
        async with own_daemon(place) as daemon:
            assert "READY=1" in await told.until("READY=1")
            await told.until("WATCHDOG=1")
            await told.until("WATCHDOG=1")
            assert daemon.process is not None
            daemon.process.send_signal(signal.SIGHUP)
            seen = await told.until("RELOADING=1")
            # Type=notify-reload wants to know since when.
            seen += await told.until("READY=1")
            assert any(line.startswith("MONOTONIC_USEC=") for line in seen)
            assert await daemon.stop() == 0
            await told.until("STOPPING=1")
    finally:
        told.close()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_the_unit_is_well_formed(tmp_path: Path) -> None:
    unit = tmp_path / "trilby.service"
    text = (ROOT / "src" / "systemd" / "trilby.service").read_text()
    version = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True)
    if int(version.stdout.split()[1]) < 253:
        text = text.replace("notify-reload", "notify")  # not known to Debian 12's
    unit.write_text(text.replace("/usr/bin/trilbyd", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True
    )
    about = [line for line in done.stderr.splitlines() if "trilby.service" in line]
    assert about == []


async def get(daemon: DaemonProcess, path: str, method: str = "GET") -> tuple[int, object]:
    connector = aiohttp.UnixConnector(daemon.socket)
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.request(method, f"http://crio{path}") as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith(("{", "[")) else text


async def test_pages_that_cadvisor_reads(trilbyd: DaemonProcess) -> None:
    """On the socket of the CRI: HTTP and gRPC beside each other."""
    status, info = await get(trilbyd, "/info")
    assert status == 200 and isinstance(info, dict)
    assert info["storage_driver"] == "overlay" and info["cgroup_driver"] == "cgroupfs"
    assert info["storage_root"] == str(trilbyd.place.root / "s")
    sandbox = await trilbyd.run_pod("seen", labels={"a": "b"})
    container = await trilbyd.run(sandbox, "main")
    status, found = await get(trilbyd, f"/containers/{container}")
    assert status == 200 and isinstance(found, dict)
    assert found["name"] == "main" and found["sandbox"] == sandbox
    assert Path(f"/proc/{found['pid']}").is_dir()
    assert (Path(found["root"]) / "bin" / "busybox").exists()
    assert found["ip_addresses"] and found["host_network"] is False
    status, found = await get(trilbyd, f"/containers/{sandbox}")
    assert status == 200 and isinstance(found, dict) and found["labels"] == {"a": "b"}
    assert (await get(trilbyd, "/containers/" + "0" * 64))[0] == 404
    assert await get(trilbyd, "/healthz") == (200, "ok\n")


async def test_reload_is_all_or_nothing(trilbyd: DaemonProcess) -> None:
    drop_in = trilbyd.place.root / "conf.d" / "10-test.conf"
    drop_in.write_text(
        '[trilby.image]\npinned_images = ["*busybox*"]\n[trilby.network]\nbridge_name = "other0"\n'
    )
    status, answer = await get(trilbyd, "/config/reload", "POST")
    assert status == 200 and isinstance(answer, dict)
    assert answer["applied"] == ["trilby.image.pinned_images"]
    assert answer["restart"] == ["trilby.network.bridge_name"]
    assert (await get(trilbyd, "/config"))[0] == 200
    from trilby.cri.proto import image_pb2

    images = await trilbyd.call(image_pb2.ListImagesRequest(), image_pb2.ListImagesResponse)
    assert [image.pinned for image in images.images] == [True]
    drop_in.write_text('[trilby.image]\npinned_images = []\n[trilby.runtime]\nlog_level = "loud"\n')
    status, answer = await get(trilbyd, "/config/reload", "POST")
    assert status == 400 and isinstance(answer, dict)
    assert f"{drop_in}:4:" in answer["error"] and "loud" in answer["error"]
    images = await trilbyd.call(image_pb2.ListImagesRequest(), image_pb2.ListImagesResponse)
    assert [image.pinned for image in images.images] == [True]
    drop_in.unlink()


async def test_logs_of_new_pods_go_where_a_reload_says(trilbyd: DaemonProcess) -> None:
    drop_in = trilbyd.place.root / "conf.d" / "10-logs.conf"
    drop_in.write_text(f'[trilby]\nlog_dir = "{trilbyd.place.root}/elsewhere"\n')
    status, answer = await get(trilbyd, "/config/reload", "POST")
    assert status == 200 and isinstance(answer, dict)
    assert answer["new_pods"] == ["trilby.log_dir"]
    sandbox = await trilbyd.run_pod("logs")
    container = await trilbyd.create(sandbox)
    path = (await trilbyd.status(container)).log_path
    assert path == f"{trilbyd.place.root}/elsewhere/test_logs_uid-logs/main.log"
    drop_in.unlink()


async def test_two_daemons_beside_each_other(trilbyd: DaemonProcess, tmp_path: Path) -> None:
    """Roots, sockets, bridges and cgroup parents of their own."""
    from tests.support.pods import own_place

    root = Path(f"{trilbyd.place.root}-b")
    root.mkdir(0o711)
    try:
        with own_place(root) as place:
            async with own_daemon(place) as other:
                pods = await asyncio.gather(trilbyd.run_pod("same"), other.run_pod("same"))
                assert pods[0] != pods[1]
                assert [item.id for item in await trilbyd.sandboxes()] == [pods[0]]
                assert [item.id for item in await other.sandboxes()] == [pods[1]]
    finally:
        shutil.rmtree(root)


def test_bad_configuration_is_told_with_its_place(place: Place, nothing_left_behind: None) -> None:
    store_rootfs(place).store.close()
    daemon = DaemonProcess(place, '[trilby.api]\nsocket_mode = "rw"\n')
    done = subprocess.run(daemon.argv, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    lines = daemon.config.read_text().splitlines()
    number = lines.index('socket_mode = "rw"') + 1
    where = f"{daemon.config}:{number}:"
    assert where in done.stderr
    assert not os.path.exists(daemon.socket)

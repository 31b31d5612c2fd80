"""A process killed at any step leaves a store that everybody uses without complaint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.store import Peers, add_image, docker_archive, layer_tar
from tests.support.store_crash import check_layers, tree

ROOT = Path(__file__).resolve().parents[3]
NAME = "localhost/thing:latest"


@pytest.mark.parametrize("scenario", ["add", "remove", "container"])
def test_killed_at_every_change_of_the_disk(peers: Peers, scenario: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.store_crash", str(peers.folder), scenario],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


def test_a_killed_podman(peers: Peers) -> None:
    data = [layer_tar({f"{number}": os.urandom(1000) for number in range(2000)})]
    archive = docker_archive(peers.folder / "archive.tar", NAME, data)
    command = ["podman", "--root", str(peers.graphroot), "--runroot", str(peers.runroot)]
    command += ["--storage-driver", "overlay", "--events-backend", "none"]
    records = peers.graphroot / "overlay-layers" / "layers.json"
    with subprocess.Popen(
        [*command, "load", "--input", str(archive)], stderr=subprocess.DEVNULL, text=True
    ) as loading:
        deadline = time.monotonic() + 30
        while not records.exists() or b"incomplete" not in records.read_bytes():
            assert time.monotonic() < deadline and loading.poll() is None
        loading.send_signal(signal.SIGKILL)
    with peers.open() as store:
        assert store.layers() == []
        assert len(store.recover().layers) == 1
        assert tree(peers.graphroot) == []
        add_image(store, NAME, data)
        check_layers(store)
        assert peers.podman("images", "--format", "{{.Repository}}:{{.Tag}}") == NAME


def test_a_killed_pull_of_large_layers(peers: Peers) -> None:
    """Killed while workers may be unpacking: what they still write does not stay."""
    script = (
        "import io, sys\n"
        "from pathlib import Path\n"
        "from tests.support.store import Peers, layer_tar\n"
        "data = layer_tar({str(n): bytes(20000) for n in range(2000)})\n"
        "store = Peers(Path(sys.argv[1])).open()\n"
        "staged = store.stage_layer()\n"
        "stream = io.BytesIO(data)\n"
        "def read(size):\n"
        "    if stream.tell() > len(data) // 2:\n"
        "        print('half', flush=True)\n"
        "        sys.stdin.read()\n"
        "    return stream.read(size)\n"
        "staged.apply(read)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(peers.folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as puller:
        assert puller.stdout is not None
        assert puller.stdout.readline() == "half\n"
        with peers.open() as store:
            # Alive: its lock is held.
            assert store.recover().staging == ()
            puller.kill()
            puller.wait()
            assert len(store.recover().staging) == 2
            assert tree(peers.graphroot) == []

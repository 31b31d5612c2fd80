"""Scenarios of Molecule: the roles make nodes of fresh hosts, with real packages and a kubelet.

`make molecule` runs the others as well. Ansible and Molecule are in a venv that `make test` makes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import standin

from trilby.system.mount_table import list_mounts

ROOT = Path(__file__).resolve().parents[3]
SCENARIOS = ("default", "registries")


@pytest.fixture(scope="module")
def hosts() -> Iterator[Path]:
    """A place for hosts, where nothing is left at the end: no process, mount, cgroup or file."""
    if standin.impossible():
        pytest.skip(standin.impossible())
    if not Path("/sys/fs/cgroup/memory").is_dir():
        pytest.skip("a host in namespaces needs the v1 hierarchies of cgroups")
    place = Path(f"/dev/shm/trilby-test-hosts-{os.urandom(3).hex()}")
    before = cgroups()
    try:
        yield place
    finally:
        command = [sys.executable, "-m", "tests.support.hosts", "clear"]
        subprocess.run(command, cwd=ROOT, env=environment(place), check=True)
    assert not place.exists()
    assert not list_mounts(under=str(place))
    assert not processes(place)
    assert not cgroups() - before


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "TRILBY_HOSTS": str(place), "NO_COLOR": "1"}


def processes(place: Path) -> list[str]:
    """Programs that work for the hosts of a place."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"TRILBY_HOSTS={place}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def cgroups() -> set[str]:
    """Those of hosts whose process, which is in the name, has ended."""
    top = Path("/sys/fs/cgroup/memory")
    found = [path for name in SCENARIOS for path in top.glob(f"**/trilby-{name}-[0-9]*")]
    alive = Path("/proc")
    return {str(path) for path in found if not (alive / path.name.rpartition("-")[2]).exists()}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, hosts: Path) -> None:
    log = ROOT / f"build/molecule-{scenario}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as out:
        done = subprocess.run(
            [ROOT / "scripts/molecule", scenario],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment(hosts),
        )
    text = log.read_text(errors="replace")
    assert done.returncode == 0, f"the end of {log}:\n" + "\n".join(text.splitlines()[-120:])
    assert f"molecule: {scenario} passed" in text

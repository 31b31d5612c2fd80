"""Processes that the launchers of hosts remember: nobody else's is ended by its number."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.hosts_place import alive, remember, wait_end


def test_a_process_is_known_as_long_as_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with subprocess.Popen(["sleep", "60"]) as process:
        remember(file, process.pid)
        assert alive(file) == process.pid
        process.kill()
        wait_end(process.pid)
        assert alive(file) == 0, "it only waits for its parent"
    assert alive(file) == 0


def test_another_process_of_that_number_is_not_it(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with subprocess.Popen(["sleep", "60"]) as process:
        remember(file, process.pid)
        pid, since = file.read_text().split()
        file.write_text(f"{pid} {int(since) - 1}\n")
        assert alive(file) == 0
        process.kill()


def test_a_file_that_says_nothing(tmp_path: Path) -> None:
    assert alive(tmp_path / "absent") == 0
    (tmp_path / "empty").touch()
    assert alive(tmp_path / "empty") == 0

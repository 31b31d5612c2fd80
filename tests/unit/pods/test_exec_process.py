"""What a command in a container inherits, and what it may change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trilby.pods.exec import last_error
from trilby.pods.exec_process import exec_process

OWN = {
    "user": {"uid": 1000, "gid": 1001, "additionalGids": [2000]},
    "args": ["server", "--serve"],
    "cwd": "/srv",
    "env": ["PATH=/bin"],
    "terminal": True,
    "consoleSize": {"height": 1, "width": 1},
    "capabilities": {"bounding": ["CAP_KILL"]},
    "noNewPrivileges": True,
    "apparmorProfile": "tight",
    "selinuxLabel": "u:r:t:s0",
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}],
    "oomScoreAdj": 500,
}


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    config = {"ociVersion": "1.0.2", "process": OWN, "linux": {"readonlyPaths": ["/proc"]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


def test_all_that_confines_the_container_confines_the_command(bundle: str) -> None:
    made = json.loads(exec_process(bundle, ["id", "-u"]))
    changed = {"args": ["id", "-u"]}
    dropped = {"terminal", "consoleSize"}
    kept = {key: value for key, value in OWN.items() if key not in dropped}
    assert made == kept | changed


def test_what_a_caller_may_ask_for(bundle: str) -> None:
    made = json.loads(
        exec_process(bundle, ["sh"], tty=True, user="7:8", working_dir="/tmp", env=["A=b"])
    )
    assert made["user"] == {"uid": 7, "gid": 8, "additionalGids": [2000]}
    assert (made["terminal"], made["cwd"]) == (True, "/tmp")
    assert made["env"] == ["PATH=/bin", "A=b"]
    assert json.loads(exec_process(bundle, ["sh"], user="7"))["user"]["gid"] == 1001


@pytest.mark.parametrize("indent", [None, 2], ids=["runc", "crun"])
def test_the_last_error_of_a_log_is_found(indent: int | None) -> None:
    entries = [("error", "first"), ("fatal", "no `{a}` in\n}"), ("debug", "end")]
    log = "\n".join(json.dumps({"msg": msg, "level": at}, indent=indent) for at, msg in entries)
    assert last_error(f"not JSON\n{log}\n".encode()) == "no `{a}` in\n}"
    assert last_error(b"{\nbroken\n}\n") == ""

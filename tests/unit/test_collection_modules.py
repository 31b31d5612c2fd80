"""The modules of the Ansible collection: what they change, what they say, and that once is enough."""

from __future__ import annotations

import http.server
import json
import os
import stat
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_collection import collections, tool

__all__ = ["collections"]


#: As Ansible starts a module on a host, but for the zip that it brings.
START = """
import json, runpy, sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": json.load(sys.stdin)}).encode()
basic._ANSIBLE_PROFILE = "legacy"
runpy.run_module("ansible_collections.trilby.node.plugins.modules." + sys.argv[1], run_name="__main__")
"""


def run(
    module: str, arguments: Mapping[str, object], collections: Path, *, dry: bool = False
) -> dict[str, Any]:
    """What a module returns on this machine."""
    words = {**arguments, "_ansible_check_mode": dry, "_ansible_diff": True}
    done = subprocess.run(
        [Path(tool("ansible")).with_name("python"), "-c", START, module],
        input=json.dumps(words),
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(collections), "LANG": "C.UTF-8"},
    )
    said: dict[str, Any] = json.loads(done.stdout or f'{{"msg": {json.dumps(done.stderr)}}}')
    assert (done.returncode == 0) == ("failed" not in said), said
    return said


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_written_once(collections: Path) -> None:
    place = collections / "etc"
    wanted = [
        {"path": f"{place}/a/one.conf", "content": "one"},
        {"path": f"{place}/key", "content": "hidden\n", "mode": "0600", "secret": True},
        {"path": f"{place}/folder", "state": "directory", "mode": "0750"},
        {"path": f"{place}/left-out", "content": "x", "when": False},
        {"path": f"{place}/data", "content": {"b": 1}},
    ]
    dry = run("files", {"files": wanted}, collections, dry=True)
    assert dry["changed"] and not place.exists()
    done = run("files", {"files": wanted}, collections)
    assert done["paths"] == dry["paths"]
    shown = {each["after_header"]: each for each in done["diff"]}
    assert shown[f"{place}/a/one.conf"]["after"] == "one\n"
    assert f"{place}/key" in shown and "hidden" not in json.dumps(done["diff"])
    assert (place / "a/one.conf").read_text() == "one\n"
    assert (mode(place / "key"), mode(place / "folder")) == (0o600, 0o750)
    assert json.loads((place / "data").read_text()) == {"b": 1}
    assert not (place / "left-out").exists()
    assert not run("files", {"files": wanted}, collections)["changed"]
    os.chmod(place / "key", 0o644)
    assert run("files", {"files": wanted}, collections)["paths"] == [f"{place}/key"]
    assert mode(place / "key") == 0o600


def test_files_of_others_are_kept_and_documents_compared(collections: Path) -> None:
    policy, before = collections / "policy.json", collections / "before"
    policy.write_text('{"default": []}')
    entry = {"path": str(policy), "compare": "json", "original": str(before)}
    same = {"files": [entry | {"content": '{ "default": [ ] }'}]}
    assert not run("files", same, collections)["changed"]
    for number in (1, 2):
        run("files", {"files": [entry | {"content": f"[{number}]"}]}, collections)
    assert (policy.read_text(), before.read_text()) == ("[2]\n", '{"default": []}')
    gone = {"files": [{"path": str(policy), "state": "absent"}]}
    assert run("files", gone, collections)["changed"]
    assert not policy.exists() and not run("files", gone, collections)["changed"]


@pytest.mark.parametrize(
    ("entry", "says"),
    [({"path": "etc/x", "content": "x"}, "not absolute"), ({"path": "/etc/x"}, "no content")],
)
def test_files_refuses_all_before_the_first(
    entry: dict[str, str], says: str, collections: Path
) -> None:
    first = {"path": f"{collections}/first", "content": "x"}
    said = run("files", {"files": [first, entry]}, collections)
    assert says in said["msg"] and not (collections / "first").exists()


def test_the_kernel_is_told_what_it_is_not_yet(collections: Path) -> None:
    forward = Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()
    arguments: dict[str, object] = {
        "modules_file": f"{collections}/modules.conf",
        "settings_file": f"{collections}/sysctl.conf",
        "settings": {"net.ipv4.ip_forward": forward},
    }
    assert run("kernel", arguments, collections)["set"] == {}
    assert (
        (collections / "sysctl.conf").read_text().endswith(f"\nnet.ipv4.ip_forward = {forward}\n")
    )
    assert not run("kernel", arguments, collections)["changed"]
    other = {"net.ipv4.ip_forward": "1" if forward == "0" else "0", "no.such": 1}
    dry = run("kernel", arguments | {"settings": other}, collections, dry=True)
    assert dry["set"] == {"net.ipv4.ip_forward": forward, "no.such": ""}
    missing = arguments | {"settings": {"no.such": 1}}
    assert "no setting no.such" in run("kernel", missing, collections)["msg"]


class Late(http.server.BaseHTTPRequestHandler):
    """Not there twice, then there."""

    asked = 0

    def do_GET(self) -> None:
        Late.asked += 1
        self.send_response(200 if Late.asked > 2 else 503)
        self.end_headers()
        self.wfile.write(f"try {Late.asked}".encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def late() -> Iterator[str]:
    Late.asked = 0
    with http.server.HTTPServer(("127.0.0.1", 0), Late) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_an_answer_is_waited_for(late: str, collections: Path) -> None:
    assert run("http_answer", {"url": late}, collections)["content"] == "try 3"
    wrong: dict[str, object] = {"url": late, "says": "^other$", "timeout": 0}
    said = run("http_answer", wrong, collections)
    assert "answers 200: try" in said["msg"]
    nobody: dict[str, object] = {"url": "http://127.0.0.1:1/", "status": 0}
    assert run("http_answer", nobody, collections)["status"] == 0


def test_facts_of_this_machine(collections: Path) -> None:
    services = ["no-such.service"]
    facts = run("node_facts", {"services": services}, collections)["ansible_facts"]
    assert facts["kernel"] == os.uname().release
    assert facts["services"] == {}
    assert facts["cgroup_version"] == (
        2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1
    )

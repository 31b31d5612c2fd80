"""CDI devices."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trilby.oci.runtime import Process, User
from trilby.pods.errors import InvalidPodConfig
from trilby.pods.spec.cdi import edit_devices, edit_hooks, edit_mounts, edit_process, find_edits

YAML = """
cdiVersion: "0.6.0"
kind: vendor.com/gpu
containerEdits:
  env: ["DRIVER=1"]
  hooks:
    - {hookName: createContainer, path: /usr/bin/tool, args: [tool, ldcache]}
  mounts:
    - {hostPath: /usr/lib/driver.so, containerPath: /usr/lib/driver.so, options: [ro, bind]}
devices:
  - name: "0"
    containerEdits:
      env: ["GPU=0"]
      additionalGids: [44, 0]
      deviceNodes:
        - {path: /dev/gpu0, hostPath: /dev/null, permissions: rw}
        - {path: /dev/gpuctl, type: c, major: 195, minor: 255, fileMode: 438, uid: 7}
"""


def test_edits_of_a_device(tmp_path: Path) -> None:
    (tmp_path / "vendor.yaml").write_text(YAML)
    (tmp_path / "notes.txt").write_text("not one")
    edits = find_edits(["vendor.com/gpu=0", "vendor.com/gpu=0"], ["/missing", str(tmp_path)])
    assert len(edits) == 2
    null, control = edit_devices(edits)
    assert (null.path, null.major, null.minor, null.permissions) == ("/dev/gpu0", 1, 3, "rw")
    assert (control.major, control.minor, control.mode, control.uid) == (195, 255, 0o666, 7)
    process = edit_process(
        Process(user=User(0, 0, additional_gids=(0,)), args=("x",), cwd="/", env=("GPU=none",)),
        edits,
    )
    assert process.env == ("GPU=0", "DRIVER=1") and process.user.additional_gids == (0, 44)
    assert edit_mounts(edits)[0].destination == "/usr/lib/driver.so"
    hooks = edit_hooks(edits)
    assert hooks and hooks.create_container[0].args == ("tool", "ldcache")
    assert find_edits([], [str(tmp_path)]) == () and edit_hooks(()) is None


def spec(*names: str, kind: str = "v.com/net") -> str:
    devices = [{"name": name, "containerEdits": {"env": [f"N={name}"]}} for name in names]
    return json.dumps({"cdiVersion": "0.5.0", "kind": kind, "devices": devices})


def test_later_directories_win_and_conflicts_are_told(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    (first / "a.json").write_text(spec("x", "y"))
    (first / "b.json").write_text(spec("y"))
    (second / "a.json").write_text(spec("x"))
    directories = [str(first), str(second)]
    assert [edit.env for edit in find_edits(["v.com/net=x"], directories)] == [(), ("N=x",)]
    with pytest.raises(InvalidPodConfig, match="two files"):
        find_edits(["v.com/net=y"], directories)
    with pytest.raises(InvalidPodConfig, match="known: v.com/net=x"):
        find_edits(["v.com/net=z"], directories)


@pytest.mark.parametrize("name", ["bad.json", "bad.yaml"])
def test_unusable_files(tmp_path: Path, name: str) -> None:
    for text in ("{", '{"kind": 5}', "[1]"):
        (tmp_path / name).write_text(text)
        with pytest.raises(InvalidPodConfig, match=name):
            find_edits(["v.com/net=z"], [str(tmp_path)])


def test_an_unknown_hook(tmp_path: Path) -> None:
    document = json.loads(spec("x"))
    document["containerEdits"] = {"hooks": [{"hookName": "someday", "path": "/x"}]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(InvalidPodConfig, match="someday"):
        edit_hooks(find_edits(["v.com/net=x"], [str(tmp_path)]))

"""trilby node check and trilby node facts: what is printed, and what the command ends with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.made_host import FIT, MadeHost, made_host, write

from trilby.cli.main import root_group, run
from trilby.node.catalogue import CHECKS


@pytest.fixture
def host() -> Iterator[MadeHost]:
    with made_host() as made:
        yield made


def trilby(*words: str) -> int:
    return run(root_group(), ["node", *words])


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert trilby("check", "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("  ") for line in lines) == len(CHECKS)
    assert "registries-reachable" in next(
        line for line in lines if "(with --network)" in line and "answer" in line
    )
    assert trilby("check", "--list", "--only", "sysctls", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["group"] for each in found} == {"sysctls"}
    assert set(found[0]) == {"id", "group", "title", "why", "mend", "network"}


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert trilby("check", "--explain", "swap") == 0
    out = capsys.readouterr().out
    assert out.startswith("swap (memory): Swap\n  why: the kubelet")
    assert trilby("check", "--explain", "sysctl-kernel-panic", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)[0]["mend"].endswith("sysctl -w kernel.panic=10")


def test_unknown_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert trilby("check", "--only", "swop") == 2
    err = capsys.readouterr().err
    assert "there is no check swop" in err and "did you mean swap?" in err


def test_root_of_another_host(host: MadeHost, capsys: pytest.CaptureFixture[str]) -> None:
    """By its files alone: what only a running host can tell is skipped."""
    status = trilby("check", "--root", host.root, "--format", "json")
    report = json.loads(capsys.readouterr().out)
    found = {each["id"]: each for each in report["checks"]}
    assert len(found) == len(CHECKS)
    assert found["runtime-default"]["verdict"] == found["clock-synchronised"]["verdict"] == "skip"
    assert found["cgroup-driver"]["verdict"] == found["cni-plugins"]["verdict"] == "pass"
    assert f"{host.root}/var/lib/kubelet/config.yaml:3" in found["cgroup-driver"]["evidence"][1]
    assert report["status"] == status
    assert sum(report["counts"].values()) == len(CHECKS)
    bad = {id for id, each in found.items() if each["verdict"] in ("warn", "fail")}
    # The made host has no labels, and its disk is this machine's.
    assert bad <= {
        "selinux-label",
        "space-images",
        "space-kubelet",
        "space-logs",
        "space-run",
        "inodes-images",
    }


@pytest.mark.parametrize(
    ("changes", "status", "first"),
    [
        ({}, 0, "2 checks: 2 passed, 0 warnings, 0 failed, 0 skipped"),
        ({"proc/pressure": None}, 1, "warn  kernel-pressure  /proc/pressure is not there"),
        ({"proc/swaps": "Filename\n/dev/sda2 partition\n"}, 2, "fail  swap  /proc/swaps: /dev/sda2"),
    ],
)  # fmt: skip
def test_table(
    host: MadeHost, capsys: pytest.CaptureFixture[str], changes: dict[str, str | None], status: int, first: str,
) -> None:  # fmt: skip
    write(host.root, changes)
    assert trilby("check", "--root", host.root, "--only", "swap,kernel-pressure") == status
    out = capsys.readouterr().out
    assert out.splitlines()[0] == first
    assert ("do:  " in out) == bool(status)
    assert (
        trilby(
            "check",
            "--root",
            host.root,
            "--only",
            "swap",
            "--only",
            "kernel-pressure",
            "--skip",
            "*",
            "-a",
        )
        == 0
    )


def test_all_shows_what_passed(host: MadeHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert trilby("check", "--root", host.root, "--only", "swap", "--all") == 0
    assert capsys.readouterr().out.startswith("pass  swap  /proc/swaps: none\n")


def test_files_that_are_named(host: MadeHost, capsys: pytest.CaptureFixture[str]) -> None:
    write(host.root, {
        "x/k.yaml": "kind: KubeletConfiguration\ncgroupDriver: cgroupfs\n",
        "x/t.conf": '[trilby.runtime]\ncgroup_manager = "cgroupfs"\n',
    })  # fmt: skip
    words = ["check", "--root", host.root, "--only", "cgroup-driver"]
    assert trilby(*words) == 0
    assert trilby(*words, "--kubelet-config", f"{host.root}/x/k.yaml") == 2
    assert f"{host.root}/x/k.yaml:2: cgroupDriver is cgroupfs" in capsys.readouterr().out
    both = ["--kubelet-config", f"{host.root}/x/k.yaml", "--config", f"{host.root}/x/t.conf"]
    assert trilby(*words, *both) == 0


def test_default_driver_is_that_of_the_root(host: MadeHost) -> None:
    write(
        host.root, {"run/systemd": None, "var/lib/kubelet/config.yaml": "cgroupDriver: cgroupfs\n"}
    )
    assert trilby("check", "--root", host.root, "--only", "cgroup-driver") == 0


def test_no_such_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trilby("check", "--root", f"{tmp_path}/none") == 2
    assert f"--root {tmp_path}/none: No such file" in capsys.readouterr().err


def test_facts(host: MadeHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert trilby("facts", "--root", host.root, "--format", "json") == 0
    text = capsys.readouterr().out
    found = msgspec.json.decode(text, type=dict[str, dict[str, str]])
    assert found["host"]["os"] == "fedora 45"
    assert found["settings"]["cgroup_version"] == "2"
    assert found["settings"]["cgroup_manager"] == found["settings"]["kubelet_cgroup_driver"]
    assert found["settings"]["network"] == "pods"
    assert found["sysctls"]["net.ipv4.ip_forward"] == "1"
    assert set(found["files"]) >= {
        "/etc/cni/net.d/10-pods.conflist",
        "/var/lib/kubelet/config.yaml",
    }
    assert all(digest.startswith("sha256:") for digest in found["files"].values())
    # A secret of the host: machine-id(5).
    assert (FIT["etc/machine-id"] or "").strip() not in text
    assert trilby("facts", "--root", host.root) == 0
    assert "settings   cgroup_version" in capsys.readouterr().out


def test_facts_tell_a_changed_file(host: MadeHost, capsys: pytest.CaptureFixture[str]) -> None:
    def digest() -> str:
        assert trilby("facts", "--root", host.root, "--format", "json") == 0
        found = json.loads(capsys.readouterr().out)["files"]["/etc/containers/policy.json"]
        return str(found)

    before = digest()
    write(host.root, {"etc/containers/policy.json": "{}"})
    assert digest() != before

"""From an empty host to a running pod, over an upgrade and back, to an erased package: dnf5."""

from __future__ import annotations

import pytest
from tests.integration.rpm_lifecycle.conftest import Booted
from tests.support.standin_host import IMAGE, SOCKET, RpmHost
from tests.support.standin_trilby import OLDER, ROOT

from trilby.rpm.project import load_project
from trilby.rpm.repo import Repository

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CONFIG = "/etc/trilby/trilby.conf"
MINE = '# mine\n[trilby]\nlog_level = "debug"\n'
LIBRARIES = ("python3-trilby", "python3-trilby-storage", "python3-trilby-image")
STORE = "/var/lib/containers/storage"


def test_installed_enabled_used_and_erased(booted: Booted, today: Repository) -> None:
    with booted("life") as host:
        host.know(today)
        host.dnf("install", "trilby")
        assert host.altered("trilby", *LIBRARIES) == ""
        assert host.run("systemctl", "is-enabled", "trilby", check=False).stdout == "disabled\n"
        assert host.main_pid() == 0

        host.use_runc()
        host.pull()
        host.run("systemctl", "enable", "--now", "trilby")
        assert host.text("systemctl", "is-active", "trilby") == "active"
        host.start_pod("web", 1001)
        assert host.process(1001)
        assert "web" in host.text("trilby", "pod", "ps", "--host", SOCKET)
        assert host.altered("trilby", *LIBRARIES) == ""

        # What a person stops is stopped; what nobody asked to stop is not.
        host.run("trilby", "pod", "rm", "-f", "--host", SOCKET, "web")
        _erase(host)


def _erase(host: RpmHost) -> None:
    host.host.path(CONFIG).write_text(MINE)
    host.dnf("remove", "trilby")
    assert host.version("trilby") == ""
    assert not host.succeeds("systemctl", "cat", "trilby.service")
    listed = ("systemctl", "list-units", "--all", "--no-legend", "--plain")
    assert host.text(*listed, "--type=service,socket,scope", "*trilby*") == ""
    assert host.text(*listed, "--type=slice", "trilby-*.slice") == "", "of pods that are gone"
    assert not host.succeeds("pgrep", "-f", "trilbyd")
    assert host.text("find", "/etc/systemd", "-name", "trilby*") == ""
    # What is the user's stays: the image, and the configuration that was edited.
    assert host.host.path(f"{CONFIG}.rpmsave").read_text() == MINE
    assert IMAGE in host.host.path(f"{STORE}/overlay-images/images.json").read_text()


def test_upgrade_and_downgrade_leave_pods_alone(
    booted: Booted, today: Repository, older: Repository
) -> None:
    with booted("upgrade") as host:
        host.know(older)
        host.dnf("install", "trilby")
        assert host.version("trilby") == OLDER
        host.host.path(CONFIG).write_text(MINE)
        host.use_runc()
        host.pull()
        host.run("systemctl", "enable", "--now", "trilby")
        host.start_pod("first", 1001)
        host.start_pod("second", 1002)
        pods = [host.process(1001), host.process(1002)]
        daemon = host.main_pid()
        assert all(pods)

        host.know(today)
        host.dnf("upgrade")
        assert host.version("trilby") == load_project(ROOT).version
        _same_pods_and_config(host, pods)
        upgraded = host.main_pid()
        assert upgraded not in (0, daemon), "the daemon is the old one"
        assert host.host.path(f"{CONFIG}.rpmnew").exists()
        host.start_pod("third", 1003)

        host.dnf("downgrade", f"trilby-{OLDER}", *(f"{name}-{OLDER}" for name in LIBRARIES))
        assert {host.version(name) for name in ("trilby", *LIBRARIES)} == {OLDER}
        _same_pods_and_config(host, pods)
        assert host.main_pid() not in (0, upgraded)
        # The older one knows what the newer one started, and ends all of it.
        assert host.process(1003)
        host.run("trilby", "pod", "rm", "-f", "--host", SOCKET, "first", "second", "third")
        assert [host.process(number) for number in (1001, 1002, 1003)] == ["", "", ""]


def _same_pods_and_config(host: RpmHost, pods: list[str]) -> None:
    assert [host.process(1001), host.process(1002)] == pods, "a container began anew"
    assert host.host.path(CONFIG).read_text() == MINE
    assert host.text("systemctl", "is-active", "trilby") == "active"
    listed = host.text("trilby", "pod", "ps", "--host", SOCKET)
    assert "first" in listed and "second" in listed
    assert host.altered(*LIBRARIES) == ""
    assert [line.split()[-1] for line in host.altered("trilby").splitlines()] == [CONFIG]

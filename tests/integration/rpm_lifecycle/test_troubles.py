"""What goes wrong on a node: packages that are refused change nothing, and what they say helps."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration.rpm_lifecycle.conftest import Booted
from tests.support.standin_fluff import Fluff, fluff
from tests.support.standin_host import SOCKET, RpmHost

from trilby.rpm.repo import Repository

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NEWER = "/etc/trilby/trilby.conf.d/90-newer.conf"
TROUBLES = (
    Fluff(name="conflicting-file", files={"/usr/bin/trilbyd": "another\n"}),
    Fluff(name="conflicting", conflicts=("trilby",)),
    Fluff(name="missing", requires=("trilby", "nothing-has-this")),
    Fluff(name="failing-pre", pre="exit 1\n", files={"/usr/share/failing-pre": "never\n"}),
    Fluff(name="failing-post", post="exit 1\n", files={"/usr/share/failing-post": "there\n"}),
    # A later release whose configuration knows more.
    Fluff(name="newer-config", files={NEWER: '[trilby]\nnot_known_yet = "x"\n'}),
)


def test_refused_and_nothing_changed(booted: Booted, today: Repository, tmp_path: Path) -> None:
    troubles = fluff("troubles", TROUBLES, tmp_path / "troubles")
    unsigned = fluff(
        "unsigned",
        [Fluff(name="unsigned", files={"/usr/share/u": "u\n"})],
        tmp_path / "unsigned",
        signed=False,
    )
    with booted("troubles") as host:
        for repository in (today, troubles, unsigned):
            host.know(repository)
        host.dnf("install", "trilby")
        host.run("systemctl", "enable", "--now", "trilby")
        before, daemon = host.packages(), host.main_pid()

        said = {
            name: host.dnf("install", name, check=False)
            for name in ("conflicting-file", "conflicting", "missing", "failing-pre", "unsigned")
        }
        assert "/usr/bin/trilbyd" in said["conflicting-file"]
        assert "conflicts with trilby" in said["conflicting"]
        assert "nothing provides nothing-has-this" in said["missing"]
        assert "scriptlet failed" in said["failing-pre"].lower() or "%pre" in said["failing-pre"]
        assert "signature" in said["unsigned"].lower() or "not signed" in said["unsigned"]
        assert host.packages() == before
        assert host.altered("trilby", "python3-trilby") == ""
        assert not host.host.path("/usr/share/failing-pre").exists()
        assert host.main_pid() == daemon

        # A %post that fails comes too late to refuse: the package is there, and says so.
        assert "failing-post" in host.dnf("install", "failing-post", check=False)
        assert host.version("failing-post") == "1"
        _configuration_of_a_newer_release(host)


def _configuration_of_a_newer_release(host: RpmHost) -> None:
    """An unknown option is a warning to the daemon and an error to the check, with file and line."""
    host.dnf("install", "newer-config")
    host.run("systemctl", "restart", "trilby")
    assert host.text("systemctl", "is-active", "trilby") == "active"
    host.run("trilby", "pod", "ps", "--host", SOCKET)
    checked = host.run("trilby", "config", "check", check=False)
    assert checked.returncode != 0
    assert f"{NEWER}:2" in checked.stdout + checked.stderr
    journal = host.text("journalctl", "-u", "trilby", "--no-pager", "-o", "cat")
    assert "not_known_yet" in journal


def test_obsoleted(booted: Booted, today: Repository, tmp_path: Path) -> None:
    """A package that takes our place: the daemon ends with its unit, what is in the store stays."""
    heir = Fluff(
        name="heir",
        obsoletes=("trilby < 99",),
        provides=("trilby = 99",),
        files={"/usr/share/heir": "here\n"},
    )
    heirs = fluff("heirs", [heir], tmp_path / "heirs")
    with booted("obsoleted") as host:
        host.know(today)
        host.dnf("install", "trilby")
        host.pull()
        host.run("systemctl", "enable", "--now", "trilby")
        host.know(heirs)
        host.dnf("upgrade")
        assert host.version("heir") == "1"
        assert host.version("trilby") == ""
        assert not host.succeeds("pgrep", "-f", "trilbyd")
        assert host.host.path("/var/lib/containers/storage/overlay-images/images.json").exists()

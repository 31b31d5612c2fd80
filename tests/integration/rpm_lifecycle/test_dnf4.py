"""The same packages with dnf 4, which the hosts that are upgraded last still have: into a root.

From outside: dnf 4 is written for a Python that the stand-in's hosts do not have.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration.rpm_lifecycle.test_life import CONFIG, LIBRARIES, MINE
from tests.support.standin_fluff import Fluff, fluff
from tests.support.standin_host import note
from tests.support.standin_tree import tools
from tests.support.standin_trilby import OLDER

from trilby.rpm.repo import Repository, dnf_config
from trilby.rpm.tools import Inside, Tools

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BASE = ("bash", "coreutils", "grep", "systemd", "rpm", "fedora-release")


class Root:
    """A root and dnf 4 outside of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "root"
        self.work = folder / "dnf"
        self.path.mkdir()
        self.work.mkdir()

    def dnf(self, repositories: list[Repository], *words: str, check: bool = True) -> str:
        """With these repositories and no others."""
        config = self.work / "dnf.conf"
        config.write_text(dnf_config(repositories))
        inside = Inside(
            shared=(str(self.work), *(each.directory for each in repositories)),
            install_root=str(self.path),
        )
        command = ["dnf-3", "-y", "-q", f"--config={config}", f"--installroot={self.path}"]
        command += ["--releasever=46", "--setopt=plugins=0"]
        command += [f"--setopt=cachedir={self.work}/cache", *words]
        done = tools().run(command, inside, check=check)
        note(f"dnf-3 {' '.join(words)} -> {done.returncode}")
        return (done.stdout + done.stderr).decode(errors="replace")

    def run(self, *command: str, check: bool = True) -> str:
        return Tools(str(self.path)).run(command, Inside(network=False), check=check).text

    def packages(self) -> list[str]:
        return sorted(self.run("rpm", "-qa").splitlines())

    def version(self, package: str) -> str:
        return self.run("rpm", "-q", "--qf", "%{VERSION}", package)


def test_life_with_dnf_4(
    rawhide: Repository, today: Repository, older: Repository, tmp_path: Path
) -> None:
    note("== test_life_with_dnf_4")
    root = Root(tmp_path)
    root.dnf([rawhide, older], "install", *BASE, "trilby")
    assert root.version("trilby") == OLDER
    assert root.run("rpm", "-V", "trilby", *LIBRARIES) == ""
    config = Path(f"{root.path}{CONFIG}")
    config.write_text(MINE)

    root.dnf([rawhide, today], "upgrade")
    new = root.version("trilby")
    assert new != OLDER
    assert config.read_text() == MINE
    assert Path(f"{config}.rpmnew").exists()
    assert root.run("rpm", "-V", *LIBRARIES) == ""
    assert new in root.run("trilby", "--version")

    unsigned = fluff("unsigned", [Fluff(name="unsigned")], tmp_path / "unsigned", signed=False)
    before = root.packages()
    said = root.dnf([rawhide, unsigned], "install", "unsigned", check=False)
    assert "is not signed" in said or "signature" in said.lower()
    assert root.packages() == before

    names = [f"{name}-{OLDER}" for name in ("trilby", *LIBRARIES)]
    root.dnf([rawhide, older], "downgrade", *names)
    assert {root.version(name) for name in ("trilby", *LIBRARIES)} == {OLDER}
    assert config.read_text() == MINE

    root.dnf([rawhide], "remove", "trilby")
    assert not Path(f"{root.path}/usr/lib/systemd/system/trilby.service").exists()
    assert Path(f"{config}.rpmsave").read_text() == MINE

"""Builds with mock: its command line, its configuration, and for whom it does not run."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from trilby.rpm.build import Place, Source
from trilby.rpm.errors import ToolMissing, ToolRefused
from trilby.rpm.mock import OWN, build_with_mock, config_text, options
from trilby.rpm.repo import Repository
from trilby.rpm.tools import Tools

PLACE = Place(
    repositories=(
        Repository("one", "/srv/one", key="/srv/one/KEY"),
        Repository("two", "https://t"),
    ),
    packages=("bash", "rpm-build"),
    release="46",
    defines={"dist": ".fc46"},
)


def test_the_command_line() -> None:
    found = options(PLACE, "fedora-rawhide-x86_64", "/results")
    assert found[:2] == ["--root=fedora-rawhide-x86_64", "--resultdir=/results"]
    assert found[2:4] == ["--addrepo=file:///srv/one", "--addrepo=https://t"]
    assert "--define=dist .fc46" in found
    assert "--define=source_date_epoch_from_changelog 1" in found
    assert not any("_topdir" in word for word in found)


def test_the_configuration_as_mock_reads_it() -> None:
    plugins: dict[str, object] = {}
    values: dict[str, object] = {"plugin_conf": plugins}
    exec(config_text(PLACE, name="mine"), {"config_opts": values})
    assert values["root"] == "mine"
    assert values["target_arch"] == platform.machine()
    assert values["chroot_setup_cmd"] == "install bash rpm-build"
    assert (values["releasever"], values["dist"]) == ("46", "fc46")
    assert values["use_bootstrap"] is False
    assert plugins["root_cache_enable"] is False
    assert "reposdir=/dev/null" in str(values["dnf.conf"])
    assert "gpgkey=file:///srv/one/KEY" in str(values["dnf.conf"])


def test_without_mock_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="has no mock"):
        _build(tmp_path)


def test_root_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_UID", "0")
    mock = tmp_path / "usr/bin/mock"
    mock.parent.mkdir(parents=True)
    mock.touch(mode=0o755)
    with pytest.raises(ToolRefused, match="mock does not run for root"):
        _build(tmp_path)
    assert not (tmp_path / "results").exists()


def _build(tree: Path) -> None:
    place = Place(tools=Tools(str(tree)))
    build_with_mock(Source(str(tree / "x.spec")), place, str(tree / "results"), config=OWN)

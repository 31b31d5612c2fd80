"""trilby config check: every file is read, every mistake has its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trilby.cli.main import root_group, run

FILES = {
    "storage.conf": '[storage]\ndriver = "overlay"\n\n[storage.options]\nbogus = 1\n',
    "registries.conf": '[[registry]]\nlocation = "example.com"\nfoo = 1\n',
    "auth.json": '{"auths": {\n',
    "trilby.conf": '[trilby.runtime]\nconnmon = "x"\n',
    "net.d/1.conflist": '{"name": "a",\n "cniVersion": "1.0.0",\n "plugins": []}',
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.d").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    return tmp_path


def check(place: Path, *more: str) -> int:
    flags = ["--config", str(place / "trilby.conf"), "--network-config-dir", str(place / "net.d")]
    return run(root_group(), [*flags, "config", "check", *more])


def test_every_mistake_has_its_file_and_line(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(place) == 2
    said = capsys.readouterr()
    for start in (
        "storage.conf:5: ",
        "registries.conf:3: ",
        "auth.json:2: ",
        "trilby.conf:2:1: ",
        "net.d/1.conflist:3: ",
    ):
        assert f"{place}/{start}" in said.out
    assert "5 mistakes" in said.err


def test_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(place, "--format", "json")
    assert len(json.loads(capsys.readouterr().out)) == len(FILES)


def test_no_mistake_no_word(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "storage.conf").write_text('[storage]\ndriver = "overlay"\n')
    (place / "registries.conf").write_text("")
    (place / "auth.json").write_text("{}")
    (place / "trilby.conf").write_text("")
    (place / "net.d/1.conflist").unlink()
    assert check(place) == 0
    assert capsys.readouterr().out == ""

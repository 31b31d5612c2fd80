"""The commands of `trilby rpm`: what they print, and how they end."""

from __future__ import annotations

import builtins
from pathlib import Path

import pytest

from trilby.cli import main
from trilby.cli.lazy import LazyGroup

ROOT = Path(__file__).resolve().parents[3]


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = main.run(main.root_group(), ["rpm", *argv])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_spec_prints_writes_and_compares(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, said, _ = call(capsys, "spec", str(ROOT))
    assert status == 0 and said == (ROOT / "spec" / "trilby.spec").read_text()
    target = tmp_path / "x.spec"
    assert call(capsys, "spec", str(ROOT), "-o", str(target))[0] == 0
    assert target.read_text() == said
    assert call(capsys, "spec", str(ROOT), "--check", str(target))[:2] == (0, "")
    target.write_text(said.replace("License:", "Licence:"))
    status, difference, _ = call(capsys, "spec", str(ROOT), "--check", str(target))
    assert status == 1 and "+License:        Apache-2.0" in difference


def test_spec_of_what_is_no_project(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, _, said = call(capsys, "spec", str(tmp_path))
    assert status == 2 and "neither a setup.cfg" in said and "Hint:" in said


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["build", "--repo", "/nothing/here"], "has no repodata"),
        (["build", "--define", "nothing"], "as in --define"),
        (["build", "--format", "yaml"], "only json"),
        (["sign", "."], "--key-home"),
        (["verify", "--key", "/x", "/nothing/here"], "there is no /nothing/here"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], argv: list[str], message: str) -> None:
    words = [*argv, str(ROOT)] if argv[0] == "build" else argv
    status, _, said = call(capsys, *words)
    assert status == 2 and message in said


def test_no_key_is_made_for_packages_that_are_not_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    words = ["--key-home", str(keys), "--new-key", "Me <me@example.org>", str(tmp_path / "none")]
    assert call(capsys, "sign", *words)[0] == 2
    assert not keys.exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["spec", "{}/none.yaml"], "Error: {}/none.yaml: No such file"),
        (["spec", str(ROOT), "-o", "{}/none/x.spec"], "Error: {}/none/x.spec: No such file"),
        (["repo", "{}/none"], "there is no directory {}/none"),
        (["repo", "{}"], "{} has no packages"),
        (["sign", "--key-home", "{}/none", "{}/a.rpm"], "there is no {}/none"),
        (["verify", "--key", "{}/none", "{}/a.rpm"], "there is no key {}/none"),
    ],
)
def test_what_is_not_there_ends_with_3(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, argv: list[str], message: str
) -> None:
    if "{}/a.rpm" in argv:
        (tmp_path / "a.rpm").write_text("")
    status, _, said = call(capsys, *(word.format(tmp_path) for word in argv))
    assert status == 3 and message.format(tmp_path) in said


def test_no_packages_here(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, _, said = call(capsys, "lint", str(tmp_path))
    assert status == 2 and "no packages here" in said


def test_a_group_in_a_package_that_is_not_installed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = LazyGroup("trilby", {"rpm": ("trilby.cli.gone.group", "Build")}, help="x")
    assert main.run(group, ["rpm", "build"]) == 2
    assert (
        "'rpm' is not installed; Fedora has it in the package trilby-rpm" in capsys.readouterr().err
    )


def test_without_jinja2_it_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: object, **named: object) -> object:
        if name == "jinja2":
            raise ImportError(name)
        return real(name, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    status, _, said = call(capsys, "spec", str(ROOT))
    assert status == 3 and "python3-jinja2" in said

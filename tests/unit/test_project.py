"""The files around the code: README, Makefile, scripts and examples say what is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from trilby.pods.manifest.load import load_pod

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "scripts").iterdir()) + [ROOT / ".ci" / "run"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_readme_has_two_set_up_commands() -> None:
    section = (ROOT / "README.md").read_text().partition("## Set up")[2].partition("\n## ")[0]
    assert re.findall(r"^    (.+)$", section, re.MULTILINE) == ["make demo", "make test"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
        assert (document.parent / target).exists(), f"{document.name}: no {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_that_are_named_exist(document: Path) -> None:
    named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", document.read_text(), re.MULTILINE))
    assert named <= TARGETS


def test_ci_runs_the_test_target() -> None:
    assert "exec make test" in (ROOT / ".ci" / "run").read_text().splitlines()
    assert "test" in TARGETS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(script: Path) -> None:
    first = script.read_text().partition("\n")[0]
    shell = "sh" if first == "#!/bin/sh" else "bash"
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.access(script, os.X_OK) == first.startswith("#!")


def test_set_up_leaves_the_choice_of_servers_to_the_machine() -> None:
    text = (ROOT / "scripts" / "setup").read_text()
    assert "://" not in text
    assert not re.search(r"--(extra-)?index-url|--proxy|--trusted-host", text)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_examples_are_honoured_in_full(path: Path) -> None:
    assert load_pod(path.read_text(), str(path)).warnings == ()

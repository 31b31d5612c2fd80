"""ruff, mypy --strict and codespell are tests: one command tells everything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LINTERS = {
    "ruff check": ["ruff", "check", "src", "tests"],
    "ruff format": ["ruff", "format", "--check", "src", "tests"],
    "mypy": ["mypy"],
    # A go.sum is digests, which spell anything.
    "codespell": [
        *("codespell_lib", "--skip", "go.sum"),
        *("src", "tests", "docs", "README.md", "Makefile", "examples"),
    ],
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", LINTERS)
def test_linter(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *LINTERS[name]], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr

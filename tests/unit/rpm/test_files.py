"""The files beside the spec: Containerfile, .packit.yaml, scripts/rpms."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from trilby.pods.config import EngineConfig
from trilby.pods.config_load import load_config

ROOT = Path(__file__).resolve().parents[3]
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which(
    "hadolint"
)


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed")
def test_the_containerfile_is_clean() -> None:
    assert HADOLINT is not None
    done = subprocess.run([HADOLINT, str(ROOT / "Containerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_containerfile_installs_what_the_toolkit_imports() -> None:
    """Its first stage runs the toolkit out of the source tree, without its package."""
    text = (ROOT / "Containerfile").read_text()
    for name in ("click", "jinja2", "msgspec", "rich"):
        assert f"python3-{name}" in text
    installed = set(re.findall(r"dnf -y .* install (trilby[\w -]*)", text)[0].split())
    spec = (ROOT / "spec" / "trilby.spec").read_text()
    assert installed <= {
        "trilby",
        *(f"trilby-{name}" for name in re.findall(r"^%package +(\w+)$", spec, re.M)),
    }


def test_the_vendors_configuration_is_understood() -> None:
    """And says something that is not so without it."""
    loaded = load_config(EngineConfig(), str(ROOT / "spec" / "vendor.conf"))
    assert loaded.warnings == ()
    assert loaded.config != EngineConfig()


def test_packit_builds_this_spec() -> None:
    config = yaml.safe_load((ROOT / ".packit.yaml").read_text())
    assert (ROOT / config["specfile_path"]).exists()
    for entry in config["files_to_sync"]:
        assert (ROOT / (entry if isinstance(entry, str) else entry["src"])).exists()
    jobs = [(job["job"], job["trigger"]) for job in config["jobs"]]
    assert ("copr_build", "pull_request") in jobs and ("propose_downstream", "release") in jobs


def test_the_command_that_packit_asks_for_the_version() -> None:
    config = yaml.safe_load((ROOT / ".packit.yaml").read_text())
    command = config["actions"]["get-current-version"]
    said = subprocess.run(
        ["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (
        f"\nVersion:        {said.stdout.strip()}\n" in (ROOT / "spec" / "trilby.spec").read_text()
    )

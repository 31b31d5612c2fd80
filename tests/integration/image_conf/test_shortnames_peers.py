"""Short names as podman resolves them: the same candidates, for the same stated reason."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from trilby.image.errors import ShortNameAmbiguous, ShortNameUnresolved
from trilby.image.registries import load_registries
from trilby.image.shortnames import resolve

pytestmark = pytest.mark.skipif(not shutil.which("podman"), reason="needs podman")
DIGEST = "sha256:" + "ab" * 32
TRYING = re.compile(r"^Trying to pull (\S+)\.\.\.$", re.MULTILINE)

# Blocked registries fail at once, without a connection and without retries.
CONFIG = """
short-name-mode = "{mode}"
unqualified-search-registries = [{search}]
[aliases]
"trilby-alias" = "one.invalid/team/app"
"team/trilby-alias" = "two.invalid/app"
[[registry]]
location = "one.invalid"
blocked = true
[[registry]]
prefix = "two.invalid"
location = "two.invalid"
blocked = true
"""
BOTH, ONE = '"one.invalid", "two.invalid"', '"two.invalid"'


@pytest.fixture
def home() -> Iterator[Path]:
    # podman refuses a runroot of more than 50 characters.
    with tempfile.TemporaryDirectory(prefix="short-") as folder:
        yield Path(folder)


def podman_pull(home: Path, config: Path, name: str) -> str:
    store = ["--root", f"{home}/root", "--runroot", f"{home}/rr", "--storage-driver", "vfs"]
    done = subprocess.run(
        ["podman", *store, "pull", name],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "CONTAINERS_REGISTRIES_CONF": str(config),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    return done.stdout


@pytest.mark.parametrize(
    ("name", "mode", "search"),
    [
        ("trilby-name", "permissive", BOTH),
        ("trilby-name:1", "enforcing", BOTH),
        ("trilby-name:1", "enforcing", ONE),
        ("team/trilby-name", "disabled", BOTH),
        ("trilby-name", "permissive", ""),
        (f"trilby-name@{DIGEST}", "permissive", ONE),
        ("trilby-alias", "enforcing", BOTH),
        ("trilby-alias:2", "permissive", BOTH),
        ("team/trilby-alias", "permissive", ""),
        ("trilby-alias", "disabled", ONE),
        (f"trilby-alias@{DIGEST}", "permissive", BOTH),
        ("one.invalid/x", "enforcing", BOTH),
    ],
)
def test_same_candidates(home: Path, name: str, mode: str, search: str) -> None:
    config = home / "registries.conf"
    config.write_text(CONFIG.format(mode=mode, search=search))
    said = podman_pull(home, config, name)
    registries = load_registries(str(config), env={"HOME": str(home)})
    try:
        ours = resolve(name, registries, cache=str(home / "aliases.conf"))
    except (ShortNameUnresolved, ShortNameAmbiguous) as error:
        assert not TRYING.findall(said)
        stable = {
            ShortNameAmbiguous: "enforced but cannot prompt without a TTY",
            ShortNameUnresolved: "did not resolve to an alias and no unqualified-search registries",
        }[type(error)]
        assert stable in said and stable in error.message
        return
    assert [str(candidate) for candidate in ours.candidates] == TRYING.findall(said)
    assert ours.explanation in said

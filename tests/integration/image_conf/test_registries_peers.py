"""registries.conf as skopeo understands it: the same endpoints in the same order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from trilby.image.errors import ConfigError, RegistryBlocked
from trilby.image.reference import parse
from trilby.image.registries import load_registries

pytestmark = pytest.mark.skipif(not shutil.which("skopeo"), reason="needs skopeo")
DIGEST = "sha256:" + "ab" * 32
TRYING = re.compile(r'Trying to access \\"([^"\\]+)\\"')

# Nothing listens on port 1, so every endpoint fails at once and the next is tried.
CONFIG = """
[[registry]]
prefix = "127.0.0.1:1/a"
location = "localhost:1/moved"
[[registry.mirror]]
location = "127.0.0.1:1/m1"
[[registry.mirror]]
location = "127.0.0.1:1/m2"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "127.0.0.1:1/m3"
pull-from-mirror = "tag-only"

[[registry]]
location = "127.0.0.1:1/a/deeper"
mirror-by-digest-only = true
[[registry.mirror]]
location = "127.0.0.1:1/m4"

[[registry]]
prefix = "*.localdomain.invalid"
location = "127.0.0.1:1/wild"

[[registry]]
location = "127.0.0.1:1/blocked"
blocked = true

[[registry]]
prefix = "docker.io/library"
location = "127.0.0.1:1/hub"
"""

NAMES = [
    "127.0.0.1:1/a/x:1",
    "127.0.0.1:1/a:1",
    f"127.0.0.1:1/a/x@{DIGEST}",
    "127.0.0.1:1/ab/x:1",
    "127.0.0.1:1/a/deeper/x:1",
    f"127.0.0.1:1/a/deeper/x@{DIGEST}",
    "one.two.localdomain.invalid/x:1",
    "127.0.0.1:1/blocked/x:1",
    "busybox:1",
]


def inspect(config: Path, name: str) -> subprocess.CompletedProcess[str]:
    command = ["skopeo", "--debug", "--registries-conf", str(config), "inspect", f"docker://{name}"]
    env = {"PATH": os.environ["PATH"], "HOME": str(config.parent)}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", NAMES)
def test_same_endpoints(tmp_path: Path, name: str) -> None:
    config = tmp_path / "registries.conf"
    config.write_text(CONFIG)
    said = inspect(config, name).stderr
    registries = load_registries(str(config))
    try:
        ours = [str(endpoint.reference) for endpoint in registries.resolve(parse(name))]
    except RegistryBlocked as error:
        assert "is blocked in" in said and "is blocked in" in error.message
        return
    assert ours == TRYING.findall(said), said


BROKEN = [
    "x = [",
    "[[registry]]\ninsecure = true",
    '[[registry]]\nprefix = "a.b"',
    '[[registry]]\nlocation = "https://a.b"',
    '[[registry]]\nprefix = "*.a.b/c"\nlocation = "x.y"',
    "[[registry]]\nlocation = 3",
    '[[registry]]\nlocation = "a.b"\n[[registry.mirror]]\ninsecure = true',
    '[[registry]]\nlocation = "a.b"\n[[registry.mirror]]\nlocation = "c"\npull-from-mirror = "x"',
    '[[registry]]\nlocation = "a.b"\nblocked = true\n[[registry]]\nprefix = "c.d"\nlocation = "a.b"',
    'unqualified-search-registries = ["a/b"]',
    'unqualified-search-registries = "a"',
    'short-name-mode = "x"',
    '[aliases]\na = "b"',
    '[aliases]\na = "q.io/b:1"',
    '[aliases]\n"q.io/a" = "q.io/b"',
    'unqualified-search-registries = ["a"]\n[registries.search]\nregistries = ["b"]',
]


@pytest.mark.parametrize("text", BROKEN)
def test_same_files_are_wrong(tmp_path: Path, text: str) -> None:
    config = tmp_path / "registries.conf"
    config.write_text(text)
    done = inspect(config, "127.0.0.1:1/x:1")
    assert "Trying to access" not in done.stderr
    with pytest.raises(ConfigError, match=r"registries.conf:\d+:"):
        load_registries(str(config))

"""Which texts are image names, by skopeo's judgement and ours."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from trilby.image.errors import InvalidReference
from trilby.image.reference import parse

pytestmark = pytest.mark.skipif(not shutil.which("skopeo"), reason="needs skopeo")
HEX = "ab" * 32

# Blocked, so that a good name fails with its full form in the message and without a connection.
CONFIG = "".join(
    f'[[registry]]\nprefix = "{prefix}"\nlocation = "x.invalid"\nblocked = true\n'
    for prefix in ("docker.io", "q.invalid", "*.invalid", "localhost", "localhost:1")
)
NAMED = re.compile(r"pinging|blocked|(?:Error reading|reading) manifest")

NAMES = [
    "busybox",
    "foo/bar:1",
    "docker.io/busybox",
    "index.docker.io/busybox",
    "library/busybox",
    "q.invalid/a/b/c/d:tag",
    f"q.invalid/a@sha256:{HEX}",
    "localhost/x",
    "localhost:1/x:y",
    "Host/x",
    "Host.invalid/x",
    "q.invalid/a__b.c-d---e_f",
    "q.invalid/a..b",
    "q.invalid/a___b",
    "q.invalid/-a",
    "q.invalid/a-",
    "q.invalid/A",
    "UPPER",
    "q.invalid/x:",
    "q.invalid/x:-t",
    "q.invalid/x:_t.-",
    "q.invalid/x:" + "t" * 128,
    "q.invalid/x:" + "t" * 129,
    "q.invalid/x@sha256:12",
    f"q.invalid/x@sha256:{HEX.upper()}",
    f"q.invalid/x@md5:{HEX[:32]}",
    f"q.invalid/x@sha512:{HEX}{HEX}",
    HEX,
    HEX[:63],
    "q.invalid:port/x",
    "q.invalid//x",
    "q.invalid/x/",
    "/x",
    "-q.invalid/x",
    "q-.invalid/x",
    "q..invalid/x",
    "q.invalid/x y",
    "q.invalid/\u0430",
    "q.invalid/" + "a" * 255,
    "q.invalid/" + "a" * 256,
    "q.invalid/" + "a" * 245,
    "q.invalid/" + "a" * 246,
]


@pytest.mark.parametrize("name", NAMES)
def test_same_names(tmp_path: Path, name: str) -> None:
    config = tmp_path / "r.conf"
    config.write_text(CONFIG)
    done = subprocess.run(
        ["skopeo", "--registries-conf", str(config), "inspect", f"docker://{name}"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    try:
        ours = str(parse(name).with_default_tag())
    except InvalidReference:
        ours = ""
    assert bool(ours) == bool(NAMED.search(done.stderr)), done.stderr

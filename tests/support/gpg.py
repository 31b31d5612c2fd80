"""A GnuPG home with one signing key, for tests that sign as other tools do."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pysequoia


class Gpg:
    """A GnuPG home with one signing key."""

    def __init__(self, home: Path) -> None:
        self.env = {"GNUPGHOME": str(home), "PATH": os.environ["PATH"], "HOME": str(home)}
        self.run("--passphrase", "", "--quick-generate-key", "t@example.com", "rsa2048", "sign")
        self.public = self.run("--export")
        self.fingerprint = str(pysequoia.Cert.from_bytes(self.public).fingerprint).upper()
        self.secret = self.run("--export-secret-keys")

    def run(self, *arguments: str) -> bytes:
        done = subprocess.run(
            ["gpg", "--batch", "--quiet", *arguments],
            env=self.env,
            check=True,
            capture_output=True,
        )
        return done.stdout


@contextlib.contextmanager
def gpg_home() -> Iterator[Gpg]:
    """Make one, and end its agent afterwards."""
    # The agent's socket is in the home, and a socket's path must be short.
    home = Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp"))
    env = {"GNUPGHOME": str(home), "PATH": os.environ["PATH"]}
    try:
        yield Gpg(home)
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], env=env, check=False, capture_output=True)
        shutil.rmtree(home, ignore_errors=True)

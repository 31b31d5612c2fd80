"""Whether packages and a repository are what a key's owner signed."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from typing import Final

import msgspec

from trilby.rpm.errors import NotVerified
from trilby.rpm.tools import HOST, Inside, Tools

__all__ = ["Verdict", "verify"]

_SIGNATURE: Final = re.compile(r"(?i)\bsignature\b.*\bkey (?:ID|fingerprint):? ([0-9a-f]+)")


class Verdict(msgspec.Struct, frozen=True):
    """One package: ``digests`` and ``signed`` say what holds; ``key`` is the signer's ID.

    ``reason`` is rpm's own text of what does not hold.
    """

    path: str
    digests: bool
    signed: bool
    key: str = ""
    reason: str = ""

    @property
    def good(self) -> bool:
        return self.digests and self.signed


def verify(packages: Sequence[str], key: str, *, tools: Tools = HOST) -> list[Verdict]:
    """Check digests and signatures of package files against one public key, and nothing else.

    ``key`` is the path of an armored key; keys that the host trusts do not count. Raises
    NotVerified if the key cannot be read, and ToolMissing.
    """
    key = os.path.abspath(key)
    if not os.path.isfile(key):
        raise NotVerified(f"there is no key {key}")
    with tempfile.TemporaryDirectory(prefix="trilby-rpm-") as base:
        shared = (base, os.path.dirname(key))
        database = ["--dbpath", os.path.join(base, "db")]
        done = tools.run(
            ["rpmkeys", *database, "--import", key], Inside(shared=shared), check=False
        )
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise NotVerified(f"{key} is not a key that rpm takes: {said}")
        return [_one(os.path.abspath(path), database, shared, tools) for path in packages]


def _one(path: str, database: list[str], shared: tuple[str, ...], tools: Tools) -> Verdict:
    inside = Inside(shared=(*shared, os.path.dirname(path)))
    strict = ["--define", "_pkgverify_level all"]
    done = tools.run(["rpmkeys", *database, *strict, "-Kv", path], inside, check=False)
    lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
    checks = [line.strip() for line in lines if line.startswith((" ", "\t"))]
    bad = [line for line in checks if not line.endswith(": OK") and ": OK" not in line]
    digests = [line for line in checks if "digest" in line.lower()]
    signatures = [line for line in checks if "signature" in line.lower()]
    found = next((match for line in signatures if (match := _SIGNATURE.search(line))), None)
    return Verdict(
        path=path,
        digests=bool(digests) and not any("digest" in line.lower() for line in bad),
        signed=done.returncode == 0 and any(line.endswith(": OK") for line in signatures),
        key=found[1].upper() if found else "",
        reason="; ".join(bad) if bad or done.returncode == 0 else (lines[-1] if lines else ""),
    )

"""Whether packages and a repository are what a key's owner signed."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from trilby.rpm.errors import KeyNotFound, NotVerified
from trilby.rpm.tools import HOST, Inside, Tools

__all__ = ["Verdict", "verify", "verify_metadata"]

_SIGNATURE: Final = re.compile(r"(?i)\bsignature\b.*\bkey (?:ID|fingerprint):? ([0-9a-f]+)")
_OTHERS: Final = re.compile(r"(?i)\bkey (?:ID|fingerprint):? ([0-9a-f]+): NOKEY$")


class Verdict(msgspec.Struct, frozen=True):
    """One package, or the metadata of a repository: ``digests`` and ``signed`` say what holds.

    ``key`` is the signer's fingerprint or ID, ``reason`` says what does not hold, in rpm's words.
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
    KeyNotFound, NotVerified if the key cannot be read, and ToolMissing.
    """
    key = os.path.abspath(key)
    if not os.path.isfile(key):
        raise KeyNotFound(
            f"there is no key {key}", hint="`trilby rpm repo` puts one beside the packages"
        )
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
    signed = done.returncode == 0 and any(line.endswith(": OK") for line in signatures)
    return Verdict(
        path=path,
        digests=bool(digests) and not any("digest" in line.lower() for line in bad),
        signed=signed,
        key=found[1].upper() if found else "",
        reason=_reason(checks, bad) if done.returncode or not signed else "",
    )


def _reason(checks: Sequence[str], bad: Sequence[str]) -> str:
    """rpm tells of every kind of digest and signature that there may be; this is what counts."""
    if not checks:
        return "it is no package"
    wrong = [line for line in bad if not line.endswith(": NOTFOUND")]
    if others := [match[1] for line in wrong if (match := _OTHERS.search(line))]:
        return f"it is signed with another key, {others[0].upper()}"
    return "; ".join(wrong) or "it is not signed"


def verify_metadata(directory: str, key: str, *, tools: Tools = HOST) -> Verdict:
    """Check a repository's repomd.xml against one public key, and its other metadata against it.

    Raises NotVerified if there are no metadata, and ToolMissing without gpg.
    """
    tools.need("gpg")
    folder = os.path.join(os.path.abspath(directory), "repodata")
    path = os.path.join(folder, "repomd.xml")
    if not os.path.isfile(path):
        raise NotVerified(f"{directory} is no repository", hint="make it one: trilby rpm repo")
    changed = list(_changed(folder, path))
    if not os.path.isfile(path + ".asc"):
        return Verdict(path, not changed, False, reason="; ".join([*changed, "it is not signed"]))
    key = os.path.abspath(key)
    with tempfile.TemporaryDirectory(prefix="trilby-rpm-") as home:
        inside = Inside(shared=(home, folder, os.path.dirname(key)), env={"GNUPGHOME": home})
        gpg = ["gpg", "--batch", "--no-autostart", "--status-fd", "1"]
        tools.run([*gpg, "--import", key], inside, check=False)
        done = tools.run([*gpg, "--verify", path + ".asc", path], inside, check=False)
    valid = re.search(r"^\[GNUPG:\] VALIDSIG .* ([0-9A-F]{40,})$", done.text, re.MULTILINE)
    reasons = changed if valid else [*changed, "the signature is not the key's"]
    fingerprint = valid[1] if valid else ""
    return Verdict(path, not changed, bool(valid), fingerprint, "; ".join(reasons))


def _changed(folder: str, repomd: str) -> Iterator[str]:
    """What of the metadata is not as repomd.xml says."""
    import hashlib
    import xml.etree.ElementTree

    space = "{http://linux.duke.edu/metadata/repo}"
    for data in xml.etree.ElementTree.parse(repomd).getroot().iter(f"{space}data"):
        place, said = data.find(f"{space}location"), data.find(f"{space}checksum")
        if place is None or said is None:
            continue
        name = os.path.basename(place.get("href", ""))
        try:
            with open(os.path.join(folder, name), "rb") as file:
                found = hashlib.new(said.get("type", "sha256"), file.read()).hexdigest()
        except OSError as error:
            yield f"{name}: {error.strerror}"
            continue
        if found != (said.text or "").strip():
            yield f"{name} is not what repomd.xml says"

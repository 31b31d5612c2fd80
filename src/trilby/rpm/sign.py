"""Signing keys, and signatures of packages and metadata, by GnuPG or Sequoia."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from trilby.rpm.errors import KeyNotFound, SigningFailed
from trilby.rpm.tools import HOST, Inside, Tools
from trilby.system.files import atomic_write
from trilby.system.process import CommandFailed

__all__ = ["How", "SigningKey", "export_key", "find_key", "make_key", "sign", "sign_file"]

How: TypeAlias = Literal["gpg", "sq"]

_HOME_VARIABLE: Final[Mapping[How, str]] = {"gpg": "GNUPGHOME", "sq": "SEQUOIA_HOME"}


class SigningKey(msgspec.Struct, frozen=True):
    """A secret key: its fingerprint in upper case, and the absolute directory that keeps it."""

    fingerprint: str
    home: str
    how: How = "gpg"

    def inside(self, *shared: str) -> Inside:
        """How a program that needs the key is run."""
        return Inside(shared=(self.home, *shared), env={_HOME_VARIABLE[self.how]: self.home})


def make_key(home: str, user: str, *, how: How = "gpg", tools: Tools = HOST) -> SigningKey:
    """A new key without a password in a directory of its own, for tests and own repositories.

    ``user`` is as in ``Trilby <trilby@example.org>``. Raises SigningFailed, ToolMissing.
    """
    home = os.path.abspath(home)
    os.makedirs(home, mode=0o700, exist_ok=True)
    inside = SigningKey("", home, how).inside()
    if how == "gpg":
        options = ["--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback"]
        command = ["gpg", *options, "--quick-generate-key", user, "rsa3072", "sign", "never"]
    else:
        name, _, mail = user.rstrip(">").partition(" <")
        command = ["sq", "--batch", "key", "generate", "--quiet", "--own-key"]
        command += ["--without-password", "--can-sign", "--cannot-authenticate"]
        command += ["--cannot-encrypt", "--name", name, "--email", mail]
    _run(tools, command, inside, f"make a key in {home}")
    return find_key(home, how=how, tools=tools)


def find_key(home: str, *, how: How = "gpg", tools: Tools = HOST) -> SigningKey:
    """The first secret key that a directory keeps. Raises KeyNotFound, SigningFailed."""
    home = os.path.abspath(home)
    if not os.path.isdir(home):
        raise KeyNotFound(f"there is no {home}", hint="make a key: trilby rpm sign --new-key")
    inside = SigningKey("", home, how).inside()
    if how == "gpg":
        command = ["gpg", "--batch", "--list-secret-keys", "--with-colons"]
        text = _run(tools, command, inside, f"list the keys in {home}")
        found = re.search(r"^[a-z]+:{9}([0-9A-F]{40,64}):", text, re.MULTILINE)
    else:
        text = _run(tools, ["sq", "--batch", "key", "list"], inside, f"list the keys in {home}")
        found = re.search(r"\b([0-9A-F]{40,64})\b", text)
    if found is None:
        raise KeyNotFound(f"{home} keeps no secret key", hint="make one: trilby rpm sign --new-key")
    return SigningKey(found[1], home, how)


def export_key(key: SigningKey, path: str, *, tools: Tools = HOST) -> None:
    """Write the public key, armored, as rpmkeys --import and dnf's gpgkey= take it."""
    if key.how == "gpg":
        command = ["gpg", "--batch", "--armor", "--export", key.fingerprint]
    else:
        command = ["sq", "--batch", "cert", "export", "--cert", key.fingerprint]
    text = _run(tools, command, key.inside(), f"export the key {key.fingerprint}")
    begin = text.find("-----BEGIN")
    atomic_write(path, (text[begin:].rstrip("\n") + "\n").encode(), mode=0o644)


def sign(packages: Sequence[str], key: SigningKey, *, tools: Tools = HOST) -> None:
    """Sign package files in place; a signature that is there already is replaced.

    Raises SigningFailed, ToolMissing.
    """
    if not packages:
        return
    tools.need("rpmsign", "gpg" if key.how == "gpg" else "sq")
    paths = [os.path.abspath(path) for path in packages]
    folders = tuple(sorted({os.path.dirname(path) for path in paths}))
    command = [
        "rpmsign",
        "--define",
        f"_openpgp_sign {key.how}",
        "--define",
        f"_openpgp_sign_id {key.fingerprint}",
        "--resign",
        *paths,
    ]
    _run(tools, command, key.inside(*folders), f"sign {len(paths)} packages")


def sign_file(path: str, key: SigningKey, *, tools: Tools = HOST) -> None:
    """Write an armored detached signature beside a file, as ``repomd.xml.asc``."""
    path = os.path.abspath(path)
    signature = path + ".asc"
    if os.path.exists(signature):
        os.unlink(signature)
    if key.how == "gpg":
        command = ["gpg", "--batch", "--yes", "--local-user", key.fingerprint]
        command += ["--armor", "--detach-sign", "--output", signature, path]
    else:
        command = ["sq", "--batch", "sign", "--signer", key.fingerprint]
        command += ["--signature-file", signature, path]
    _run(tools, command, key.inside(os.path.dirname(path)), f"sign {path}")


def _run(tools: Tools, command: Sequence[str], inside: Inside, what: str) -> str:
    try:
        return tools.run(command, inside).text
    except CommandFailed as error:
        said = (error.stderr or error.stdout).decode(errors="replace").strip()
        raise SigningFailed(f"cannot {what}: {said}", hint=f"again: {error.command}") from None
    finally:
        if _HOME_VARIABLE["gpg"] in inside.env and tools.has("gpgconf"):
            # GnuPG leaves an agent behind for each directory of keys; ours must not outlive us.
            tools.run(["gpgconf", "--kill", "gpg-agent"], inside, check=False)

"""Credential helpers: the programs docker-credential-NAME and their protocol.

Each takes one of get, store, erase and list as its argument, and JSON or a server's name on its
standard input.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from trilby.image.auth_files import Credentials
from trilby.image.errors import CredentialsError
from trilby.oci import codec
from trilby.oci.errors import MalformedDocument

if TYPE_CHECKING:
    from trilby.system.process import Completed

# Helpers may ask a password manager, and that a person.
_TIMEOUT = 120.0
_NOT_FOUND = "credentials not found in native keychain"
# The name under which a helper stores what is a token and not a password.
_TOKEN_USER = "<token>"


class _Entry(msgspec.Struct, frozen=True, rename={"server_url": "ServerURL"}):
    server_url: str = ""
    username: str = msgspec.field(name="Username", default="")
    secret: str = msgspec.field(name="Secret", default="")


class HelperMissing(CredentialsError):
    """The helper's program is not installed."""


def helper_get(helper: str, server: str) -> Credentials | None:
    """What the helper has for a server; None if nothing. Raises CredentialsError."""
    done = _call(helper, "get", server.encode())
    if done.returncode != 0:
        if _said(done).lower().startswith(_NOT_FOUND):
            return None
        raise _failed(helper, "get", server, done)
    entry = _decoded(_Entry, done.stdout, helper)
    if entry.username == _TOKEN_USER:
        return Credentials(identity_token=entry.secret)
    return Credentials(entry.username, entry.secret)


def helper_store(helper: str, server: str, credentials: Credentials) -> None:
    """Have the helper remember credentials; raises CredentialsError."""
    token = credentials.identity_token
    entry = _Entry(
        server, _TOKEN_USER if token else credentials.username, token or credentials.password
    )
    done = _call(helper, "store", codec.encode(entry))
    if done.returncode != 0:
        raise _failed(helper, "store", server, done)


def helper_erase(helper: str, server: str) -> bool:
    """Have the helper forget a server; False if it knew nothing. Raises CredentialsError."""
    done = _call(helper, "erase", server.encode())
    if done.returncode == 0:
        return True
    if _said(done).lower().startswith(_NOT_FOUND):
        return False
    raise _failed(helper, "erase", server, done)


def helper_list(helper: str) -> dict[str, str]:
    """Servers that the helper knows, with the user's name. Raises CredentialsError."""
    done = _call(helper, "list", b"")
    if done.returncode != 0:
        raise _failed(helper, "list", "", done)
    return _decoded(dict[str, str], done.stdout, helper)


def _call(helper: str, verb: str, stdin: bytes) -> Completed:
    from trilby.system.process import CommandFailed, run

    if "/" in helper:
        raise CredentialsError(f"credential helper {helper!r}: a helper is named without a path")
    program = f"docker-credential-{helper}"
    try:
        # Helpers live in people's own directories and read their own variables (AWS_..., ...).
        return run(
            [program, verb], env=dict(os.environ), stdin=stdin, timeout=_TIMEOUT, check=False
        )
    except CommandFailed as error:
        if error.timed_out:
            raise CredentialsError(f"{program} {verb}: no answer after {_TIMEOUT:.0f} s") from None
        raise HelperMissing(
            f"credential helper {program} cannot be run",
            hint="install it, or change credHelpers or credential-helpers that name it",
        ) from None


def _failed(helper: str, verb: str, server: str, done: Completed) -> CredentialsError:
    about = f" for {server}" if server else ""
    return CredentialsError(
        f"docker-credential-{helper} {verb}{about} failed: {_said(done) or done.returncode}"
    )


def _said(done: Completed) -> str:
    # By protocol a failure is explained on standard output; some write it to standard error.
    return (done.stdout.strip() or done.stderr.strip())[:2000].decode(errors="replace")


def _decoded(wanted: type[codec.T], data: bytes, helper: str) -> codec.T:
    try:
        return codec.decode(wanted, data, f"answer of docker-credential-{helper}")
    except MalformedDocument as error:
        raise CredentialsError(error.message) from None

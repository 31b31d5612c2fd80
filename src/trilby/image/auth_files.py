"""The auth.json files: where they are, what they hold, and changing one safely."""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from trilby.image.config_paths import environment, home, xdg_config
from trilby.image.errors import CredentialsError
from trilby.system.files import atomic_write, read_bytes_limited

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trilby.oci.codec import JsonValue

_FILE_LIMIT = 4 << 20
# Docker Hub's old names; all mean the same credentials.
_HUB = "index.docker.io"
_HUB_NAMES = frozenset({"docker.io", "registry-1.docker.io", _HUB})


class Credentials(msgspec.Struct, frozen=True):
    """A name and password, or an identity token to be exchanged (OAuth2 refresh token)."""

    username: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        # Never show a secret by accident, in a log or a traceback.
        return f"Credentials({self.username!r}, ***)"


class AuthPath(msgspec.Struct, frozen=True):
    """A place of credentials; ``legacy`` files hold hosts at the top level (~/.dockercfg)."""

    path: str
    legacy: bool = False
    # Somebody asked for exactly this file, so it must be there.
    chosen: bool = False
    # The directory that XDG_RUNTIME_DIR names; making it is not our business.
    runtime_dir: str = ""


def primary_path(authfile: str | None, env: Mapping[str, str] | None) -> AuthPath:
    """The file that is written: the chosen one, or the one in the runtime directory."""
    variables = environment(env)
    chosen = authfile or variables.get("REGISTRY_AUTH_FILE")
    if chosen:
        return AuthPath(chosen, chosen=True)
    runtime = variables.get("XDG_RUNTIME_DIR")
    if runtime:
        return AuthPath(os.path.join(runtime, "containers", "auth.json"), runtime_dir=runtime)
    return AuthPath(f"/run/containers/{os.getuid()}/auth.json")


def search_paths(authfile: str | None, env: Mapping[str, str] | None) -> list[AuthPath]:
    """The files that are read, in order; only the chosen one if there is one."""
    first = primary_path(authfile, env)
    if first.chosen:
        return [first]
    docker = environment(env).get("DOCKER_CONFIG") or os.path.join(home(env), ".docker")
    return [
        first,
        AuthPath(xdg_config("auth.json", env)),
        AuthPath(os.path.join(docker, "config.json")),
        AuthPath(os.path.join(home(env), ".dockercfg"), legacy=True),
    ]


class AuthFile:
    """The content of one file. Members that we do not know stay as they are."""

    def __init__(
        self,
        path: str,
        document: dict[str, JsonValue],
        legacy: bool = False,
        text: str = "",
    ) -> None:
        self.path = path
        self.document = document
        self._legacy = legacy
        self._text = text

    def _error(self, message: str, *keys: str, hint: str = "") -> CredentialsError:
        from trilby.system.positions import json_loads

        # Lines are looked for only when there is something to complain about.
        where = json_loads(self._text, self.path)[1].where(keys) if self._text else self.path
        return CredentialsError(f"{where}: {message}", hint=hint)

    def _entry_error(self, key: str, message: str, hint: str = "") -> CredentialsError:
        parents = () if self._legacy else ("auths",)
        return self._error(message, *parents, key, hint=hint)

    def _table(self, name: str) -> dict[str, JsonValue]:
        table = self.document.get(name)
        if table is None:
            return {}
        if not isinstance(table, dict):
            raise self._error(f"{name} must be an object", name)
        return table

    @property
    def entries(self) -> dict[str, JsonValue]:
        """The stored credentials by key (host, or host and part of a repository)."""
        return dict(self.document) if self._legacy else self._table("auths")

    def helper_for(self, registry: str) -> tuple[str, str] | None:
        """The credential helper of a registry, and what the file calls the registry."""
        if self._legacy:
            return None
        helpers = self._table("credHelpers")
        wanted = normalise_key(registry)
        for key in (registry, *(key for key in helpers if normalise_key(key) == wanted)):
            name = helpers.get(key)
            if isinstance(name, str) and name:
                return name, key
        return None

    def helpers(self) -> dict[str, str]:
        """Registries with a helper of their own, and its name."""
        table = {} if self._legacy else self._table("credHelpers")
        return {key: name for key, name in table.items() if isinstance(name, str)}

    @property
    def store_helper(self) -> str:
        """Docker's ``credsStore``: the helper of everything else."""
        name = "" if self._legacy else self.document.get("credsStore")
        return name if isinstance(name, str) else ""

    def find(self, key: str) -> str | None:
        """The most specific entry's key for a repository: itself, its parents, its host."""
        entries = self.entries
        for candidate in lookup_order(key):
            if candidate in entries:
                return candidate
        wanted = normalise_key(key.partition("/")[0])
        for candidate in entries:
            if normalise_key(candidate) == wanted:
                return candidate
        return None

    def credentials(self, key: str) -> Credentials | None:
        """What the entry ``key`` says; None if it is empty. Raises CredentialsError."""
        entry = self.entries.get(key)
        if entry is None:
            return None
        if not isinstance(entry, dict):
            raise self._entry_error(key, f"the entry {key!r} must be an object")
        token = entry.get("identitytoken")
        identity_token = token if isinstance(token, str) else ""
        username, password = self._name_and_password(key, entry)
        if not (username or password or identity_token):
            return None
        return Credentials(username, password, identity_token)

    def _name_and_password(self, key: str, entry: dict[str, JsonValue]) -> tuple[str, str]:
        auth = entry.get("auth", "")
        if not isinstance(auth, str):
            raise self._entry_error(key, f"auth of {key!r} must be a string")
        if not auth:
            # Kubernetes' image pull secrets may have them in the clear instead.
            name, secret = entry.get("username"), entry.get("password")
            return (name, secret) if isinstance(name, str) and isinstance(secret, str) else ("", "")
        try:
            return decode_basic(auth)
        except CredentialsError as error:
            raise self._entry_error(
                key, f"auth of {key!r} {error.message}", hint=f"log in to {key} again"
            ) from None


def decode_basic(auth: str) -> tuple[str, str]:
    """User and password of base64 of ``user:password``; both empty if there is no colon.

    Raises CredentialsError. The text is a secret and never in a message.
    """
    try:
        decoded = base64.b64decode(auth, validate=True).decode()
    except (binascii.Error, ValueError):
        raise CredentialsError("is not base64 of user:password") from None
    username, colon, password = decoded.partition(":")
    # Some tools pad the password.
    return (username, password.strip("\0")) if colon else ("", "")


def read_auth_file(place: AuthPath) -> AuthFile | None:
    """Read one file; None if there is none. Raises CredentialsError naming the file and line."""
    try:
        data = read_bytes_limited(place.path, _FILE_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CredentialsError(
            f"{place.path}: cannot read credentials: {error.strerror or error}"
        ) from error
    if not data.strip():
        return AuthFile(place.path, {}, place.legacy)
    try:
        text = data.decode()
        document: JsonValue = json.loads(text)
    except json.JSONDecodeError as error:
        raise CredentialsError(f"{place.path}:{error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise CredentialsError(f"{place.path}: not a JSON document: {error}") from None
    if not isinstance(document, dict):
        raise CredentialsError(f"{place.path}:1: must be a JSON object")
    return AuthFile(place.path, document, place.legacy, text)


@contextmanager
def changing(place: AuthPath) -> Iterator[AuthFile]:
    """Read a file, let the caller change ``document``, and write it if it did change.

    Nobody else's change between the two is lost; the file is 0600 and replaced atomically.
    """
    if place.runtime_dir and not os.path.isdir(place.runtime_dir):
        raise CredentialsError(
            f"{place.path}: cannot write credentials: the directory {place.runtime_dir}, which"
            " XDG_RUNTIME_DIR names, does not exist",
            hint="create it, or unset XDG_RUNTIME_DIR",
        )
    # A link stays a link: what it points to is replaced.
    path = os.path.realpath(place.path)
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        # The directory serves as the lock: other tools would stumble over one more file.
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot_write(place, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = read_auth_file(place) or AuthFile(place.path, {})
        before = json.dumps(file.document)
        yield file
        if json.dumps(file.document) != before:
            text = json.dumps(file.document, indent="\t", ensure_ascii=False)
            atomic_write(path, text.encode(), mode=0o600)
    except OSError as error:
        raise _cannot_write(place, error) from error
    finally:
        os.close(lock)


def _cannot_write(place: AuthPath, error: OSError) -> CredentialsError:
    return CredentialsError(f"{place.path}: cannot write credentials: {error.strerror or error}")


def encode_entry(credentials: Credentials) -> dict[str, JsonValue]:
    """The member of ``auths`` for these credentials."""
    pair = f"{credentials.username}:{credentials.password}".encode()
    entry: dict[str, JsonValue] = {"auth": base64.b64encode(pair).decode()}
    if credentials.identity_token:
        entry["identitytoken"] = credentials.identity_token
    return entry


def lookup_order(key: str) -> list[str]:
    """A repository's key and its parents, most specific first, the host last."""
    keys = [key]
    while "/" in key:
        key = key.rpartition("/")[0]
        keys.append(key)
    return keys


def normalise_key(key: str) -> str:
    """The host of an entry that may be a URL, with Docker Hub's names made one."""
    host = key.removeprefix("https://").removeprefix("http://").partition("/")[0]
    # An entry for a namespace stands for that namespace alone, never for its host.
    is_url = host != key.partition("/")[0]
    if "/" in key and not is_url:
        return key
    return _HUB if host in _HUB_NAMES else host

"""Registry credentials in auth.json and in credential helpers (containers-auth.json(5)).

``helpers`` is what registries.conf calls credential-helpers: the order in which to ask, where
``containers-auth.json`` means the files. All functions block: helpers are programs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence

from trilby.image.auth_files import (
    AuthFile,
    AuthPath,
    Credentials,
    changing,
    decode_basic,
    encode_entry,
    lookup_order,
    normalise_key,
    primary_path,
    read_auth_file,
    search_paths,
)
from trilby.image.auth_helpers import (
    HelperMissing,
    helper_erase,
    helper_get,
    helper_list,
    helper_store,
)
from trilby.image.errors import CredentialsError, CredentialsNotFound, InvalidReference
from trilby.image.reference import parse_repository

__all__ = [
    "DEFAULT_HELPERS",
    "Credentials",
    "decode_basic",
    "get_credentials",
    "list_credentials",
    "remove_all_credentials",
    "remove_credentials",
    "store_credentials",
]

_log = logging.getLogger(__name__)

_FILES = "containers-auth.json"
DEFAULT_HELPERS = (_FILES,)
_Path = str | os.PathLike[str] | None


def get_credentials(
    key: str,
    *,
    authfile: _Path = None,
    helpers: Sequence[str] = DEFAULT_HELPERS,
    env: Mapping[str, str] | None = None,
) -> Credentials | None:
    """What to show a registry; ``key`` is ``host[:port][/namespace[/repository]]``.

    None: nothing is stored, be anonymous. A file that cannot be read is an error only if no other
    place has an answer. Raises CredentialsError.
    """
    problem: CredentialsError | None = None
    for helper in helpers:
        try:
            if helper == _FILES:
                found = _from_files(key, search_paths(_text(authfile), env))
            else:
                found = helper_get(helper, key.partition("/")[0])
        except CredentialsError as error:
            problem = problem or error
            continue
        if found is not None:
            return found
    if problem is not None:
        raise problem
    return None


def store_credentials(
    key: str,
    credentials: Credentials,
    *,
    authfile: _Path = None,
    helpers: Sequence[str] = DEFAULT_HELPERS,
    env: Mapping[str, str] | None = None,
) -> str:
    """Remember credentials; returns where (a path, or a helper's name). Raises CredentialsError."""
    _check_key(key)
    problem: CredentialsError | None = None
    for helper in helpers:
        try:
            if helper == _FILES:
                return _store_in_file(key, credentials, primary_path(_text(authfile), env))
            _refuse_namespace(key, helper)
            helper_store(helper, key, credentials)
            return helper
        except CredentialsError as error:
            problem = problem or error
    raise problem or CredentialsError(f"storing credentials of {key}: no place is configured")


def remove_credentials(
    key: str,
    *,
    authfile: _Path = None,
    helpers: Sequence[str] = DEFAULT_HELPERS,
    env: Mapping[str, str] | None = None,
) -> None:
    """Forget one entry; raises CredentialsNotFound, CredentialsError."""
    _check_key(key)
    removed = False
    for helper in helpers:
        if helper == _FILES:
            removed |= _remove_from_file(key, primary_path(_text(authfile), env))
        elif "/" not in key:
            removed |= helper_erase(helper, key)
    if removed:
        return
    path = primary_path(_text(authfile), env).path
    elsewhere = get_credentials(key, authfile=authfile, helpers=helpers, env=env)
    raise CredentialsNotFound(
        f"not logged in to {key} ({path})",
        hint="another file has credentials for it; choose that one" if elsewhere else "",
    )


def remove_all_credentials(
    *,
    authfile: _Path = None,
    helpers: Sequence[str] = DEFAULT_HELPERS,
    env: Mapping[str, str] | None = None,
) -> list[str]:
    """Forget every entry; returns the keys that there were. Raises CredentialsError."""
    removed: list[str] = []
    for helper in helpers:
        if helper != _FILES:
            removed += [server for server in helper_list(helper) if helper_erase(helper, server)]
            continue
        place = primary_path(_text(authfile), env)
        if read_auth_file(place) is None:
            continue
        with changing(place) as file:
            for server, name in file.helpers().items():
                if helper_erase(name, server):
                    removed.append(server)
            removed += file.entries
            file.document["auths"] = {}
    return sorted(set(removed))


def list_credentials(
    *,
    authfile: _Path = None,
    helpers: Sequence[str] = DEFAULT_HELPERS,
    env: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Keys and user names of all that is stored; the first place to name a key wins."""
    found: dict[str, str] = {}
    for helper in helpers:
        if helper != _FILES:
            for server, user in helper_list(helper).items():
                found.setdefault(server, user)
            continue
        for place in search_paths(_text(authfile), env):
            file = read_auth_file(place)
            for key, user in ({} if file is None else _users(file)).items():
                found.setdefault(key, user)
    return found


def _users(file: AuthFile) -> dict[str, str]:
    users: dict[str, str] = {}
    for server, name in file.helpers().items():
        held = helper_get(name, server)
        if held is not None:
            users[server] = held.username
    for key in file.entries:
        held = file.credentials(key)
        if held is not None:
            users.setdefault(key, held.username)
    return users


def _from_files(key: str, places: Sequence[AuthPath]) -> Credentials | None:
    problem: CredentialsError | None = None
    for place in places:
        try:
            file = read_auth_file(place)
            if file is None and place.chosen:
                raise CredentialsError(
                    f"{place.path}: credentials file does not exist",
                    hint="it was chosen by --authfile or REGISTRY_AUTH_FILE",
                )
            found = None if file is None else _from_file(file, key)
        except CredentialsError as error:
            problem = problem or error
            continue
        if found is not None:
            return found
    if problem is not None:
        raise problem
    return None


def _from_file(file: AuthFile, key: str) -> Credentials | None:
    registry = key.partition("/")[0]
    helper = file.helper_for(registry)
    if helper is not None:
        return helper_get(*helper)
    entry = file.find(key)
    found = None if entry is None else file.credentials(entry)
    if found is None and file.store_helper:
        server = registry
        if normalise_key(registry) == normalise_key("docker.io"):
            # The only name under which Docker stores its own registry.
            server = "https://index.docker.io/v1/"
        try:
            return helper_get(file.store_helper, server)
        except HelperMissing as error:
            _log.info("%s: credsStore ignored: %s", file.path, error)
    return found


def _store_in_file(key: str, credentials: Credentials, place: AuthPath) -> str:
    with changing(place) as file:
        helper = file.helper_for(key)
        if helper is not None:
            helper_store(helper[0], helper[1], credentials)
            return helper[0]
        file.document["auths"] = {**file.entries, key: encode_entry(credentials)}
    return place.path


def _remove_from_file(key: str, place: AuthPath) -> bool:
    if read_auth_file(place) is None:
        return False
    with changing(place) as file:
        helper = file.helper_for(key)
        erased = helper is not None and helper_erase(*helper)
        entries = file.entries
        wanted = normalise_key(key)
        doomed = [entry for entry in entries if entry == key or normalise_key(entry) == wanted]
        if doomed:
            file.document["auths"] = {
                entry: value for entry, value in entries.items() if entry not in doomed
            }
    return erased or bool(doomed)


def _check_key(key: str) -> None:
    try:
        parse_repository(key)
    except InvalidReference as error:
        raise CredentialsError(
            f"cannot log in to {key!r}: {error.message}",
            hint="a key is host[:port][/namespace[/repository]], with no scheme, tag or digest",
        ) from None


def _refuse_namespace(key: str, helper: str) -> None:
    if len(lookup_order(key)) > 1:
        raise CredentialsError(
            f"credential helper {helper} cannot store {key!r}: it knows whole registries only"
        )


def _text(path: _Path) -> str | None:
    return None if path is None else os.fspath(path)

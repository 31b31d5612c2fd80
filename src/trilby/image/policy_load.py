"""Reading policy.json. Nothing is overlooked here: what is not understood is an error."""

from __future__ import annotations

import base64
import binascii
import json
import os
from typing import TYPE_CHECKING

from trilby.image.config_document import Section
from trilby.image.config_paths import user_config
from trilby.image.errors import ConfigError, InvalidReference
from trilby.image.policy import (
    AcceptAnything,
    Policy,
    Reject,
    Requirement,
    Requirements,
    SignedBy,
    Unsupported,
)
from trilby.image.policy_identity import (
    ExactReference,
    ExactRepository,
    Identity,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    RemapIdentity,
    is_prefix,
)
from trilby.image.policy_scopes import scope_problem
from trilby.image.policy_sigstore import read_sigstore_signed
from trilby.image.reference import Reference, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trilby.oci.codec import JsonValue

SYSTEM_FILE = "/etc/containers/policy.json"
# Where a distribution's own default goes, when /etc is for the administrator alone.
VENDOR_FILE = "/usr/share/containers/policy.json"
_FILE_LIMIT = 4 << 20
_KEY_TYPES = ("GPGKeys", "signedByGPGKeys", "X509Certificates", "signedByX509CAs")


def load(path: str | None, env: Mapping[str, str] | None) -> Policy:
    """Find and read the file; see policy.load_policy()."""
    if path is None:
        own = user_config("policy.json", env)
        places = (own, SYSTEM_FILE, VENDOR_FILE)
        path = next((each for each in places if os.path.exists(each)), None)
        if path is None:
            raise ConfigError(
                f"{SYSTEM_FILE}: no policy.json file found (nor {own}, {VENDOR_FILE})",
                hint="install containers-common, or write one; see containers-policy.json(5)",
            )
    return parse_policy(_read(path))


def parse_policy(section: Section) -> Policy:
    """What the file says; raises ConfigError."""
    default = _requirements(section, "default")
    transports: dict[str, dict[str, Requirements]] = {}
    table = section.section("transports")
    for transport in () if table is None else table.names():
        assert table is not None
        scopes = table.section(transport)
        assert scopes is not None
        transports[transport] = {}
        for scope in scopes.names():
            problem = scope_problem(transport, scope)
            if problem:
                raise scopes.error(f"invalid scope {scope!r} of {transport}: {problem}", scope)
            transports[transport][scope] = _requirements(scopes, scope)
    _refuse_unknown(section)
    return Policy(default, transports, section.path)


def _read(path: str) -> Section:
    from trilby.system.errors import ConfigSyntaxError
    from trilby.system.files import read_bytes_limited
    from trilby.system.positions import json_loads

    try:
        text = read_bytes_limited(path, _FILE_LIMIT).decode()
        data, positions = json_loads(text, path)
    except ConfigSyntaxError as error:
        raise ConfigError(error.message) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: it is not UTF-8 text") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot read it: {error.strerror or error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}:1: must be a JSON object")
    duplicate = _duplicate(text)
    if duplicate is not None:
        raise ConfigError(f"{positions.where(duplicate)}: duplicate key {duplicate[-1]!r}")
    return Section(path, data, positions.line)


class _Object(dict[str, "JsonValue"]):
    """An object that remembers a key which it was given twice."""

    twice: str | None = None

    def __init__(self, pairs: list[tuple[str, JsonValue]]) -> None:
        super().__init__(pairs)
        if len(self) != len(pairs):
            names = [name for name, _ in pairs]
            self.twice = next(name for name in names if names.count(name) > 1)


def _duplicate(text: str) -> tuple[str | int, ...] | None:
    """The path of a key that is there twice, if there is one."""
    pending: list[tuple[tuple[str | int, ...], JsonValue]] = [
        ((), json.loads(text, object_pairs_hook=_Object))
    ]
    while pending:
        keys, value = pending.pop()
        if isinstance(value, _Object):
            if value.twice is not None:
                return (*keys, value.twice)
            pending += [((*keys, name), item) for name, item in value.items()]
        elif isinstance(value, list):
            pending += [((*keys, index), item) for index, item in enumerate(value)]
    return None


def _requirements(section: Section, name: str) -> Requirements:
    entries = section.sections(name)
    if not entries:
        raise section.error(f"{name!r} needs a list of at least one requirement", name)
    return tuple(_requirement(entry) for entry in entries)


def _requirement(entry: Section) -> Requirement:
    kind = entry.string("type")
    where = entry.where().rstrip(":")
    requirement: Requirement
    if kind == "insecureAcceptAnything":
        requirement = AcceptAnything()
    elif kind == "reject":
        requirement = Reject(where)
    elif kind == "signedBy":
        requirement = _signed_by(entry, where)
    elif kind == "signedBaseLayer":
        _identity(entry, "baseLayerIdentity")
        requirement = Unsupported(kind, where)
    elif kind == "sigstoreSigned":
        read_sigstore_signed(entry)
        _identity(entry, "signedIdentity")
        requirement = Unsupported(kind, where)
    else:
        raise entry.error(f"unknown policy requirement type {kind!r}", "type")
    _refuse_unknown(entry)
    return requirement


def _signed_by(entry: Section, where: str) -> Requirement:
    key_type = entry.string("keyType")
    if key_type not in _KEY_TYPES:
        raise entry.error(f"invalid keyType {key_type!r}", "keyType", hint="use GPGKeys")
    sources = [name for name in ("keyPath", "keyPaths", "keyData") if name in entry]
    if len(sources) != 1:
        raise entry.error("exactly one of keyPath, keyPaths and keyData must be specified")
    paths = entry.strings("keyPaths") or (entry.string("keyPath"),)
    data = entry.string("keyData")
    if sources[0] != "keyData" and not all(paths):
        raise entry.error(f"{sources[0]} must name a file", sources[0])
    try:
        decoded = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise entry.error("keyData must be base64 of a keyring", "keyData") from None
    if sources[0] == "keyData" and not decoded:
        raise entry.error("keyData must be base64 of a keyring", "keyData")
    identity = _identity(entry, "signedIdentity")
    if key_type != "GPGKeys":
        return Unsupported(f"signedBy with keyType {key_type}", where)
    return SignedBy(identity, () if decoded else paths, decoded, where)


def _identity(entry: Section, name: str) -> Identity:
    table = entry.section(name)
    if table is None:
        return MatchRepoDigestOrExact()
    kind = table.string("type")
    identity: Identity
    if kind in _PLAIN_IDENTITIES:
        identity = _PLAIN_IDENTITIES[kind]()
    elif kind == "exactReference":
        identity = ExactReference(_named(table, "dockerReference", exact=True))
    elif kind == "exactRepository":
        identity = ExactRepository(_named(table, "dockerRepository", exact=False))
    elif kind == "remapIdentity":
        for key in ("prefix", "signedPrefix"):
            if not is_prefix(table.string(key)):
                raise table.error(f"{key} must be like host[:port][/namespace]", key)
        identity = RemapIdentity(table.string("prefix"), table.string("signedPrefix"))
    else:
        raise table.error(f"unknown type of {name} {kind!r}", "type")
    _refuse_unknown(table)
    return identity


_PLAIN_IDENTITIES: Mapping[str, Callable[[], Identity]] = {
    "matchRepoDigestOrExact": MatchRepoDigestOrExact,
    "matchExact": MatchExact,
    "matchRepository": MatchRepository,
}


def _named(table: Section, key: str, *, exact: bool) -> Reference:
    try:
        reference = parse(table.string(key))
    except InvalidReference as error:
        raise table.error(f"{key}: {error.message}", key) from None
    if exact and reference.is_name_only:
        raise table.error(f"{key} {str(reference)!r} needs a tag or a digest", key)
    return reference


def _refuse_unknown(section: Section) -> None:
    complaints = section.unknown()
    if complaints:
        raise ConfigError(complaints[0])

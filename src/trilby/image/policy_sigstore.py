"""sigstoreSigned in policy.json: read strictly, so that a wrong file is found today."""

from __future__ import annotations

from trilby.image.config_document import Section
from trilby.image.errors import ConfigError

_KEYS = ("keyPath", "keyPaths", "keyData", "keyDatas")
_SOURCES = (*_KEYS, "fulcio", "pki")
_REKOR = (
    "rekorPublicKeyPath",
    "rekorPublicKeyPaths",
    "rekorPublicKeyData",
    "rekorPublicKeyDatas",
)


def read_sigstore_signed(entry: Section) -> None:
    """Check the members that say which keys are trusted; raises ConfigError."""
    sources = [name for name in _SOURCES if name in entry]
    if len(sources) != 1:
        raise entry.error(f"exactly one of {', '.join(_SOURCES)} must be specified")
    rekor = [name for name in _REKOR if name in entry]
    if len(rekor) > 1:
        raise entry.error(f"at most one of {', '.join(_REKOR)} must be specified", rekor[1])
    for name in (*_KEYS, *_REKOR):
        _text_or_list(entry, name)
    if sources[0] == "fulcio":
        if not rekor:
            raise entry.error("fulcio needs one of the rekorPublicKey settings", "fulcio")
        _fulcio(entry)
    elif sources[0] == "pki":
        if rekor:
            raise entry.error(f"{rekor[0]} cannot be used with pki", rekor[0])
        _pki(entry)


def _text_or_list(section: Section, name: str) -> None:
    if name.endswith("s"):
        if section.strings(name) == ():
            raise section.error(f"{name} must not be empty", name)
    elif name in section and not section.string(name):
        raise section.error(f"{name} must not be empty", name)


def _fulcio(entry: Section) -> None:
    table = entry.section("fulcio")
    assert table is not None
    _one_of(table, "caPath", "caData")
    for name in ("oidcIssuer", "subjectEmail"):
        if not table.string(name):
            raise table.error(f"fulcio needs {name}")
    _finish(table)


def _pki(entry: Section) -> None:
    table = entry.section("pki")
    assert table is not None
    _one_of(table, "caRootsPath", "caRootsData")
    if "caIntermediatesPath" in table or "caIntermediatesData" in table:
        _one_of(table, "caIntermediatesPath", "caIntermediatesData")
    if not (table.string("subjectHostname") or table.string("subjectEmail")):
        raise table.error("pki needs subjectHostname or subjectEmail")
    _finish(table)


def _one_of(table: Section, first: str, second: str) -> None:
    if bool(table.string(first)) == bool(table.string(second)):
        raise table.error(f"exactly one of {first} and {second} must be specified")


def _finish(table: Section) -> None:
    complaints = table.unknown()
    if complaints:
        raise ConfigError(complaints[0])

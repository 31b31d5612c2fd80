"""Scopes of policy.json and registries.d: which sections apply to an image, most specific first."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from trilby.image.errors import InvalidReference
from trilby.image.reference import Reference, parse

_PATH_TRANSPORTS = frozenset({"dir", "oci", "oci-archive", "sif"})
_SCOPELESS = frozenset({"docker-archive", "tarball"})


def scopes_of(transport: str, scope: str) -> Iterator[str]:
    """The scopes of an image, its own first; the empty scope, which all have, is not among them.

    ``scope`` is the image's own: a full reference for docker, a path (with ``:reference`` for oci
    and oci-archive) where images are files, ``[driver@graphroot]reference@id`` for
    containers-storage.
    """
    if not scope or transport in _SCOPELESS:
        return
    yield scope
    if transport in _PATH_TRANSPORTS:
        yield from _path_parents(transport, scope)
    elif transport == "containers-storage" and scope.startswith("["):
        yield from _storage_parents(scope)
    else:
        reference = _reference(scope)
        if reference is not None:
            yield from _without(docker_scopes(reference), scope)


def docker_scopes(reference: Reference) -> Iterator[str]:
    """A name with its tag or digest, the name, its namespaces, its host, then ``*.domains``."""
    if not reference.is_name_only:
        yield str(reference)
    if reference.tag and reference.digest:
        yield f"{reference.name}:{reference.tag}"
    yield from _parents(reference.name)
    # Wildcards know no port: *.example.com is for every port.
    host = reference.domain.partition(":")[0]
    while "." in host:
        host = host.partition(".")[2]
        yield f"*.{host}"


def scope_problem(transport: str, scope: str) -> str:
    """Why a policy file cannot have this scope, or nothing."""
    if not scope:
        return ""
    if transport in _SCOPELESS:
        return f'{transport} has no scopes but the default one, ""'
    if transport not in _PATH_TRANSPORTS:
        return ""
    path = scope.partition(":")[0] if transport in ("oci", "oci-archive") else scope
    if not path.startswith("/"):
        return "it must be an absolute path"
    if path == "/":
        return 'use the default scope "" instead of "/"'
    if posixpath.normpath(path) != path:
        return f"write it as {posixpath.normpath(path)!r}"
    return ""


def _path_parents(transport: str, scope: str) -> Iterator[str]:
    path = scope
    if transport in ("oci", "oci-archive"):
        path = scope.partition(":")[0]
        if path != scope:
            yield path
    while True:
        path = posixpath.dirname(path)
        if path in ("", "/"):
            return
        yield path


def _storage_parents(scope: str) -> Iterator[str]:
    store, _, rest = scope.partition("]")
    driver, at, root = store.removeprefix("[").partition("@")
    name, _, image_id = rest.rpartition("@")
    reference = _reference(rest)
    if reference is None and name and ":" not in image_id:
        # "reference@id", where an ID is bare hex and a digest is not.
        reference = _reference(name)
        if reference is not None:
            yield f"{store}]{name}"
    if reference is not None:
        if reference.tag and reference.digest:
            yield f"{store}]{reference.name}:{reference.tag}"
        for parent in _parents(reference.name):
            yield f"{store}]{parent}"
    yield f"{store}]"
    if at and driver:
        yield f"[{root}]"


def _parents(name: str) -> Iterator[str]:
    yield name
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _without(scopes: Iterator[str], known: str) -> Iterator[str]:
    return (scope for scope in scopes if scope != known)


def _reference(text: str) -> Reference | None:
    try:
        return parse(text) if text else None
    except InvalidReference:
        return None

"""Names that pulled images get, and the one error for all that a short name could have meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trilby.errors import NotFound, TrilbyError, Unauthorized
from trilby.image.copy_errors import (
    CandidatesFailed,
    CandidatesNotFound,
    CandidatesUnauthorized,
)
from trilby.image.errors import InvalidReference
from trilby.image.reference import Reference
from trilby.image.transports.names import local_name, stored_name

if TYPE_CHECKING:
    from trilby.image.transport import Source


def local_names(source: Source, transport: str, rest: str) -> tuple[str, ...]:
    """The names that an image from elsewhere than a registry gets here, as podman names them."""
    from trilby.image.transports.docker_archive import DockerArchiveSource

    if isinstance(source, DockerArchiveSource):
        if source.docker_reference is not None and ":" in rest and "@" not in rest:
            return (stored_name(source.docker_reference),)
        return tuple(stored_name(reference) for tag in source.tags if (reference := _parsed(tag)))
    if source.docker_reference is not None:
        return (stored_name(source.docker_reference),)
    path, _, name = rest.partition(":")
    text = name if name and not name.startswith("@") else path.lstrip("/")
    try:
        return (stored_name(local_name(text)),)
    except InvalidReference:
        return ()


def _parsed(text: str) -> Reference | None:
    try:
        return Reference.parse(text).with_default_tag()
    except InvalidReference:
        return None


def combined_failure(name: str, failures: list[tuple[Reference, TrilbyError]]) -> TrilbyError:
    """One error for all candidates of a short name, of the kind that fits them all."""
    errors = [error for _, error in failures]
    listed = "; ".join(f"{reference}: {error.message}" for reference, error in failures)
    message = f"pulling {name!r}: {len(failures)} candidates were tried: {listed}"
    hint = "write the registry too, like docker.io/library/busybox"
    if all(isinstance(error, NotFound) for error in errors):
        return CandidatesNotFound(message, hint=hint)
    if all(isinstance(error, NotFound | Unauthorized) for error in errors):
        return CandidatesUnauthorized(message, hint=f"{hint}, or log in")
    return CandidatesFailed(message, hint=hint)

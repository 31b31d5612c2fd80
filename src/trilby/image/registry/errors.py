"""What can go wrong between us and a registry, by kind.

Every message names the action, the registry's host, the repository and the digest or tag.
Fragments that scripts look for are kept: ``manifest unknown``, ``unauthorized``, ``authentication
required``, ``requested access to the resource is denied``, ``toomanyrequests``, ``x509:``,
``server gave HTTP response to HTTPS client``.
"""

from __future__ import annotations

from typing import ClassVar

from trilby.errors import Conflict, Corrupt, InvalidInput, NotFound, Refused
from trilby.image import errors as image_errors
from trilby.image.errors import ImageError


class RegistryError(ImageError):
    """A registry, or the way to it, failed.

    ``status`` is the HTTP status, 0 if there was none. ``transient``: the same request may succeed
    soon. ``retry_after``: seconds that the server asks us to wait, None if it does not say.
    ``advice`` is the hint where whoever raises the error has none that is better.
    """

    advice: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        status: int = 0,
        transient: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint or self.advice)
        self.status = status
        self.transient = transient
        self.retry_after = retry_after


class RegistryUnauthorized(RegistryError, image_errors.RegistryUnauthorized):
    """401 or 403 after every credential that we have was tried, or the token server refused."""


class RegistryNotFound(RegistryError, NotFound):
    """404 that says nothing more. ``words`` are used when the registry has none."""

    words: ClassVar[str] = "not found"
    advice = "check the name"


class ManifestUnknown(RegistryNotFound, image_errors.ManifestUnknown):
    """The repository has no such tag or digest, or there is no such repository."""

    words = "manifest unknown"
    advice = "check the name and the tag"


class RepositoryUnknown(RegistryNotFound):
    """The registry has no such repository."""

    words = "name unknown"


class BlobUnknown(RegistryNotFound, image_errors.BlobUnknown):
    """The repository has no such blob."""

    words = "blob unknown"
    advice = "the registry lost a part of the image; push it again, or use a mirror"


class RegistryUnavailable(RegistryError, image_errors.RegistryUnavailable):
    """No connection, a timeout, 5xx, or a dropped connection; retries are used up."""

    advice = "try again later, or use a mirror"


class NoConnection(RegistryUnavailable):
    """The connection could not even be made: no such host, refused, timed out."""

    advice = "check the registry's name and port, and the way to it"


class TooManyRequests(RegistryUnavailable):
    """429 after the allowed number of waits."""


class TlsFailure(RegistryUnavailable):
    """The TLS handshake failed: untrusted or expired certificate, wrong name, no TLS there."""


class BadResponse(RegistryUnavailable):
    """The answer is no registry's: HTML, wrong headers, broken JSON, endless redirects."""

    advice = "a proxy or a login page may be in the way"


class TooLarge(RegistryError, Corrupt):
    """A document is larger than its limit."""

    advice = "no proper image is like that; ask whoever pushed it"


class ContentMismatch(RegistryError, image_errors.DigestMismatch):
    """Bytes are not what their digest or length says."""

    advice = "the registry's copy or a proxy on the way is damaged; try again, or use a mirror"


class RegistryRefused(RegistryError, Refused):
    """The registry does not do this: 405, deletion switched off, read-only; or we do not."""


class RegistryConflict(RegistryError, Conflict):
    """The registry's state forbids it: an immutable tag, an upload that vanished."""


class ManifestRejected(RegistryError, InvalidInput):
    """The registry does not take this manifest; another type may be accepted."""


class InvalidRequest(RegistryError, InvalidInput):
    """The registry says that the request is wrong (400 and its kin), and not why it could be us."""


class MirrorsFailed(RegistryUnavailable):
    """Every endpoint failed; the message lists all of them with their reasons."""

"""Checking manifests that a registry sent: digest, content type, plausibility."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from trilby.image.registry.errors import BadResponse, ContentMismatch
from trilby.oci import media
from trilby.oci.digest import Digest
from trilby.oci.errors import InvalidDigest

#: What we ask for.
ACCEPT = (media.OCI_INDEX, media.OCI_MANIFEST, media.DOCKER_LIST, media.DOCKER_MANIFEST)
_KNOWN = frozenset({*ACCEPT, media.DOCKER_SCHEMA1, media.DOCKER_SCHEMA1_SIGNED})


class FetchedManifest(msgspec.Struct, frozen=True):
    """A manifest as the registry sent it.

    ``media_type`` is "" if the registry's Content-Type says nothing useful. ``digest`` is computed
    from ``raw``, never believed.
    """

    raw: bytes
    media_type: str
    digest: Digest


def check(raw: bytes, headers: Mapping[str, str], reference: str, doing: str) -> FetchedManifest:
    """Verify against ``reference``, if that is a digest, and the registry's own claim.

    Raises ContentMismatch, or BadResponse for what is no JSON document at all.
    """
    content_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if not raw.lstrip()[:1] == b"{":
        kind = content_type or "something without a type"
        raise BadResponse(
            f"{doing}: the registry answered with {kind}, that is no manifest",
            hint="a proxy or a login page may be in the way",
        )
    media_type = content_type if content_type in _KNOWN else ""
    wanted = _digest_or_none(reference)
    digest = Digest.of(raw, wanted.algorithm if wanted else "sha256")
    if wanted is not None and digest != wanted:
        raise ContentMismatch(
            f"{doing}: the manifest that came has the digest {digest}",
            hint="the registry or mirror serves another image under this digest",
        )
    claimed = claimed_digest(headers)
    # The signatures in signed schema 1 are not part of what its digest covers.
    if wanted is None and claimed is not None and media_type != media.DOCKER_SCHEMA1_SIGNED:
        if not claimed.matches(raw):
            raise ContentMismatch(
                f"{doing}: the registry says that its digest is {claimed}, but it is {digest}"
            )
    return FetchedManifest(raw, media_type, digest)


def claimed_digest(headers: Mapping[str, str]) -> Digest | None:
    """Docker-Content-Digest, if there is one that can be read."""
    return _digest_or_none(headers.get("Docker-Content-Digest", ""))


def _digest_or_none(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except InvalidDigest:
        return None

"""policy.json: which images are trusted (containers-policy.json(5)).

The most specific scope's requirements apply, and no other; all of them must be met.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

from trilby.image.errors import InvalidSignature, PolicyRefused
from trilby.image.policy_identity import Identity
from trilby.image.policy_scopes import scopes_of
from trilby.image.reference import Reference
from trilby.oci.digest import Digest

if TYPE_CHECKING:
    from pysequoia import Cert

KEY_LIMIT = 16 << 20


class SignedImage(msgspec.Struct, frozen=True):
    """What a policy decides about: one manifest, with what claims to be its signatures.

    ``reference`` names it in messages; ``docker_reference`` is its full name if the transport
    gives one (docker, containers-storage).
    """

    reference: str
    docker_reference: Reference | None
    manifest: bytes
    signatures: tuple[bytes, ...] = ()


class Requirement(Protocol):
    """One entry of a list of requirements."""

    @property
    def needs_signatures(self) -> bool: ...

    def check(self, image: SignedImage) -> None:
        """Return if it is met; raises PolicyRefused, ConfigError for unusable keys."""
        ...


class AcceptAnything(msgspec.Struct, frozen=True):
    """``insecureAcceptAnything``"""

    @property
    def needs_signatures(self) -> bool:
        return False

    def check(self, image: SignedImage) -> None:
        return


class Reject(msgspec.Struct, frozen=True):
    """``reject``"""

    where: str = ""

    @property
    def needs_signatures(self) -> bool:
        return False

    def check(self, image: SignedImage) -> None:
        raise PolicyRefused(f"running image {image.reference} is rejected by policy ({self.where})")


class Unsupported(msgspec.Struct, frozen=True):
    """A requirement that a policy may have, and that we cannot meet yet: it always refuses."""

    kind: str
    where: str = ""

    @property
    def needs_signatures(self) -> bool:
        return False

    def check(self, image: SignedImage) -> None:
        raise PolicyRefused(f"requirement {self.kind} ({self.where}) is not supported yet")


class SignedBy(msgspec.Struct, frozen=True):
    """``signedBy``: a simple signature by any of the keys, of this manifest, for this identity."""

    identity: Identity
    key_paths: tuple[str, ...] = ()
    key_data: bytes = b""
    where: str = ""

    @property
    def needs_signatures(self) -> bool:
        return True

    def check(self, image: SignedImage) -> None:
        from trilby.image.signatures import is_simple_signature

        signatures = [blob for blob in image.signatures if is_simple_signature(blob)]
        reasons: list[str] = []
        for blob in signatures:
            try:
                self._check_one(blob, image)
                return
            except (InvalidSignature, PolicyRefused) as error:
                reasons.append(error.message)
        if not reasons:
            raise PolicyRefused("a signature was required, but no signature exists")
        if len(reasons) == 1:
            raise PolicyRefused(reasons[0])
        raise PolicyRefused(f"none of the signatures were accepted: {'; '.join(reasons)}")

    def _check_one(self, blob: bytes, image: SignedImage) -> None:
        from trilby.image.signatures import verify_signature

        claim = verify_signature(blob, self._keys())
        if not self.identity.matches(image.docker_reference, claim.docker_reference):
            raise PolicyRefused(f"signature for identity {claim.docker_reference} is not accepted")
        if not claim.manifest_digest.matches(image.manifest):
            found = Digest.of(image.manifest)
            raise PolicyRefused(
                f"signature is for digest {claim.manifest_digest}, but the image's is {found}"
            )

    def _keys(self) -> list[Cert]:
        from trilby.image.errors import ConfigError
        from trilby.image.signatures import read_keys
        from trilby.system.files import read_bytes_limited

        if self.key_data:
            return read_keys(self.key_data, f"{self.where}: keyData")
        keys: list[Cert] = []
        for path in self.key_paths:
            try:
                data = read_bytes_limited(path, KEY_LIMIT)
            except OSError as error:
                raise ConfigError(
                    f"{self.where}: cannot read key {path}: {error.strerror or error}"
                ) from error
            keys += read_keys(data, path)
        return keys


Requirements = tuple[Requirement, ...]


class Policy(msgspec.Struct, frozen=True):
    """Requirements per transport and scope, and those of everything else."""

    default: Requirements
    transports: dict[str, dict[str, Requirements]] = {}
    path: str = ""

    def requirements(self, transport: str, scope: str) -> Requirements:
        """What applies to an image; see check() for ``scope``."""
        scopes = self.transports.get(transport, {})
        for candidate in scopes_of(transport, scope):
            if candidate in scopes:
                return scopes[candidate]
        return scopes.get("", self.default)

    def needs_signatures(self, transport: str, scope: str) -> bool:
        """Whether check() will look at signatures, so that they must be fetched."""
        return any(each.needs_signatures for each in self.requirements(transport, scope))

    def check(self, transport: str, scope: str, image: SignedImage) -> None:
        """Return if the image is accepted, raise PolicyRefused if not. Blocking (reads keys).

        ``scope`` is what the transport matches with: for docker the full reference's text, a
        resolved path for dir, ``path:reference`` for oci and oci-archive, "" for docker-archive,
        ``[driver@graphroot]reference@id`` for containers-storage.
        """
        for requirement in self.requirements(transport, scope):
            try:
                requirement.check(image)
            except PolicyRefused as error:
                raise PolicyRefused(
                    f"{image.reference}: Source image rejected: {error.message}",
                    hint=f"the policy is {self.path}" if self.path else "",
                ) from error


def load_policy(
    path: str | os.PathLike[str] | None = None, *, env: Mapping[str, str] | None = None
) -> Policy:
    """Read a policy.json: the chosen one, or the user's, or the system's.

    Raises ConfigError with file and line, also when there is none: trust is never assumed.
    """
    from trilby.image.policy_load import load

    return load(None if path is None else os.fspath(path), env)


def accept_anything() -> Policy:
    """The policy of --insecure-policy."""
    return Policy(default=(AcceptAnything(),))

"""What can go wrong with names, registries, transports, copying and trust of images."""

from __future__ import annotations

from trilby.errors import (
    Conflict,
    Corrupt,
    InvalidInput,
    NotFound,
    Refused,
    TrilbyError,
    Unauthorized,
    Unavailable,
)


class ImageError(TrilbyError):
    """The root of this room's errors."""


class InvalidReference(ImageError, InvalidInput):
    """Text is not an image name, or not one that this transport takes."""


class UnknownTransport(ImageError, InvalidInput):
    """A name's transport is not one that we know."""


class ConfigError(ImageError, InvalidInput):
    """A configuration file is wrong; the message starts with ``path:line:``."""


class ImageNotFound(ImageError, NotFound):
    """No such image here."""


class ManifestUnknown(ImageError, NotFound):
    """The source has no manifest of this name or digest."""


class BlobUnknown(ImageError, NotFound):
    """The source has no blob of this digest."""


class ShortNameUnresolved(ImageError, NotFound):
    """A name without a registry, and nothing says which registry is meant."""


class ShortNameAmbiguous(ImageError, InvalidInput):
    """A name without a registry, several possible ones, and nobody to ask."""


class RegistryUnavailable(ImageError, Unavailable):
    """A registry (or a signature server) did not answer usably."""


class RegistryUnauthorized(ImageError, Unauthorized):
    """A registry wants (other) credentials."""


class CredentialsError(ImageError, Unauthorized):
    """Credentials could not be read, stored or removed."""


class CredentialsNotFound(ImageError, NotFound):
    """There are no credentials to remove."""


class RegistryBlocked(ImageError, Refused):
    """registries.conf blocks this registry."""


class PolicyRefused(ImageError, Refused):
    """The trust policy does not accept this image."""


class InvalidSignature(ImageError, Corrupt):
    """A signature is malformed, or not by a trusted key, or about something else."""


class DigestMismatch(ImageError, Corrupt):
    """Bytes do not have the digest that they were asked for by."""


class CorruptImage(ImageError, Corrupt):
    """An image's parts contradict each other."""


class UnsupportedImage(ImageError, InvalidInput):
    """An image is of a kind that this operation does not do."""


class ImageInUse(ImageError, Conflict):
    """The image cannot be removed or replaced now."""

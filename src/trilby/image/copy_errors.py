"""Errors of copying, finding and removing images, beside those that the whole room shares."""

from __future__ import annotations

from trilby.errors import (
    Conflict,
    Corrupt,
    InvalidInput,
    NotFound,
    Refused,
    StorageFailure,
    Unauthorized,
    Unavailable,
)
from trilby.image.errors import ImageError


class CannotModify(ImageError, Refused):
    """The copy would need another manifest, and the caller asked for the same one."""


class InvalidCompression(ImageError, InvalidInput):
    """A compression format or level that does not exist."""


class OversizedDocument(ImageError, Corrupt):
    """A manifest or config is longer than the limit."""


class CorruptArchive(ImageError, Corrupt):
    """An archive or layout of images is not what its format says."""


class DestinationOccupied(ImageError, Conflict):
    """The destination exists and is not what this transport writes."""


class WriteFailed(ImageError, StorageFailure):
    """A file of the destination could not be written: the disk is full, or not writable."""


class AmbiguousImage(ImageError, InvalidInput):
    """An id prefix or digest fits several images."""


class InvalidChange(ImageError, InvalidInput):
    """A line of ``changes`` is not an instruction that an image config can take."""


class InvalidFilter(ImageError, InvalidInput):
    """A filter has no known name or no usable value."""


class CandidatesNotFound(ImageError, NotFound):
    """No registry that a short name may mean has the image."""


class CandidatesUnauthorized(ImageError, Unauthorized):
    """No registry that a short name may mean has the image, and some want credentials."""


class CandidatesFailed(ImageError, Unavailable):
    """No registry that a short name may mean gave the image, for different reasons."""

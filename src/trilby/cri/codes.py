"""One table: which gRPC code an error is answered with.

The kubelet looks at NOT_FOUND and UNIMPLEMENTED, and at a few words that texts begin with
(k8s.io/cri-api/pkg/errors); everything else is for people.
"""

from __future__ import annotations

import asyncio
from typing import Final

import grpc

from trilby.cri.errors import PullFailed, TooManyStreams, Unimplemented
from trilby.errors import (
    Conflict,
    Corrupt,
    InvalidInput,
    NotFound,
    Refused,
    StorageFailure,
    TrilbyError,
    Unauthorized,
    Unavailable,
)
from trilby.image.errors import (
    InvalidSignature,
    PolicyRefused,
    RegistryUnavailable,
)
from trilby.pods.errors import ExecTimeout, NameInUse, NetworkFailed

Code = grpc.StatusCode

#: The first class that fits decides.
CODES: Final[tuple[tuple[type[BaseException], grpc.StatusCode], ...]] = (
    (Unimplemented, Code.UNIMPLEMENTED),
    (TooManyStreams, Code.RESOURCE_EXHAUSTED),
    (ExecTimeout, Code.DEADLINE_EXCEEDED),
    (NameInUse, Code.ALREADY_EXISTS),
    (NetworkFailed, Code.INTERNAL),
    (NotFound, Code.NOT_FOUND),
    (InvalidInput, Code.INVALID_ARGUMENT),
    (Unauthorized, Code.PERMISSION_DENIED),
    (Refused, Code.PERMISSION_DENIED),
    (Unavailable, Code.UNAVAILABLE),
    (Conflict, Code.FAILED_PRECONDITION),
    (Corrupt, Code.DATA_LOSS),
    (StorageFailure, Code.INTERNAL),
    (TrilbyError, Code.INTERNAL),
    (asyncio.TimeoutError, Code.DEADLINE_EXCEEDED),
    (OSError, Code.INTERNAL),
)

#: Words by which the kubelet tells why a pull failed; it takes them from the text's beginning.
PULL_WORDS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (RegistryUnavailable, "RegistryUnavailable"),
    (PolicyRefused, "SignatureValidationFailed"),
    (InvalidSignature, "SignatureValidationFailed"),
)


def code_of(error: BaseException) -> grpc.StatusCode:
    """The code for an error; INTERNAL for one that nobody expected."""
    if isinstance(error, PullFailed):
        return code_of(error.cause)
    for kind, code in CODES:
        if isinstance(error, kind):
            return code
    return Code.INTERNAL


def text_of(error: BaseException) -> str:
    """What the caller reads."""
    if isinstance(error, PullFailed):
        return pull_text(error.cause)
    if isinstance(error, TrilbyError | OSError):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}"
    return text or type(error).__name__


def pull_text(error: BaseException) -> str:
    """The text of a failed pull, beginning with the word that the kubelet looks for."""
    for kind, word in PULL_WORDS:
        if isinstance(error, kind):
            return f"{word}: {text_of(error)}"
    return text_of(error)


__all__ = ["CODES", "code_of", "pull_text", "text_of"]

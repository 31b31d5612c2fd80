"""Content digests: `algorithm:encoded` (image-spec, descriptor.md, "Digests")."""

from __future__ import annotations

import re
from typing import Protocol, TypeAlias

from trilby.oci.errors import InvalidDigest

Buffer: TypeAlias = bytes | bytearray | memoryview

_HEX_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}
_LOWER_HEX = re.compile(r"[0-9a-f]+")

ALGORITHMS = frozenset(_HEX_LENGTH)


class Hasher(Protocol):
    """What we use of a hashlib object."""

    @property
    def name(self) -> str: ...

    def update(self, data: Buffer, /) -> None: ...

    def hexdigest(self) -> str: ...

    def copy(self) -> Hasher: ...


class Digest:
    """A checked digest. Equal by value, hashable, sortable, never changed once made.

    ``Digest(text)`` and ``Digest.parse(text)`` raise InvalidDigest.
    """

    __slots__ = ("_value",)
    _value: str

    def __init__(self, value: str) -> None:
        algorithm, colon, encoded = value.partition(":")
        if not colon or not algorithm:
            raise InvalidDigest(f"invalid digest {value!r}: not in the form algorithm:hex")
        length = _HEX_LENGTH.get(algorithm)
        if length is None:
            raise InvalidDigest(
                f"invalid digest {value!r}: unsupported algorithm {algorithm!r}",
                hint=f"supported are {', '.join(_HEX_LENGTH)}",
            )
        if len(encoded) != length or not _LOWER_HEX.fullmatch(encoded):
            raise InvalidDigest(
                f"invalid digest {value!r}: {algorithm} needs {length} lowercase hex digits"
            )
        object.__setattr__(self, "_value", value)

    @classmethod
    def parse(cls, text: str) -> Digest:
        """The digest that ``text`` says; raises InvalidDigest."""
        return cls(text)

    @classmethod
    def of(cls, data: Buffer, algorithm: str = "sha256") -> Digest:
        """The digest of these bytes."""
        state = hasher(algorithm)
        state.update(data)
        return cls.from_hasher(state)

    @classmethod
    def from_hasher(cls, state: Hasher) -> Digest:
        """The digest of all that a hash object was fed so far."""
        return cls(f"{state.name}:{state.hexdigest()}")

    @property
    def algorithm(self) -> str:
        return self._value.partition(":")[0]

    @property
    def encoded(self) -> str:
        """The hexadecimal part."""
        return self._value.partition(":")[2]

    def matches(self, data: Buffer) -> bool:
        """Whether these bytes have this digest."""
        return Digest.of(data, self.algorithm) == self

    def hasher(self) -> Hasher:
        """A fresh hash object of this digest's algorithm."""
        return hasher(self.algorithm)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Digest does not change: {name}")

    def __reduce__(self) -> tuple[type[Digest], tuple[str]]:
        return Digest, (self._value,)

    def __str__(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"Digest({self._value!r})"

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Digest) else NotImplemented

    def __lt__(self, other: Digest) -> bool:
        return self._value < other._value

    def __hash__(self) -> int:
        return hash(self._value)


def hasher(algorithm: str = "sha256") -> Hasher:
    """A hash object of this algorithm; raises InvalidDigest for one that we do not support."""
    # hashlib loads OpenSSL, several milliseconds that commands which only list must not pay.
    import hashlib

    if algorithm not in _HEX_LENGTH:
        raise InvalidDigest(f"unsupported digest algorithm {algorithm!r}")
    return hashlib.new(algorithm, usedforsecurity=False)

"""Kubernetes resource quantities: ``100m``, ``64Mi``, ``1e3``.

Follows k8s.io/apimachinery's resource.Quantity grammar: a signed decimal number and one suffix,
binary (Ki Mi Gi Ti Pi Ei), decimal (n u m k M G T P E) or an exponent.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

_QUANTITY = re.compile(r"([+-]?[0-9]+(?:\.[0-9]*)?|[+-]?\.[0-9]+)([eE][+-]?[0-9]+|[A-Za-z]*)")

_SUFFIXES: dict[str, Decimal] = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


def parse_quantity(text: str | int | float) -> Decimal:
    """The number that a quantity stands for.

    Raises:
        ValueError: not a quantity; the message says what one looks like.
    """
    if isinstance(text, bool):
        raise ValueError("a quantity is a number with a suffix such as 100m or 64Mi, not a boolean")
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is not a quantity; write for example 100m, 0.5, 64Mi or 1G")
    number, suffix = match.groups()
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return Decimal(number + suffix)
    if suffix not in _SUFFIXES:
        known = " ".join(name for name in _SUFFIXES if name)
        raise ValueError(f"{text!r} has the unknown suffix {suffix!r}; known are {known}")
    return Decimal(number) * _SUFFIXES[suffix]


def whole(quantity: Decimal) -> int:
    """Rounded up to an integer, as Kubernetes' Value() does (bytes)."""
    return int(quantity.to_integral_value(ROUND_CEILING))


def milli(quantity: Decimal) -> int:
    """Thousandths rounded up, as Kubernetes' MilliValue() does (CPU)."""
    return whole(quantity * 1000)

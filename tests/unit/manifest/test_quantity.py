"""Resource quantities as Kubernetes reads them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trilby.pods.manifest.quantity import milli, parse_quantity, whole


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"), ("1", "1"), ("1.5", "1.5"), (".5", "0.5"), ("5.", "5"), (2, "2"), (0.5, "0.5"),
        ("100m", "0.1"), ("1k", "1000"), ("1Ki", "1024"), ("64Mi", "67108864"), ("1e3", "1000"),
        ("1E3", "1000"), ("1E", "1000000000000000000"), ("-1Gi", "-1073741824"), ("3n", "3e-9"),
    ],
)  # fmt: skip
def test_a_quantity_is_read(text: str | int | float, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "Mi", "1 Mi", "1MB", "1mi", "0x10", "1.2.3", "m100", True])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_quantity(text)


def test_rounding_is_up() -> None:
    assert whole(parse_quantity("1500m")) == 2
    assert milli(parse_quantity("0.0001")) == 1

"""$(NAME) and $$ as Kubernetes expands them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.pods.manifest.expand import expand

VARIABLES = {"A": "1", "B": "$(A)", "C_D.e-f": "odd", "": "never"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$(A)", "1"), ("x$(A)y$(A)", "x1y1"), ("$(C_D.e-f)", "odd"), ("$(NO)", "$(NO)"),
        ("$$(A)", "$(A)"), ("$$$(A)", "$1"), ("$$$$(A)", "$$(A)"), ("$$", "$"), ("$", "$"),
        ("$A", "$A"), ("${A}", "${A}"), ("$(A", "$(A"), ("$(B)", "$(A)"), ("$(A$(A))", "$(A$(A))"),
        ("a$", "a$"), ("$(A)$", "1$"), ("", ""),
    ],
)  # fmt: skip
def test_references_are_replaced(text: str, result: str) -> None:
    assert expand(text, VARIABLES) == result


@given(st.text(alphabet="$()AB x"))
def test_doubled_dollars_protect_any_text(text: str) -> None:
    assert expand(text.replace("$", "$$"), VARIABLES) == text


@given(st.text().filter(lambda text: "$" not in text))
def test_text_without_dollars_is_itself(text: str) -> None:
    assert expand(text, VARIABLES) == text

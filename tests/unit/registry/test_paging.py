"""Link headers and pages of tags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.image.registry.errors import BadResponse
from trilby.image.registry.paging import decode_tags, next_link


@pytest.mark.parametrize(
    ("headers", "target"),
    [
        (['</v2/a/tags/list?last=x&n=2>; rel="next"'], "/v2/a/tags/list?last=x&n=2"),
        (["<https://r/v2/a>;rel=next"], "https://r/v2/a"),
        (['<u1>; rel="prev", <u2>; rel="next"'], "u2"),
        (['<u1>; rel="prev"', '<u2>; title="a"; rel="next"'], "u2"),
        (['<u1>; rel="prev"'], None),
        (["nonsense"], None),
        ([], None),
    ],
)
def test_next_link(headers: list[str], target: str | None) -> None:
    assert next_link(headers) == target


@given(st.text())
def test_no_header_makes_it_fail(header: str) -> None:
    next_link([header])


def test_tags() -> None:
    assert decode_tags(b'{"name":"a","tags":["1","2"]}', "application/json", "x") == ["1", "2"]
    assert decode_tags(b'{"name":"a","tags":null}', "application/json", "x") == []
    with pytest.raises(BadResponse, match=r"listing: the answer \(text/html\) is no list of tags"):
        decode_tags(b"<html>", "text/html", "listing")

"""WWW-Authenticate headers, good and bad."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trilby.image.registry.challenge import Challenge, parse_challenges


def test_bearer_with_all_parameters() -> None:
    header = (
        'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
        'scope="repository:library/busybox:pull",error="insufficient_scope"'
    )
    [challenge] = parse_challenges([header])
    assert challenge.scheme == "bearer"
    assert challenge.realm == "https://auth.docker.io/token"
    assert challenge.parameters["service"] == "registry.docker.io"
    assert challenge.scopes == ("repository:library/busybox:pull",)


def test_two_challenges_in_one_header_and_in_two() -> None:
    bearer, basic = 'Bearer realm="https://a/t", service=x', 'Basic realm="b"'
    expected = [
        Challenge("bearer", {"realm": "https://a/t", "service": "x"}),
        Challenge("basic", {"realm": "b"}),
    ]
    assert parse_challenges([f"{bearer}, {basic}"]) == expected
    assert parse_challenges([bearer, basic]) == expected


def test_commas_and_escapes_inside_quotes() -> None:
    [challenge] = parse_challenges([r'Bearer realm="a\"b",scope="repository:x:pull,push"'])
    assert challenge.realm == 'a"b'
    assert challenge.scopes == ("repository:x:pull,push",)


def test_token68_and_bare_schemes() -> None:
    assert [c.scheme for c in parse_challenges(["Negotiate YWJj==, Basic realm=x", "NTLM"])] == [
        "negotiate",
        "basic",
        "ntlm",
    ]


def test_several_scopes() -> None:
    [challenge] = parse_challenges(['Bearer realm="r",scope="repository:a:pull repository:b:pull"'])
    assert challenge.scopes == ("repository:a:pull", "repository:b:pull")


def test_broken_headers_give_what_can_be_read() -> None:
    assert parse_challenges(["", "   ", '="x"', ","]) == []
    assert parse_challenges(['Bearer realm="unterminated'])[0].realm in ("", '"unterminated')
    assert parse_challenges(["Bearer " + "x" * 100_000]) == []


@given(st.text())
def test_nothing_makes_it_fail(header: str) -> None:
    parse_challenges([header])


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z]{1,8}", fullmatch=True),
            st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
        ),
        min_size=1,
        unique_by=lambda pair: pair[0],
    )
)
def test_quoted_parameters_come_back(pairs: list[tuple[str, str]]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = "Bearer " + ", ".join(f"{name}={quoted(value)}" for name, value in pairs)
    assert parse_challenges([header]) == [Challenge("bearer", dict(pairs))]

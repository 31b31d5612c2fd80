"""Tokens, calls, and the little HTTP that there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.cri.errors import InvalidRequest, TooManyStreams
from trilby.cri.streaming import http
from trilby.cri.streaming.calls import AttachCall, Call, ExecCall, ForwardCall, check_call
from trilby.cri.streaming.command import SPDY_PROTOCOLS, spdy_protocol
from trilby.cri.streaming.errors import BadRequest
from trilby.cri.streaming.status import SUCCESS, exit_status, internal_error
from trilby.cri.streaming.tokens import Tokens
from trilby.cri.streaming.websocket import negotiate


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_tokens_are_good_once_and_for_a_while() -> None:
    clock = Clock()
    tokens: Tokens[str] = Tokens(60, 3, clock)
    one, two = tokens.add("one"), tokens.add("two")
    assert one != two and len(one) >= 20
    assert tokens.take(one) == "one"
    assert tokens.take(one) is None
    assert tokens.take("") is None
    clock.now += 60
    assert tokens.take(two) is None
    assert len(tokens) == 0


def test_tokens_are_limited() -> None:
    clock = Clock()
    tokens: Tokens[str] = Tokens(60, 2, clock)
    first = tokens.add("one")
    clock.now += 30
    tokens.add("two")
    with pytest.raises(TooManyStreams):
        tokens.add("three")
    clock.now += 30  # the first is too old now
    tokens.add("three")
    assert tokens.take(first) is None and len(tokens) == 2


def exec_call(**changes: object) -> ExecCall:
    fields: dict[str, object] = {
        "container_id": "c", "cmd": ("true",), "tty": False, "stdin": False, "stdout": True, "stderr": True,
    }  # fmt: skip
    return ExecCall(**(fields | changes))  # type: ignore[arg-type]


BAD_CALLS: list[Call] = [
    exec_call(container_id=""),
    exec_call(cmd=()),
    exec_call(tty=True),
    exec_call(stdout=False, stderr=False),
    AttachCall(container_id="", tty=False, stdin=True, stdout=True, stderr=True),
    AttachCall(container_id="c", tty=True, stdin=True, stdout=True, stderr=True),
    AttachCall(container_id="c", tty=True, stdin=False, stdout=False, stderr=False),
    ForwardCall(sandbox_id="", ports=(80,)),
    ForwardCall(sandbox_id="s", ports=(80, 0)),
    ForwardCall(sandbox_id="s", ports=(65536,)),
]


@pytest.mark.parametrize("call", BAD_CALLS)
def test_bad_calls(call: Call) -> None:
    with pytest.raises(InvalidRequest):
        check_call(call)


def test_good_calls() -> None:
    check_call(exec_call())
    check_call(exec_call(tty=True, stderr=False))
    check_call(ForwardCall(sandbox_id="s", ports=()))


def head(*lines: str, first: str = "GET /exec/abc?x=1 HTTP/1.1") -> bytes:
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1")


def test_a_request() -> None:
    request = http.parse(
        head(
            "Host: here",
            "connection: keep-alive, Upgrade",
            "UPGRADE:spdy/3.1",
            "X-A: 1, 2",
            "x-a: 3",
        )
    )
    assert (request.method, request.path, request.query) == ("GET", "/exec/abc", "x=1")
    assert request.items("X-A") == ["1", "2", "3"]
    assert request.upgrades_to("SPDY/3.1") and not request.upgrades_to("websocket")
    assert request.get("nothing") == ""


BAD_HEADS = [
    (b"\r\n\r\n", 400),
    (b"GET\r\n\r\n", 400),
    (head(first="GET /x HTTP/1.0"), 505),
    (head(first="GET http://a/ HTTP/1.1"), 400),
    (head(first="GET /a b HTTP/1.1"), 400),
    (head(first="get /x HTTP/1.1"), 400),
    (head("no colon"), 400),
    (head("name : x"), 400),
    (head(" folded: x"), 400),
    (head("a: x\ny: z"), 400),
    (head("a: x\0"), 400),
    (head("Content-Length: 5"), 413),
    (head("Content-Length: 0", "Content-Length: 5"), 413),
    (head("Content-Length: +0"), 413),
    (head("Transfer-Encoding: chunked"), 413),
    (head(*[f"a{n}: b" for n in range(101)]), 431),
]


@pytest.mark.parametrize(("data", "status"), BAD_HEADS)
def test_bad_heads(data: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as found:
        http.parse(data)
    assert found.value.status == status
    assert http.refusal(found.value).startswith(b"HTTP/1.1 %d " % status)


@given(st.binary(max_size=200))
def test_garbage(data: bytes) -> None:
    try:
        http.parse(data + b"\r\n\r\n")
    except BadRequest:
        pass


def test_spdy_protocol() -> None:
    upgrade = ("Connection: Upgrade", "Upgrade: SPDY/3.1")

    def chosen(*versions: str) -> str:
        lines = [f"X-Stream-Protocol-Version: {version}" for version in versions]
        return spdy_protocol(http.parse(head(*upgrade, *lines)), SPDY_PROTOCOLS)

    assert (
        chosen("v9.channel.k8s.io", "v3.channel.k8s.io, v4.channel.k8s.io") == "v3.channel.k8s.io"
    )
    assert chosen("channel.k8s.io") == "channel.k8s.io"
    with pytest.raises(BadRequest) as found:
        chosen("v9.channel.k8s.io")
    assert found.value.status == 403
    assert http.refusal(found.value).count(b"X-Accepted-Stream-Protocol-Versions: ") == 4
    with pytest.raises(BadRequest):
        chosen()
    with pytest.raises(BadRequest):
        spdy_protocol(http.parse(head()), SPDY_PROTOCOLS)


def socket(
    *lines: str, first: str = "GET /x HTTP/1.1", key: str = "dGhlIHNhbXBsZSBub25jZQ=="
) -> http.Request:
    return http.parse(
        head(
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Sec-WebSocket-Key: {key}",
            *(lines or ("Sec-WebSocket-Version: 13",)),
            first=first,
        )
    )


def test_websocket_handshake() -> None:
    # The key and the answer are those of RFC 6455, section 1.3.
    protocol, answer = negotiate(socket(), [""])
    assert protocol == "" and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
    assert b"Sec-WebSocket-Protocol" not in answer
    version = "Sec-WebSocket-Version: 13"
    asked = socket(version, "Sec-WebSocket-Protocol: what, b, a")
    protocol, answer = negotiate(asked, ["a", "b"])
    assert protocol == "b" and b"Sec-WebSocket-Protocol: b\r\n" in answer
    for bad in (
        socket("Sec-WebSocket-Version: 8"),
        socket(key="short"),
        socket(key="c2hvcnQ="),
        socket(first="POST /x HTTP/1.1"),
        socket(version, "Sec-WebSocket-Protocol: c"),
    ):
        with pytest.raises(BadRequest):
            negotiate(bad, ["a", "b"])


def test_status() -> None:
    assert SUCCESS.encode(structured=True) == b'{"status":"Success"}'
    assert SUCCESS.encode(structured=False) == b""
    assert exit_status(0) is SUCCESS
    assert exit_status(3).encode(structured=True) == (
        b'{"status":"Failure",'
        b'"message":"command terminated with non-zero exit code: exit status 3",'
        b'"reason":"NonZeroExitCode",'
        b'"details":{"causes":[{"reason":"ExitCode","message":"3"}]}}'
    )
    assert b'"code":500' in internal_error("why").encode(structured=True)
    assert internal_error("why").encode(structured=False) == b"Internal error occurred: why"

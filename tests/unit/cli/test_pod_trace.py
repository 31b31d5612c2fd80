"""The waterfall: its layout, and the three forms that it is shown in."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.cli.pod import trace_chrome, trace_html, trace_model, trace_table
from trilby.cli.pod.trace_model import Trace, bursts, duration, label, ticks
from trilby.pods.trace import Stage

MS = 1_000_000
ZERO = 1_700_000_000 * 1000 * MS


def stage(
    operation: str, begin: float, end: float, name: str = "", subject: str = "", depth: int = 0,
    error: str = "",
) -> Stage:  # fmt: skip
    """Times are milliseconds from ZERO on."""
    return Stage(
        sandbox_id="0123456789abcdef",
        operation=operation,
        name=name or operation,
        begin=ZERO + int(begin * MS),
        end=ZERO + int(end * MS),
        subject=subject,
        depth=depth,
        error=error,
    )


POD = (
    stage("run_sandbox", 0, 40),
    stage("run_sandbox", 1, 5, "namespaces", depth=1),
    stage("run_sandbox", 5, 40, "network", depth=1),
    stage("run_sandbox", 6, 39, "ADD bridge", depth=2),
    # Two at the same time: parts stay with their own.
    stage("create_container", 41, 80, subject="a"),
    stage("create_container", 42, 90, subject="b"),
    stage("create_container", 43, 50, "mount", subject="b", depth=1),
    stage("create_container", 44, 60, "mount", subject="a", depth=1),
    stage("start_container", 91, 99, subject="a", error='exec "/x": no <such> & file'),
    stage("stop_sandbox", 5000, 5030),
)
TRACE = Trace(sandbox_id="0123456789abcdef", name="default/hello", stages=POD)


def test_idle_time_is_cut_out() -> None:
    first, last = bursts(TRACE)
    assert (first.begin - ZERO, first.end - ZERO) == (0, 99 * MS)
    assert last.idle == (5000 - 99) * MS
    assert [one.operation for one in last.stages] == ["stop_sandbox"]
    assert first.place(POD[2]) == (5 / 99, 35 / 99)


def test_parts_stand_below_their_operation() -> None:
    rows = [label(one) for one in bursts(TRACE)[0].stages]
    assert rows == [
        "run sandbox",
        "  namespaces",
        "  network",
        "    ADD bridge",
        "create container: a",
        "  mount",
        "create container: b",
        "  mount",
        "start container: a",
    ]


def test_a_part_whose_whole_is_not_over_is_shown() -> None:
    only = Trace(sandbox_id="x", name="", stages=(POD[2],))
    assert [label(one) for one in bursts(only)[0].stages] == ["  network"]
    assert bursts(Trace(sandbox_id="x", name="", stages=())) == []


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0.00 ms"),
        (310_000, "0.31 ms"),
        (41_200_000, "41.2 ms"),
        (3_270_000_000, "3.27 s"),
        (125_000_000_000, "2 min 5 s"),
        (11_520_000_000_000, "3 h 12 min"),
    ],
)
def test_durations(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


@given(st.integers(1, 10**15), st.integers(2, 12))
def test_ticks_are_round_and_few(length: int, most: int) -> None:
    found = ticks(length, most)
    assert found[0] == 0
    assert found[-1] <= length
    assert len(found) <= most
    if len(found) > 1:
        assert re.fullmatch(r"[125]0*", str(found[1]))


@given(st.floats(0, 1), st.floats(0, 1), st.integers(5, 200))
def test_a_bar_fills_its_room(start: float, length: float, room: int) -> None:
    text = trace_table.bar(start, length, room)
    assert len(text) == room
    assert text.strip(), "also the shortest is seen"


def test_in_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    trace_table.show(TRACE)
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[0].startswith("pod default/hello (0123456789ab), begun ")
    assert any(line.startswith("    ADD bridge") and line.endswith("33.0 ms") for line in lines)
    assert '! exec "/x": no <such> & file' in said
    assert "... 4.90 s later" in said
    assert max(map(len, lines)) <= trace_table.WIDTH
    assert "\x1b" not in said


class Reader(HTMLParser):
    """Checks that every element is closed, and collects what might be loaded."""

    VOID = ("meta", "br", "link")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.bars = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        found = dict(attrs)
        self.loaded += [value for key, value in attrs if key in ("src", "href") and value]
        self.bars += "bar" in (found.get("class") or "").split()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_as_one_page() -> None:
    page = trace_html.page(TRACE)
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    assert reader.loaded == []
    assert "url(" not in page and "@import" not in page and "<script" not in page
    assert reader.bars == len(POD)
    assert "no &lt;such&gt; &amp; file" in page and "<such>" not in page
    assert "prefers-color-scheme: dark" in page


def test_as_a_chrome_trace() -> None:
    document = msgspec.json.decode(msgspec.json.encode(trace_chrome.document(TRACE)))
    events = document["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert len(spans) == len(POD)
    first = next(event for event in spans if event["name"] == "ADD bridge")
    assert (first["ts"], first["dur"], first["cat"]) == (6000, 33000, "run_sandbox")
    failed = next(event for event in spans if event["cat"] == "start_container")
    assert failed["args"]["error"].startswith("exec")
    rows = {
        event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"
    }
    assert sorted(rows.values()) == ["a", "b", "pod"]
    assert {event["tid"] for event in spans} == rows.keys()


TIMES = st.tuples(st.integers(0, 50), st.integers(0, 50)).map(sorted)


@given(st.lists(TIMES, max_size=20))
def test_every_row_of_a_chrome_trace_is_nested(times: list[list[int]]) -> None:
    stages = [stage("exec", begin, end) for begin, end in times]
    rows = trace_chrome.lanes(stages)
    assert sorted(one.begin for row in rows for one in row) == sorted(one.begin for one in stages)
    for row in rows:
        for one in row:
            for other in row:
                apart = one.end <= other.begin or other.end <= one.begin
                inside = (one.begin <= other.begin and other.end <= one.end) or (
                    other.begin <= one.begin and one.end <= other.end
                )
                assert apart or inside


def test_the_model_goes_through_json() -> None:
    text = msgspec.json.encode(TRACE)
    assert msgspec.json.decode(text, type=trace_model.Trace) == TRACE

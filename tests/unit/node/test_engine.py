"""Which checks run, in which order, for how long, and what becomes of errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.support.made_host import made_host, node_of

from trilby.node.catalogue import CHECKS
from trilby.node.engine import choose, examine
from trilby.node.errors import NoHost, UnknownCheck
from trilby.node.host import Host
from trilby.node.model import Check, Seen, failed, passed, skipped, warned, worst
from trilby.node.node import Node


def check_of(look: Callable[[Node], Seen], *, slow: bool = False, network: bool = False) -> Check:
    return Check(
        id="x", title="X", group="g", why="w", mend="m", look=look, slow=slow, network=network
    )  # fmt: skip


def test_choose() -> None:
    assert choose(CHECKS) == list(CHECKS)
    assert [check.id for check in choose(CHECKS, ["swap", "cgroup-driver"])] == [
        "cgroup-driver",
        "swap",
    ]
    assert {check.group for check in choose(CHECKS, ["sysctls"])} == {"sysctls"}
    assert all(check.id.startswith("module-") for check in choose(CHECKS, ["module-*"]))
    assert "swap" not in {check.id for check in choose(CHECKS, skip=["swap", "kernel"])}
    assert choose(CHECKS, ["swap"], ["memory"]) == []


def test_choose_nothing_of_that_name() -> None:
    with pytest.raises(UnknownCheck) as caught:
        choose(CHECKS, ["cgroup-drive"])
    assert caught.value.hint == "did you mean cgroup-driver?"
    assert caught.value.exit_code == 2
    with pytest.raises(UnknownCheck) as caught:
        choose(CHECKS, skip=["zzzzzzzzz"])
    assert "--list" in caught.value.hint


@pytest.mark.parametrize("slow", [False, True])
def test_errors_are_verdicts(slow: bool) -> None:
    def raises(error: Exception) -> Check:
        def look(node: Node) -> Seen:
            raise error

        return check_of(look, slow=slow)

    with made_host() as host:
        node = node_of(host)
        for error, verdict, words in (
            (PermissionError(13, "Permission denied", "/x"), "skip", "this needs root"),
            (OSError(5, "Input/output error", "/x"), "fail", "/x: Input/output error"),
            (ValueError("no number"), "fail", "cannot be understood: no number"),
            (NoHost("gone", hint="come back"), "fail", "gone"),
        ):
            outcome = examine(node, [raises(error)])[0]
            assert (outcome.verdict, words in outcome.evidence[0]) == (verdict, True)
        assert examine(node, [raises(NoHost("gone", hint="come back"))])[0].mend == "come back"


def test_a_look_that_hangs_is_left_alone() -> None:
    over = threading.Event()

    def look(node: Node) -> Seen:
        over.wait(60)
        return passed("late")

    with made_host() as host:
        begin = time.monotonic()
        quick = msgspec.structs.replace(check_of(lambda node: passed("quick")), id="y")
        outcomes = examine(node_of(host), [check_of(look, slow=True), quick], limit=0.2)
        assert time.monotonic() - begin < 30
    over.set()
    assert [each.verdict for each in outcomes] == ["fail", "pass"]
    assert outcomes[0].evidence == ("no answer within 0.2 seconds",)


def test_network_only_when_asked() -> None:
    with made_host() as host:
        node = node_of(host)
        check = check_of(lambda node: warned("looked"), network=True)
        assert examine(node, [check])[0].verdict == "skip"
        assert examine(node, [check], network=True)[0].verdict == "warn"


def test_mend_is_the_looks_own_or_the_checks() -> None:
    with made_host() as host:
        node = node_of(host)
        assert examine(node, [check_of(lambda node: warned("a"))])[0].mend == "m"
        assert examine(node, [check_of(lambda node: failed("a", mend="own"))])[0].mend == "own"
        assert examine(node, [check_of(lambda node: skipped("a"))])[0].mend == ""


def test_worst() -> None:
    otherwise = skipped("nothing")
    assert worst([], otherwise) is otherwise
    found = worst(
        [passed("a"), failed("b", mend="x"), failed("c", mend="x"), warned("d")], otherwise
    )
    assert (found.verdict, found.evidence, found.mend) == ("fail", ("b", "c"), "x")
    assert worst([skipped("a"), passed("b")], otherwise).evidence == ("b",)


def test_links_stay_below_the_root() -> None:
    changes = {"etc/a": "-> /etc/b", "etc/b": "inside\n", "etc/up": "-> ../../../../etc/b"}
    with made_host(changes) as host:
        assert host.read("/etc/a") == host.read("/etc/up") == "inside\n"
        assert host.read("/etc/none") is None
        assert host.read("/etc") is None
        assert host.names("/etc/b/c") == []
        assert host.exists("/etc/a") and not host.exists("/etc/none")


def test_no_such_root(tmp_path: Path) -> None:
    with pytest.raises(NoHost, match="No such file"):
        Host(f"{tmp_path}/none")


def test_a_program_is_asked_once() -> None:
    with made_host(
        {"usr/bin/count": "#!/bin/sh\necho x >> $0.log; echo out; echo oops >&2; exit 2\n"}
    ) as host:
        one, other = host.run("/usr/bin/count"), host.run("/usr/bin/count")
        assert one is other
        assert (one.line, one.problem) == ("out", "oops")
        assert host.read("/usr/bin/count.log") == "x\n"
        assert host.run("/usr/bin/none").problem

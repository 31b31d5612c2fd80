"""The reading of a suite's JUnit files, and the table of them."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.results import Spec, read, table

REPORT = """<testsuites tests="5"><testsuite name="e2e suite">
<testcase name="[SynchronizedBeforeSuite]" status="passed" time="1.5"></testcase>
<testcase name="[It] [sig-node] Pods should run [NodeConformance] [sig-node, NodeConformance]"
 status="passed" time="2.25"></testcase>
<testcase name="[It] [sig-node] Pods should end [sig-node]" status="failed" time="3">
<failure message="timed out" type="failed">[FAILED] timed out
In [It] at: pods.go:1</failure></testcase>
<testcase name="[It] [sig-node] Pods are left out [sig-node]" status="skipped" time="0"><skipped
 message="skipped"></skipped></testcase>
<testcase name="[It] [sig-node] Pods panic [sig-node, x]" status="panicked" time="1">
<error message="" type="panicked">In [It] at: x

index out of range
goroutine 1</error></testcase>
</testsuite></testsuites>
"""


def test_specs_are_read_and_steps_around_them_are_not(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(REPORT)
    assert [(spec.name, spec.state, spec.seconds) for spec in read(tmp_path / "a.xml")] == [
        ("[sig-node] Pods should run [NodeConformance]", "passed", 2.25),
        ("[sig-node] Pods should end", "failed", 3.0),
        ("[sig-node] Pods panic", "panicked", 1.0),
    ]


def test_the_table_tells_what_did_not_pass_and_why(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(REPORT)
    told = table([("node", read(tmp_path / "a.xml")), ("none", [Spec("x", "passed", 0.4)])])
    assert told.splitlines() == [
        "specs  run  passed  failed  seconds",
        "node   3    1       2       6",
        "none   1    1       0       0",
        "failed: [sig-node] Pods should end",
        "    timed out",
        "panicked: [sig-node] Pods panic",
        "    index out of range",
        "    goroutine 1",
    ]

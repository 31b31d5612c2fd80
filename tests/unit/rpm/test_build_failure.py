"""What is told of a failed build: the section, the spec's line, and the part of the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from trilby.rpm.build_failure import explain, find_failure
from trilby.rpm.errors import BuildFailed, InvalidSpec, MissingDependency

SPEC = """\
Name: hello
Version: 1
BuildRequires: python3dist(nothing)

%prep
%autosetup

%build
make
make docs

%install
make install DESTDIR=%{buildroot}

%check
%pytest tests

%files
%{_bindir}/hello
%{_mandir}/man1/hello.1*
""".splitlines()

CHECK = """\
$ rpmbuild -ba hello.spec
Executing(%build): /bin/sh -e /var/tmp/rpm-tmp.1
+ make
error: this one was only told, and went well
Executing(%check): /bin/sh -e /var/tmp/rpm-tmp.2
+ cd hello-1
+ PATH=/builddir/bin
+ PATH=/builddir/bin PYTEST_ADDOPTS= -p no:cacheprovider /usr/bin/python3 -m pytest tests
collected 2 items
=================================== FAILURES ===================================
E   assert 1 == 2
=========================== short test summary info ============================
SKIPPED [1] tests/test_b.py:7: git is not installed
FAILED tests/test_a.py::test_one - assert 1 == 2
error: Bad exit status from /var/tmp/rpm-tmp.2 (%check)

RPM build errors:
    Bad exit status from /var/tmp/rpm-tmp.2 (%check)
"""
BUILD = """\
Executing(%prep): /bin/sh -e /var/tmp/rpm-tmp.1
+ make docs in prep
Executing(%build): /bin/sh -e /var/tmp/rpm-tmp.2
+ make
cc -c a.c
+ make docs
make: *** No rule to make target 'docs'.  Stop.
error: Bad exit status from /var/tmp/rpm-tmp.2 (%build)
"""
UNPACKAGED = """\
Executing(%install): /bin/sh -e /var/tmp/rpm-tmp.3
+ exit 0
error: Installed (but unpackaged) file(s) found:
   /usr/share/hello

RPM build errors:
    Installed (but unpackaged) file(s) found:
   /usr/share/hello
"""
NOT_FOUND = """\
Executing(%install): /bin/sh -e /var/tmp/rpm-tmp.3
+ exit 0
Processing files: hello-1-1.x86_64
error: File not found: /builddir/BUILD/hello-1-build/BUILDROOT/usr/share/man/man1/hello.1*

RPM build errors:
    File not found: /builddir/BUILD/hello-1-build/BUILDROOT/usr/share/man/man1/hello.1*
"""
# mock's build.log
DISORDERED = """\
Executing(%install): /bin/sh -e /var/tmp/rpm-tmp.3
RPM build errors:
error: File not found: /builddir/build/BUILD/hello-1-build/BUILDROOT/usr/share/man/man1/hello.1*
    File not found: /builddir/build/BUILD/hello-1-build/BUILDROOT/usr/share/man/man1/hello.1*
"""
MISSING = """\
error: Failed build dependencies:
\tpython3dist(nothing) is needed by hello-1-1.x86_64
"""
PARSE = "error: line 2: Unknown tag: Vrs: 1\n"


def test_a_failed_check_shows_the_summary() -> None:
    found = find_failure(CHECK, SPEC)
    assert (found.section, found.line) == ("%check", 16)
    assert found.reason == "%check failed in `/usr/bin/python3 -m pytest tests`"
    assert found.excerpt[1] == "FAILED tests/test_a.py::test_one - assert 1 == 2"


def test_the_command_that_failed_is_named_with_its_line() -> None:
    found = find_failure(BUILD, SPEC)
    assert (found.section, found.line) == ("%build", 10)
    assert found.reason == "%build failed in `make docs`"
    assert found.excerpt[-1].startswith("make: ***")
    assert not any("in prep" in line for line in found.excerpt)


def test_files_that_nobody_owns() -> None:
    found = find_failure(UNPACKAGED, SPEC)
    assert "unpackaged" in found.reason
    assert found.excerpt == ("   /usr/share/hello",)


@pytest.mark.parametrize("log", [NOT_FOUND, DISORDERED])
def test_files_that_are_not_there(log: str) -> None:
    found = find_failure(log, SPEC)
    assert found.line == 20
    assert "hello.1" in found.reason


@pytest.mark.parametrize(
    ("log", "kind", "line"),
    [
        (CHECK, BuildFailed, 16),
        (NOT_FOUND, BuildFailed, 20),
        (MISSING, MissingDependency, 3),
        (PARSE, InvalidSpec, 2),
    ],
)
def test_errors_begin_with_the_line(
    tmp_path: Path, log: str, kind: type[Exception], line: int
) -> None:
    path = tmp_path / "hello.spec"
    path.write_text("\n".join(SPEC) + "\n")
    error = explain(log, str(path), "/x/build.log", 1)
    assert type(error) is kind
    assert error.message.startswith(f"{path}:{line}: ")
    assert "/x/build.log" in error.hint


@pytest.mark.parametrize(
    "run", ["$ env HOME=/builddir rpmbuild -br", "ENTER ['do_with_status'](['rpmbuild -br'])"]
)
def test_rounds_before_the_last_do_not_count(run: str) -> None:
    """Each of them ends with an error about what %generate_buildrequires asks for."""
    found = find_failure(f"{run}\n{MISSING}{run}\n{NOT_FOUND}", SPEC)
    assert (found.section, found.line) == ("%files", 20) and "hello.1" in found.reason
    assert found.excerpt == ()


def test_a_command_of_short_words_is_found_by_its_first(tmp_path: Path) -> None:
    spec = ["%build", "for i in 1; do", "  cc -o x %{name}.c", "done", "%install", "cc"]
    log = "Executing(%build): x\n+ cc -o x a.c\nerror: Bad exit status from /x (%build)\n"
    assert find_failure(log, spec).line == 3
    assert find_failure(log, [*spec[:3], "  cc", "done"]).line == 1


def test_a_log_that_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "hello.spec"
    path.write_text("Name: hello\n")
    assert "status 137" in explain("", str(path), "/x", 137).message

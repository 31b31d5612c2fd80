"""How commands are sent into other roots: the helper's command line, and what is missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trilby.rpm.enter import ENVIRONMENT, parse
from trilby.rpm.errors import ToolMissing
from trilby.rpm.repo import Repository, dnf_config, repo_file
from trilby.rpm.tools import HOST, Inside, Tools


def test_the_helper_reads_what_tools_write() -> None:
    inside = Inside(
        shared=("/a", "/b c"),
        placed={"/d": "/builddir"},
        install_root="/root of all",
        env={"X": "1 = 2"},
        user=(1000, 1001),
        network=False,
        cwd="/w",
    )
    line = Tools("/tree").argv(["rpm", "-q", "--all"], inside)
    order = parse(line[line.index("trilby.rpm.enter") + 1 :])
    assert order.parent == os.getpid()
    assert (order.root, order.command) == ("/tree", ["rpm", "-q", "--all"])
    assert order.binds == ["/a", "/b c", "/d=/builddir", "/root of all"]
    assert order.api == ["/root of all"]
    assert order.env == {**ENVIRONMENT, "X": "1 = 2"}
    assert (order.user, order.network, order.chdir) == ((1000, 1001), False, "/w")


@pytest.mark.parametrize("line", [[], ["/"], ["--what", "/", "/", "true"]])
def test_lines_that_nobody_writes(line: list[str]) -> None:
    with pytest.raises((ValueError, IndexError)):
        parse(line)


def test_a_program_that_a_tree_lacks(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match=r"has no rpmbuild .*install rpm-build"):
        Tools(str(tmp_path)).need("rpmbuild")
    program = tmp_path / "usr/bin/rpmbuild"
    program.parent.mkdir(parents=True)
    program.write_text("")
    program.chmod(0o755)
    Tools(str(tmp_path)).need("rpmbuild")


def test_on_the_host_nothing_is_entered() -> None:
    done = HOST.run(["env"], Inside(env={"ONE": "1"}, cwd="/"))
    assert "ONE=1" in done.text.splitlines() and "PYTHONPATH" not in done.text


def test_repositories_as_dnf_reads_them() -> None:
    signed = Repository("one", "/srv/one", key="/srv/one/KEY", priority=10)
    text = dnf_config([signed, Repository("two", "https://example.org/two")])
    assert "reposdir=/dev/null" in text
    assert (
        "[one]\nname=one\nbaseurl=file:///srv/one\ngpgcheck=1\ngpgkey=file:///srv/one/KEY" in text
    )
    assert "[two]\nname=two\nbaseurl=https://example.org/two\ngpgcheck=0\n" in text
    served = repo_file(signed, name="mine", url="https://example.org/r/")
    assert "[mine]" in served and "gpgkey=https://example.org/r/KEY\n" in served

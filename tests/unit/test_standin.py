"""The stand-in for Rawhide: what is said of it fits together, and a small tree is cut rightly."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.standin_cut import Cut, cut
from tests.support.standin_definition import FILES, Definition, definition, wheels
from tests.support.standin_dpkg import rpm_version, usr_merged
from tests.support.standin_spec import prebuilt
from tests.support.standin_stage import lay_over, stage

STATUS = """\
Package: base-files
Status: install ok installed
Architecture: amd64
Version: 14

Package: gawk
Status: install ok installed
Architecture: amd64
Version: 1:5.3.2-1
Depends: nothing-here | libc6 (>= 2.3), debconf:any
Conffiles:
 /etc/gawk.conf 0123456789abcdef

Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.41+ds-3

Package: debconf
Status: install ok installed
Architecture: all
Version: 1

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1
"""
LISTS = {
    "base-files": ["/.", "/etc", "/usr", "/usr/bin", "/usr/sbin", "/usr/lib"],
    "gawk": ["/.", "/usr/bin/gawk", "/etc/gawk.conf", "/usr/sbin/gawkd"],
    "libc6": ["/lib/libc.so.6"],
    "debconf": ["/usr/bin/debconf"],
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """As Debian leaves it: merged /usr, alternatives, and a file that a script made."""
    root = tmp_path / "tree"
    info = root / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text(STATUS)
    for name, paths in LISTS.items():
        (info / f"{name}.list").write_text("".join(f"{path}\n" for path in paths))
    for folder in ("usr/bin", "usr/sbin", "usr/lib", "etc/alternatives"):
        (root / folder).mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    for path in ("usr/bin/gawk", "usr/bin/debconf", "usr/sbin/gawkd", "usr/lib/libc.so.6"):
        (root / path).write_text("content")
    (root / "etc/gawk.conf").write_text("a setting")
    (root / "etc/gawk.conf").chmod(0o644)
    (root / "etc/shells").write_text("/bin/sh")
    (root / "usr/bin/awk").symlink_to("/etc/alternatives/awk")
    (root / "etc/alternatives/awk").symlink_to("/usr/bin/gawk")
    uid, gid = os.getuid(), os.getgid()
    (root / "etc/passwd").write_text(f"root:x:{uid}:{gid}::/root:/bin/sh\n")
    (root / "etc/group").write_text(f"root:x:{gid}:\n")
    return root


def small(tree: Path) -> tuple[Cut, Definition]:
    wanted = replace(definition(), links={}, made={})
    return cut(tree, wanted), wanted


def test_every_file_has_one_package_and_fedoras_place(tree: Path) -> None:
    found, _ = small(tree)
    where = {path: name for name, part in found.parts.items() for path in part.entries}
    assert where["/usr/bin/gawk"] == "gawk"
    assert where["/usr/bin/gawkd"] == "gawk", "sbin is bin"
    assert where["/usr/lib/libc.so.6"] == "glibc", "Fedora's name, and /lib is in /usr"
    assert where["/etc/shells"] == "setup" and "/etc/shells" in found.made_by_scripts
    assert "/usr/bin/debconf" not in where, "Debian's alone"
    assert "/etc/alternatives/awk" not in where
    assert "/var/lib/dpkg/status" not in where


def test_an_alternative_leads_to_what_was_chosen(tree: Path) -> None:
    found, _ = small(tree)
    assert found.parts["gawk"].entries["/usr/bin/awk"].target == "gawk"


def test_configuration_and_programs_are_marked(tree: Path) -> None:
    found, _ = small(tree)
    assert found.parts["gawk"].entries["/etc/gawk.conf"].config
    assert not found.parts["gawk"].entries["/usr/bin/gawk"].config
    assert found.parts["glibc"].entries["/usr/lib/libc.so.6"].mode & 0o111, "RPM asks for it"


def test_packages_need_the_first_alternative_that_is_there(tree: Path, tmp_path: Path) -> None:
    found, wanted = small(tree)
    source = prebuilt(found.parts, wanted, tmp_path / "stage", tmp_path / "lists")
    packages = {package.name: package for package in source.packages}
    assert packages["gawk"].requires == ("deb(libc6)",)
    assert packages["gawk"].version == "5.3.2"
    assert "deb(libc6)" in packages["glibc"].provides
    listed = (tmp_path / "lists/gawk").read_text().splitlines()
    assert "%config(noreplace) %attr(0644,root,root) /etc/gawk.conf" in listed
    assert "/usr/bin/awk" in listed


def test_staged_files_are_those_of_the_tree(tree: Path, tmp_path: Path) -> None:
    found, wanted = small(tree)
    lay_over(found.parts, replace(wanted, links={"gawk": {"/usr/bin/nawk": "gawk"}}))
    entries = [entry for part in found.parts.values() for entry in part.entries.values()]
    stage(entries, tmp_path / "stage")
    assert (tmp_path / "stage/usr/bin/gawkd").read_text() == "content"
    assert os.readlink(tmp_path / "stage/usr/bin/nawk") == "gawk"
    assert (tmp_path / "stage/usr/lib/os-release").exists(), "files of ours are there, too"
    with pytest.raises(FileExistsError, match="two packages"):
        stage(entries, tmp_path / "stage")


def test_files_are_of_packages_that_are_spoken_of() -> None:
    wanted = definition()
    known = {*wanted.names, *wanted.made, *wanted.links}
    assert {folder.name for folder in FILES.iterdir()} <= known
    assert not set(wanted.names) & set(wanted.made)
    assert all(wheel.version for wheel in wheels().values())


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1:5.3.2-1", "5.3.2"),
        ("1.3.6+ds1-1", "1.3.6"),
        ("6.1.0-1+b2", "6.1.0"),
        ("2.22.0~beta2-1", "2.22.0~beta2"),
        ("257.13-1~deb13u1", "257.13"),
        ("14", "14"),
    ],
)
def test_versions(version: str, expected: str) -> None:
    assert rpm_version(version) == expected


def test_places_of_a_merged_usr() -> None:
    assert usr_merged("/bin/sh") == "/usr/bin/sh"
    assert usr_merged("/lib64/ld.so") == "/usr/lib64/ld.so"
    assert usr_merged("/library/x") == "/library/x"
    assert usr_merged("/bin") == "/bin"

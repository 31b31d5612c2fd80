"""Prebuilt packages: the YAML, its errors, and the spec's text."""

from __future__ import annotations

from pathlib import Path

import pytest

from trilby.rpm import prebuilt
from trilby.rpm.errors import InvalidProject
from trilby.rpm.prebuilt_yaml import loads
from trilby.rpm.prepare import prepare

TEXT = """\
name: hello
version: "1.2"
summary: Says hello
license: Apache-2.0
requires: [conmon]
files:
  - path: /usr/bin/hello
    mode: "0755"
  - {path: /etc/hello.conf, source: conf/hello.conf, kind: config}
  - {path: /usr/bin/hi, kind: link, target: hello}
  - {path: /var/lib/hello, kind: dir, mode: "0750", user: hello, group: hello}
  - {path: /run/hello, kind: ghostdir}
units: [hello.service]
scriptlets:
  pre: exit 0
  post: echo there
packages:
  - name: hello-data
    version: "3"
    arch: noarch
    tree: share
    under: /usr/share/hello
"""


def test_spec() -> None:
    spec = prebuilt.render(loads(TEXT, "hello.yaml"))
    lines = spec.splitlines()
    for line in (
        "Name:           hello",
        "Requires:       conmon",
        "%autosetup -n hello-1.2",
        '%attr(0755,root,root) "/usr/bin/hello"',
        '%config(noreplace) %attr(-,root,root) "/etc/hello.conf"',
        '%dir %attr(0750,hello,hello) "/var/lib/hello"',
        '%ghost %dir %attr(-,root,root) "/run/hello"',
        "%systemd_postun_with_restart hello.service",
        "%package -n hello-data",
        "%files -n hello-data -f %{_builddir}/hello-data.tree",
    ):
        assert line in lines, line
    assert "{{" not in spec and "{%" not in spec.replace("%{", "")


def test_units_and_scriptlets_are_one_scriptlet() -> None:
    spec = prebuilt.render(loads(TEXT, "hello.yaml"))
    assert "BuildRequires:  systemd-rpm-macros\n" in spec
    assert "\n%post\n%systemd_post hello.service\necho there\n" in spec
    assert "\n%preun\n%systemd_preun hello.service\n" in spec
    assert [spec.count(f"\n%{name}\n") for name in ("pre", "post", "preun", "postun")] == [1] * 4
    without = TEXT.replace("units: [hello.service]\n", "")
    assert "systemd" not in prebuilt.render(loads(without, "hello.yaml"))


def test_pages_are_found_when_rpm_has_compressed_them() -> None:
    page = "  - {path: /usr/share/man/man1/hello.1}\n"
    text = TEXT.replace("units:", f"{page}units:")
    listed = "%attr(-,root,root) /usr/share/man/man1/hello.1*\n"
    assert listed in prebuilt.render(loads(text, "hello.yaml"))
    assert listed not in prebuilt.render(loads(f"{text}brp: none\n", "hello.yaml"))


def test_a_folder_is_read_in_place() -> None:
    spec = prebuilt.render(loads(TEXT, "hello.yaml"), folder="/a folder")
    assert 'cd "/a folder"' in spec
    assert "Source0" not in spec and "%autosetup" not in spec


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('version: "1.2"', "version: 1.2", r"hello\.yaml:2: Expected `str`, got `float`"),
        ('    mode: "0755"', "    mood: x", r"hello\.yaml:8: .*unknown field `mood`"),
        ("kind: config", "kind: konfig", r"hello\.yaml:9: Invalid enum value 'konfig'"),
        ("    arch: noarch", "    arch: [", r"hello\.yaml:\d+: "),
        ("name: hello\n", "", r"hello\.yaml:1: .*missing required field `name`"),
        ("    mode:", "    mood:", "fields here are capabilities, group, kind, mode, path"),
        ('version: "1.2"', "version: 1.2", "put it in quotes"),
        ("license: Apache-2.0\n", "", r"hello\.yaml:1: the package has no license"),
        ("path: /usr/bin/hello", "path: bin/hello", r"hello\.yaml:7: bin/hello has to begin with"),
        ('"0755"', '"rwx"', r'hello\.yaml:8: rwx is no mode, as "0755" is'),
        (", target: hello}", "}", r"hello\.yaml:10: /usr/bin/hi: a link has a target"),
        ("under: /usr", "under: usr", r"hello\.yaml:22: usr/share/hello has to begin with"),
    ],
)
def test_errors_say_where(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(InvalidProject, match=message):
        loads(TEXT.replace(old, new, 1), "hello.yaml")


def test_what_the_folder_lacks_is_told_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "hello.yaml").write_text(TEXT.replace("units:", "suggests:"))
    for missing, name in (
        ("hello.yaml:7: there is no usr/bin/hello", "usr/bin/hello"),
        ("hello.yaml:9: there is no conf/hello.conf", "conf/hello.conf"),
        ("hello.yaml:21: there is no directory share", "share/file"),
    ):
        with pytest.raises(InvalidProject, match=missing):
            prepare(str(tmp_path / "hello.yaml"), str(tmp_path / "out"))
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    (tmp_path / "hello.yaml").write_text(TEXT)
    with pytest.raises(InvalidProject, match=r"yaml:13: no file is the unit hello\.service .*add"):
        prepare(str(tmp_path / "hello.yaml"), str(tmp_path / "out"))
    text = TEXT.replace(
        "units:", "  - {path: /usr/lib/systemd/system/hello.service, source: x}\nunits:"
    )
    (tmp_path / "hello.yaml").write_text(text)
    (tmp_path / "x").write_text("")
    assert prepare(str(tmp_path / "hello.yaml"), str(tmp_path / "out")).files


def test_a_file_of_a_tree_is_there(tmp_path: Path) -> None:
    """Its path is named again for its mode only."""
    text = TEXT.partition("requires:")[0] + (
        'tree: all\nunder: /usr\nfiles: [{path: /usr/bin/x, mode: "4755"}]\n'
    )
    (tmp_path / "all" / "bin").mkdir(parents=True)
    (tmp_path / "all" / "bin" / "x").write_text("")
    (tmp_path / "hello.yaml").write_text(text)
    assert prepare(str(tmp_path / "hello.yaml"), str(tmp_path / "out")).files

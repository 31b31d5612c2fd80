"""Prebuilt packages: the YAML, its errors, and the spec's text."""

from __future__ import annotations

import pytest

from trilby.rpm import prebuilt
from trilby.rpm.errors import InvalidProject

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
    spec = prebuilt.render(prebuilt.loads(TEXT, "hello.yaml"))
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
    spec = prebuilt.render(prebuilt.loads(TEXT, "hello.yaml"))
    assert "BuildRequires:  systemd-rpm-macros\n" in spec
    assert "\n%post\n%systemd_post hello.service\necho there\n" in spec
    assert "\n%preun\n%systemd_preun hello.service\n" in spec
    assert [spec.count(f"\n%{name}\n") for name in ("pre", "post", "preun", "postun")] == [1] * 4
    without = TEXT.replace("units: [hello.service]\n", "")
    assert "systemd" not in prebuilt.render(prebuilt.loads(without, "hello.yaml"))


def test_a_folder_is_read_in_place() -> None:
    spec = prebuilt.render(prebuilt.loads(TEXT, "hello.yaml"), folder="/a folder")
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
    ],
)
def test_errors_say_where(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(InvalidProject, match=message):
        prebuilt.loads(TEXT.replace(old, new, 1), "hello.yaml")

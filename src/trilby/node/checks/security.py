"""Checks of SELinux and AppArmor: in force, with the policy and the labels of containers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from trilby.node.model import Check, Seen, failed, passed, skipped, warned

if TYPE_CHECKING:
    from trilby.node.node import Node

__all__ = ["CHECKS"]

GROUP: Final = "security"
ENFORCE: Final = "/sys/fs/selinux/enforce"
CONFIG: Final = "/etc/selinux/config"
#: Types of the store, with those that older policies gave.
LABELS: Final = ("container_var_lib_t", "container_ro_file_t", "container_file_t")
APPARMOR: Final = "/sys/module/apparmor/parameters/enabled"


def _config(node: Node, key: str) -> tuple[str, str]:
    """Value and place of a line of the configuration."""
    for number, line in node.host.lines(CONFIG):
        name, _, value = line.partition("=")
        if name.strip() == key:
            return value.strip(), f"{CONFIG}:{number}: {line}"
    return "", ""


def _selinux(node: Node) -> Seen:
    wanted, place = _config(node, "SELINUX")
    now = node.host.word(ENFORCE)
    if not now:
        if wanted in ("enforcing", "permissive"):
            return warned(
                place, f"{ENFORCE} is not there: SELinux is off until the next boot",
                mend="grubby --update-kernel=ALL --remove-args=selinux && reboot",
            )  # fmt: skip
        return skipped("the host has no SELinux")
    if now == "0":
        return warned(f"{ENFORCE} is 0: permissive", *filter(None, [place]))
    if wanted and wanted != "enforcing":
        return warned(f"{ENFORCE} is 1, and the next boot makes it {wanted}", place)
    return passed(f"{ENFORCE} is 1: enforcing")


def _policy(node: Node) -> Seen:
    if not node.host.exists(ENFORCE):
        return skipped("the host has no SELinux")
    kind = _config(node, "SELINUXTYPE")[0] or "targeted"
    modules = f"/var/lib/selinux/{kind}/active/modules"
    for priority in node.host.names(modules):
        if node.host.exists(f"{modules}/{priority}/container"):
            return passed(f"{modules}/{priority}/container is there")
    contexts = f"/etc/selinux/{kind}/contexts/lxc_contexts"
    if node.host.exists(contexts):
        return passed(f"{contexts} is there")
    return failed(f"neither {modules} nor {contexts} has the policy of containers")


def _label(node: Node) -> Seen:
    if not node.host.exists(ENFORCE):
        return skipped("the host has no SELinux")
    root = node.settings.storage.graphroot
    if not node.host.is_directory(root):
        return skipped(f"{root} is not there yet")
    try:
        label = node.host.label(root)
    except OSError as error:
        return warned(f"{root} has no label: {error.strerror}")
    kind = (label.split(":") + ["", "", ""])[2]
    seen = f"{root} is {label}"
    if kind in LABELS:
        return passed(seen)
    equal = f"semanage fcontext -a -e /var/lib/containers/storage {root} && "
    mend = "" if root.startswith("/var/lib/containers/") else equal
    return failed(seen, mend=f"{mend}restorecon -RF {root}")


def _relabel(node: Node) -> Seen:
    if node.host.exists("/.autorelabel"):
        return warned("/.autorelabel is there: the next boot relabels all files, and boots again")
    return passed("/.autorelabel is not there")


def _booleans(node: Node) -> Seen:
    path = "/sys/fs/selinux/booleans/container_manage_cgroup"
    value = node.host.word(path)
    if not value:
        return skipped(f"{path} is not there")
    if value.split()[0] == "1":
        return passed(f"{path} is {value}")
    return warned(f"{path} is {value}")


def _apparmor(node: Node) -> Seen:
    value = node.host.word(APPARMOR)
    if value != "Y":
        return skipped("the host has no AppArmor")
    path = node.host.which("apparmor_parser")
    if path:
        return passed(f"{APPARMOR} is Y, {path} is there")
    return warned(f"{APPARMOR} is Y, and apparmor_parser is not installed")


def _crypto(node: Node) -> Seen:
    """FIPS keeps algorithms from both sides of a connection."""
    path = "/proc/sys/crypto/fips_enabled"
    value = node.host.word(path)
    if value != "1":
        return passed(f"{path} is {value or 'not there'}")
    for number, line in node.host.lines("/etc/crypto-policies/config"):
        if re.match(r"FIPS\b", line):
            return passed(f"/etc/crypto-policies/config:{number}: {line}")
    return warned(f"{path} is 1, and /etc/crypto-policies/config does not say FIPS")


CHECKS: Final = (
    Check(
        id="selinux", group=GROUP, title="SELinux", look=_selinux,
        why="it keeps what breaks out of a container from the host",
        mend=f"setenforce 1; sed -i 's/^SELINUX=.*/SELINUX=enforcing/' {CONFIG}",
    ),
    Check(
        id="selinux-policy", group=GROUP, title="SELinux policy of containers", look=_policy,
        why="containers are denied everything, or get types that are not theirs",
        mend="dnf install container-selinux",
    ),
    Check(
        id="selinux-label", group=GROUP, title="SELinux label of the store", look=_label,
        why="containers may not read their own images",
        mend="restorecon -RF /var/lib/containers",
    ),
    Check(
        id="selinux-relabel", group=GROUP, title="Relabelling at boot", look=_relabel,
        why="the node is away for minutes", mend="restorecon -RF / && rm /.autorelabel",
    ),
    Check(
        id="selinux-booleans", group=GROUP, title="SELinux and cgroups of containers",
        look=_booleans, why="systemd in a container is denied its cgroups",
        mend="setsebool -P container_manage_cgroup on",
    ),
    Check(
        id="apparmor", group=GROUP, title="AppArmor", look=_apparmor,
        why="profiles of pods cannot be loaded", mend="apt install apparmor",
    ),
    Check(
        id="fips", group=GROUP, title="FIPS mode", look=_crypto,
        why="peers are refused in the midst of a handshake, and nobody says why",
        mend="fips-mode-setup --enable",
    ),
)  # fmt: skip

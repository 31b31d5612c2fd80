"""Checks of memory: swap against what the kubelet allows, and how much there is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from trilby.node.model import Check, Seen, at, failed, passed, skipped, warned
from trilby.node.processes import main_process

if TYPE_CHECKING:
    from trilby.node.node import Node

__all__ = ["CHECKS"]

GROUP: Final = "memory"
MIB: Final = 1 << 20
LEAST: Final = 512 * MIB
#: What kubeadm asks for.
ENOUGH: Final = 1700 * MIB
ZRAM: Final = "/usr/lib/systemd/zram-generator.conf"
ZRAM_OFF: Final = "/etc/systemd/zram-generator.conf"


def _swap(node: Node) -> Seen:
    text = node.host.read("/proc/swaps")
    if text is None:
        return skipped("/proc/swaps is not there")
    active = [f"/proc/swaps: {line.split()[0]}" for line in text.splitlines()[1:] if line.strip()]
    if not active:
        return passed("/proc/swaps: none")
    if node.kubelet and not node.kubelet.boolean("failSwapOn", True):
        return passed(*active, node.kubelet.told("failSwapOn", "false"))
    told = node.kubelet.told("failSwapOn", "true") if node.kubelet else ""
    return failed(*active, *filter(None, [told]), mend=_off(active))


def _off(active: list[str]) -> str:
    devices = [line.removeprefix("/proc/swaps: ") for line in active]
    if any("zram" in device for device in devices):
        return f"swapoff -a && touch {ZRAM_OFF}"
    return "swapoff -a && sed -i '/\\sswap\\s/d' /etc/fstab"


def _swap_at_boot(node: Node) -> Seen:
    """What the next boot switches on: fstab(5), and Fedora's zram."""
    if node.kubelet and not node.kubelet.boolean("failSwapOn", True):
        return passed(node.kubelet.told("failSwapOn", "false"))
    for number, line in node.host.lines("/etc/fstab"):
        fields = line.split()
        if len(fields) > 2 and fields[2] == "swap" and "noauto" not in (fields + [""])[3]:
            return warned(
                at("/etc/fstab", number, line), mend=f"sed -i '{number}d' /etc/fstab"
            )  # fmt: skip
    if node.host.exists(ZRAM) and not node.host.exists(ZRAM_OFF):
        return warned(f"{ZRAM} is there, and {ZRAM_OFF} is not", mend=f"touch {ZRAM_OFF}")
    for number, line in node.host.lines(ZRAM_OFF):
        if line.startswith("[zram"):
            return warned(at(ZRAM_OFF, number, line), mend=f": > {ZRAM_OFF}")
    return passed("neither /etc/fstab nor the zram generator has any")


def _size(node: Node) -> Seen:
    for number, line in node.host.lines("/proc/meminfo"):
        name, _, value = line.partition(":")
        if name == "MemTotal":
            size = int(value.split()[0]) * 1024
            seen = at("/proc/meminfo", number, f"{size // MIB} MiB")
            if size < LEAST:
                return failed(f"{seen}; {LEAST // MIB} MiB are needed")
            return passed(seen) if size >= ENOUGH else warned(f"{seen}; wanted {ENOUGH // MIB} MiB")
    return skipped("/proc/meminfo is not there")


def _capabilities(node: Node) -> Seen:
    """Nested hosts lack the right to protect what matters."""
    from trilby.system.limits import capability_names

    for number, line in node.host.lines(f"{node.host.proc}/status"):
        name, _, mask = line.partition(":")
        if name != "CapBnd":
            continue
        missing = sorted({"CAP_SYS_RESOURCE", "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_PTRACE"}
                         - capability_names(int(mask, 16)))  # fmt: skip
        place = f"{node.host.proc}/status"
        if "CAP_SYS_ADMIN" in missing or "CAP_NET_ADMIN" in missing:
            return failed(at(place, number, f"{', '.join(missing)} missing"))
        if missing:
            return warned(at(place, number, f"{', '.join(missing)} missing"))
        return passed(at(place, number, f"CapBnd is {mask.strip()}"))
    return skipped(f"{node.host.proc}/status is not there")


def _processors(node: Node) -> Seen:
    text = node.host.word("/sys/devices/system/cpu/online")
    if not text:
        return skipped("/sys/devices/system/cpu/online is not there")
    count = 0
    for part in text.split(","):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    seen = f"/sys/devices/system/cpu/online: {text}"
    return passed(seen) if count >= 2 else warned(f"{seen}: one processor; kubeadm asks for 2")


def _open_files(node: Node) -> Seen:
    return _limit(node, f"{node.host.proc}/limits", "Max open files", 65_536)


def _tasks(node: Node) -> Seen:
    return _limit(node, f"{node.host.proc}/limits", "Max processes", 16_384)


def _daemon_limits(node: Node) -> Seen:
    """What systemd gives the daemon counts for it, not the limits of a shell."""
    pid = main_process(node.host, "trilby.service", "trilbyd")
    if not pid:
        return skipped("trilby.service does not run")
    return _limit(node, f"/proc/{pid}/limits", "Max open files", 65_536)


def _limit(node: Node, path: str, name: str, wanted: int) -> Seen:
    """The hard limit: programs raise the soft one themselves."""
    for number, line in node.host.lines(path):
        if line.startswith(name):
            hard = line[len(name) :].split()[1]
            seen = at(path, number, f"{name} {hard}")
            enough = hard == "unlimited" or int(hard) >= wanted
            return passed(seen) if enough else warned(f"{seen}; wanted {wanted}")
    return skipped(f"{path} is not there")


UNIT: Final = os.path.join("/etc/systemd/system/trilby.service.d", "limits.conf")

CHECKS: Final = (
    Check(
        id="swap", group=GROUP, title="Swap", look=_swap,
        why="the kubelet does not start with swap unless failSwapOn is false",
    ),
    Check(
        id="swap-at-boot", group=GROUP, title="Swap after the next boot", look=_swap_at_boot,
        why="the kubelet does not start after the next boot",
    ),
    Check(
        id="memory-size", group=GROUP, title="Memory", look=_size,
        why="kubelet, daemon and system pods take several hundred MiB",
        mend="give the host more memory",
    ),
    Check(
        id="processors", group=GROUP, title="Processors", look=_processors,
        why="a control plane is refused by kubeadm on less than two",
        mend="give the host more processors",
    ),
    Check(
        id="capabilities", group=GROUP, title="Capabilities", look=_capabilities,
        why="in a restricted environment limits of pods are clamped, or pods fail",
        mend="run the node outside of the container, or give it these capabilities",
    ),
    Check(
        id="ulimit-nofile", group=GROUP, title="Open files of a process", look=_open_files,
        why="containers inherit the limit where they have none of their own",
        mend="echo 'DefaultLimitNOFILE=1024:524288' >> /etc/systemd/system.conf && systemctl"
        " daemon-reexec",
    ),
    Check(
        id="ulimit-nproc", group=GROUP, title="Processes of a user", look=_tasks,
        why="all containers with the same user count together",
        mend="echo 'DefaultLimitNPROC=infinity' >> /etc/systemd/system.conf && systemctl"
        " daemon-reexec",
    ),
    Check(
        id="ulimit-daemon", group=GROUP, title="Open files of the daemon", look=_daemon_limits,
        why="the daemon holds some descriptors for each pod",
        mend=f"printf '[Service]\\nLimitNOFILE=1048576\\n' > {UNIT} && systemctl daemon-reload &&"
        " systemctl restart trilby",
    ),
)  # fmt: skip

"""Hosts whose kernel, modules, sysctls, cgroups or memory are not as they should be."""

from __future__ import annotations

from tests.support.made_host import CONFLIST, LIMITS, MOUNTS, RELEASE, V1_CGROUP, V1_MOUNTS, Files
from tests.unit.node.case import Case

from trilby.node.checks.modules import MODULES
from trilby.node.checks.sysctls import SYSCTLS, Sysctl

OSRELEASE = "proc/sys/kernel/osrelease"
CONF = "etc/trilby/trilby.conf"
KUBELET = "var/lib/kubelet/config.yaml"
SWAPS = "Filename Type Size Used Priority\n/dev/zram0 partition 8388604 0 100\n"
DISK_SWAP = "Filename Type Size Used Priority\n/dev/sda2 partition 8388604 0 100\n"
DEP = f"lib/modules/{RELEASE}/modules.dep"


def kubelet(text: str) -> Files:
    return {KUBELET: f"kind: KubeletConfiguration\n{text}\n"}


def v1(*without: str, **files: str | None) -> Files:
    """A host with version 1 of cgroups."""

    def kept(text: str) -> str:
        lines = text.splitlines(keepends=True)
        return "".join(line for line in lines if not any(name in line for name in without))

    return {"proc/1/cgroup": kept(V1_CGROUP), "proc/1/mountinfo": kept(V1_MOUNTS), **files}


KERNEL = (
    Case("kernel-version", "warn", "it lacks user namespaces with overlay", {OSRELEASE: "5.15.0-1"}),
    Case("kernel-version", "fail", "5.6 is needed", {OSRELEASE: "4.18.0-372.el8"}),
    Case("kernel-version", "skip", "is not there", {OSRELEASE: None}),
    Case("kernel-modules-there", "fail", "but 6.18.5",
         {f"lib/modules/{RELEASE}": None, "lib/modules/6.18.5/modules.dep": ""}),
    Case("kernel-modules-there", "skip", "has no modules", {f"lib/modules/{RELEASE}": None}),
    Case("kernel-modules-there", "skip", "is not known", {OSRELEASE: None}),
    Case("kernel-namespaces", "fail", "lacks pid", {"proc/1/ns/pid": None}),
    Case("kernel-namespaces", "skip", "is not there", {"proc/1/ns": None}),
    Case("kernel-user-namespaces", "warn", "has no user namespaces",
         {"proc/sys/user/max_user_namespaces": None}),
    Case("kernel-user-namespaces", "warn", "is 0", {"proc/sys/user/max_user_namespaces": "0\n"}),
    Case("kernel-user-namespaces", "warn", "5.19 is needed", {OSRELEASE: "5.15.0"}),
    Case("kernel-seccomp", "fail", "has no seccomp", {"proc/sys/kernel/seccomp": None}),
    Case("kernel-seccomp", "fail", "errno is missing",
         {"proc/sys/kernel/seccomp/actions_avail": "kill allow\n"}),
    Case("kernel-idmapped-mounts", "warn", "5.19 is needed", {OSRELEASE: "5.10.0"}),
    Case("kernel-idmapped-mounts", "warn", "cannot shift owners",
         {"proc/1/mountinfo": MOUNTS.replace("xfs", "reiserfs")}),
    Case("kernel-idmapped-mounts", "warn", "is on tmpfs",
         {OSRELEASE: "6.1.0", "proc/1/mountinfo": MOUNTS.replace("xfs", "tmpfs")}),
    Case("kernel-idmapped-mounts", "skip", "mount table", {"proc/1/mountinfo": None}),
    Case("kernel-recursive-read-only", "warn", "5.12 is needed", {OSRELEASE: "5.10.0"}),
    Case("mount-propagation", "warn", "is mounted private",
         {"proc/1/mountinfo": MOUNTS.replace("shared:1 ", "")}),
    Case("mount-propagation", "skip", "mount table", {"proc/1/mountinfo": None}),
    Case("kernel-pressure", "warn", "psi=0",
         {"proc/pressure": None, "proc/cmdline": "root=/dev/sda1 psi=0\n"}),
    Case("kernel-keyrings", "warn", "has no keyrings", {"proc/keys": None}),
    Case("devices", "fail", "/dev/full missing", {"dev/full": None}),
    Case("devices", "skip", "/dev is empty", {"dev": None}),
)  # fmt: skip

NOT_LOADED = {
    "proc/sys/net/bridge": None,
    "proc/filesystems": "nodev\tproc\n",
    **{f"sys/module/{name}": None for module in MODULES for name in module.names},
}

MODULE_CASES = (
    *(
        Case(module.id, module.bad, "does not have it", NOT_LOADED)
        for module in MODULES
    ),
    *(
        Case(module.id, "pass", "modules.dep:1",
             {**NOT_LOADED, DEP: f"kernel/x/{module.names[0].replace('_', '-')}.ko.xz: kernel/y/z.ko\n"})
        for module in MODULES
        if module.by_itself
    ),
    Case("module-br-netfilter", "fail", "modules.dep:2: it is there",
         {**NOT_LOADED, DEP: "kernel/a.ko:\nkernel/net/bridge/br_netfilter.ko.xz:\n"}),
    Case("module-overlay", "pass", "/proc/filesystems has overlay",
         {**NOT_LOADED, "proc/filesystems": "nodev\toverlay\n"}),
    Case("module-veth", "skip", "nor is /lib/modules",
         {**NOT_LOADED, f"lib/modules/{RELEASE}": None}),
    Case("modules-at-boot", "warn", "has br_netfilter", {"etc/modules-load.d": None}),
    Case("modules-at-boot", "pass", "/usr/lib/modules-load.d/kube.conf:2: br_netfilter",
         {"etc/modules-load.d": None, "usr/lib/modules-load.d/kube.conf": "# why\nbr-netfilter\n"}),
    Case("modules-at-boot", "pass", "the kernel: br_netfilter",
         {"etc/modules-load.d": None,
          f"lib/modules/{RELEASE}/modules.builtin": "kernel/net/bridge/br_netfilter.ko\n"}),
)  # fmt: skip

# Pods of this network get IPv6 addresses.
SIX: Files = {"etc/cni/net.d/10-pods.conflist": CONFLIST.replace("10.88.0.0/16", "fd00:1::/64")}


def wrong(sysctl: Sysctl) -> str:
    if sysctl.least:
        return "10\n"
    return f"{1 - sysctl.value}\n" if sysctl.value < 2 else "7\n"


FORWARD = "proc/sys/net/ipv4/ip_forward"
SYSCTL_CASES = (
    *(
        Case(each.id, each.bad, f"{each.path} is",
             {each.path[1:]: wrong(each), **(SIX if each.ipv6 else {})})
        for each in SYSCTLS
    ),
    *(
        Case(each.id, "pass", "no pods get IPv6 addresses", {each.path[1:]: "0\n"})
        for each in SYSCTLS
        if each.ipv6
    ),
    *(
        Case(each.id, "fail", "protectKernelDefaults is true",
             {each.path[1:]: "3\n", **kubelet("protectKernelDefaults: true")})
        for each in SYSCTLS
        if each.kubelet
    ),
    Case("sysctl-net-ipv4-ip-forward", "skip", "no such sysctl here", {FORWARD: None}),
    Case("sysctl-net-bridge-bridge-nf-call-iptables", "skip", "br_netfilter is not loaded",
         {"proc/sys/net/bridge": None}),
    Case("sysctl-net-ipv4-ip-forward", "fail", "/etc/sysctl.d/50-x.conf:2: net.ipv4.ip_forward = 0",
         {FORWARD: "0\n", "etc/sysctl.d/50-x.conf": "# off\nnet/ipv4/ip_forward = 0\n"}),
    Case("sysctl-net-ipv4-ip-forward", "warn", "the next boot sets 0",
         {"etc/sysctl.d/50-x.conf": "net.ipv4.ip_forward=0\n"}),
    Case("sysctl-net-ipv4-ip-forward", "pass", "/etc/sysctl.conf:1: net.ipv4.ip_forward = 1",
         {"etc/sysctl.d/50-x.conf": "net.ipv4.ip_forward=0\n",
          "etc/sysctl.conf": "-net.ipv4.ip_forward = 1\n"}),
    # A file of /etc hides the distribution's of the same name.
    Case("sysctl-net-ipv4-ip-forward", "pass", "is 1",
         {"usr/lib/sysctl.d/50-x.conf": "net.ipv4.ip_forward=0\n", "etc/sysctl.d/50-x.conf": ""}),
)  # fmt: skip

CGROUPS = (
    Case("cgroup-version", "fail", "no cgroup file system",
         {"proc/1/mountinfo": MOUNTS.replace("cgroup2", "tmpfs")}),
    Case("cgroup-version", "warn", "version 1 (4 hierarchies)", v1()),
    Case("cgroup-version", "warn", "failCgroupV1 is false", v1(**kubelet("failCgroupV1: false"))),
    Case("cgroup-v1-allowed", "fail", "failCgroupV1 is true", v1()),
    Case("cgroup-v1-allowed", "pass", "config.yaml:2: failCgroupV1 is false",
         v1(**kubelet("failCgroupV1: false"))),
    Case("cgroup-v1-allowed", "skip", "there is no KubeletConfiguration", v1(**{KUBELET: None})),
    Case("cgroup-controllers", "fail", "pids missing",
         {"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory hugetlb\n"}),
    Case("cgroup-controllers", "warn", "hugetlb missing",
         {"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n"}),
    Case("cgroup-controllers", "fail", "/proc/1/cgroup: cpu, cpuset, pids; memory missing",
         v1("memory")),
    Case("cgroup-controllers", "warn", "hugetlb, devices, freezer, blkio missing", v1()),
    Case("cgroup-controllers", "skip", "no cgroup file system", {"proc/1/mountinfo": None}),
    Case("cgroup-delegation", "warn", "memory, pids missing",
         {"sys/fs/cgroup/cgroup.subtree_control": "cpuset cpu\n"}),
    Case("cgroup-delegation", "pass", "systemd hands cpu, cpuset down when trilby.service starts",
         {"sys/fs/cgroup/cgroup.subtree_control": "memory pids\n",
          "sys/fs/cgroup/system.slice/trilby.service": None}),
    Case("cgroup-delegation", "skip", "only version 2", v1()),
    Case("cgroup-driver", "fail", "config.yaml:2: cgroupDriver is cgroupfs",
         kubelet("cgroupDriver: cgroupfs")),
    Case("cgroup-driver", "fail", "(default): cgroupDriver is cgroupfs", kubelet("a: b")),
    Case("cgroup-driver", "skip", "there is no KubeletConfiguration", {KUBELET: None}),
    Case("cgroup-driver", "fail", f"{CONF}:2:1: cgroup_manager is cgroupfs",
         {CONF: '[trilby.runtime]\ncgroup_manager = "cgroupfs"\n'}),
    Case("cgroup-manager", "fail", "/run/systemd/system is not there",
         {"run/systemd": None, CONF: '[trilby.runtime]\ncgroup_manager = "systemd"\n'}),
    Case("cgroup-manager", "warn", "/run/systemd/system is there",
         {CONF: '[trilby.runtime]\ncgroup_manager = "cgroupfs"\n'}),
    Case("cgroup-swap", "warn", "memory.memsw.limit_in_bytes is not there", v1()),
    Case("cgroup-swap", "pass", "is there",
         v1(**{"sys/fs/cgroup/memory/memory.memsw.limit_in_bytes": "1"})),
)  # fmt: skip

ZRAM = "usr/lib/systemd/zram-generator.conf"
MEMORY = (
    Case("swap", "fail", "/proc/swaps: /dev/zram0", {"proc/swaps": SWAPS}),
    Case("swap", "fail", "failSwapOn is true", {"proc/swaps": DISK_SWAP, **kubelet("failSwapOn: true")}),
    Case("swap", "fail", "/dev/sda2", {"proc/swaps": DISK_SWAP, KUBELET: None}),
    Case("swap", "pass", "failSwapOn is false", {"proc/swaps": SWAPS, **kubelet("failSwapOn: false")}),
    Case("swap", "skip", "is not there", {"proc/swaps": None}),
    Case("swap-at-boot", "warn", "/etc/fstab:2: /dev/sda2",
         {"etc/fstab": "/dev/sda1 / xfs defaults\n/dev/sda2 none swap defaults 0 0\n"}),
    Case("swap-at-boot", "pass", "neither", {"etc/fstab": "/dev/sda2 none swap noauto 0 0\n"}),
    Case("swap-at-boot", "warn", "zram-generator.conf is there", {ZRAM: "[zram0]\n"}),
    Case("swap-at-boot", "pass", "neither",
         {ZRAM: "[zram0]\n", "etc/systemd/zram-generator.conf": ""}),
    Case("swap-at-boot", "warn", "/etc/systemd/zram-generator.conf:1: [zram0]",
         {"etc/systemd/zram-generator.conf": "[zram0]\n"}),
    Case("swap-at-boot", "pass", "failSwapOn is false", {ZRAM: "", **kubelet("failSwapOn: false")}),
    Case("memory-size", "fail", "/proc/meminfo:1: 244 MiB", {"proc/meminfo": "MemTotal: 250000 kB\n"}),
    Case("memory-size", "warn", "976 MiB", {"proc/meminfo": "MemTotal: 1000000 kB\n"}),
    Case("memory-size", "skip", "is not there", {"proc/meminfo": None}),
    Case("processors", "warn", "one processor", {"sys/devices/system/cpu/online": "0\n"}),
    Case("processors", "pass", "0,2-3", {"sys/devices/system/cpu/online": "0,2-3\n"}),
    Case("processors", "skip", "is not there", {"sys/devices/system/cpu/online": None}),
    Case("capabilities", "warn", "/proc/1/status:1: CAP_SYS_RESOURCE missing",
         {"proc/1/status": "CapBnd:\t000001fffeffffff\n"}),
    Case("capabilities", "fail", "CAP_SYS_ADMIN", {"proc/1/status": "CapBnd:\t00000000a80425fb\n"}),
    Case("capabilities", "skip", "is not there", {"proc/1/status": None}),
    Case("ulimit-nofile", "warn", "Max open files 4096",
         {"proc/1/limits": LIMITS.replace("524288", "4096  ")}),
    Case("ulimit-nofile", "skip", "is not there", {"proc/1/limits": None}),
    Case("ulimit-nproc", "warn", "Max processes 1024",
         {"proc/1/limits": "Max processes 1024 1024 processes\n"}),
    Case("ulimit-daemon", "warn", "/proc/100/limits:3: Max open files 4096",
         {"proc/100/limits": LIMITS.replace("524288", "4096  ")}),
    Case("ulimit-daemon", "skip", "does not run",
         {"sys/fs/cgroup/system.slice/trilby.service": None}),
)  # fmt: skip

CASES = (*KERNEL, *MODULE_CASES, *SYSCTL_CASES, *CGROUPS, *MEMORY)

"""A host made of files in a directory, for the checks of a node: a fit one, and changes to it."""

from __future__ import annotations

import base64
import errno
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from trilby.cli.node.settings import read_settings
from trilby.cli.settings import Settings
from trilby.node.host import Host, Space
from trilby.node.node import Node
from trilby.system.clock import ClockState

GIB = 1 << 30

#: Content of a file; "-> TARGET" is a link; "DIR" a directory; None: it is taken away.
Files = Mapping[str, str | None]


def script(text: str) -> str:
    return f"#!/bin/sh\n{text}\n"


def says(text: str) -> str:
    return script(f"cat <<'END'\n{text}\nEND")


def certificate(begin: float, end: float) -> str:
    """PEM of a certificate that has dates, and little else; RFC 5280."""

    def element(tag: int, *content: bytes) -> bytes:
        data = b"".join(content)
        assert len(data) < 128
        return bytes([tag, len(data)]) + data

    def utc(seconds: float) -> bytes:
        return element(0x17, time.strftime("%y%m%d%H%M%SZ", time.gmtime(seconds)).encode())

    empty = element(0x30)
    body = element(
        0x30, element(0xA0, element(2, b"\2")), element(2, b"\1"), empty, empty,
        element(0x30, utc(begin), utc(end)), empty,
    )  # fmt: skip
    text = base64.encodebytes(element(0x30, body)).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n"


DAY = 86400.0
RELEASE = "6.18.4-300.fc45.x86_64"
NOW = time.time()
VALID = certificate(NOW - DAY, NOW + 300 * DAY)
EXPIRED = certificate(NOW - 20 * DAY, NOW - DAY)
ENDING = certificate(NOW - 20 * DAY, NOW + 3 * DAY)
FUTURE = certificate(NOW + DAY, NOW + 20 * DAY)

FEATURES = """{"mountOptions": ["rro", "idmap", "ro"], "linux": {"seccomp": {"enabled": true},
"selinux": {"enabled": true}, "cgroup": {"v1": true, "v2": true, "systemd": true}}}"""
MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - xfs /dev/sda1 rw,attr2
23 22 0:22 / /proc rw,nosuid shared:2 - proc proc rw
24 22 0:23 / /sys rw,nosuid shared:3 - sysfs sysfs rw
25 24 0:24 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw
26 22 0:25 / /run rw,nosuid shared:5 - tmpfs tmpfs rw
"""
V1_MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - xfs /dev/sda1 rw,attr2
25 24 0:24 / /sys/fs/cgroup/cpu rw shared:4 - cgroup cgroup rw,cpu
26 24 0:25 / /sys/fs/cgroup/cpuset rw shared:4 - cgroup cgroup rw,cpuset
27 24 0:26 / /sys/fs/cgroup/memory rw shared:4 - cgroup cgroup rw,memory
28 24 0:27 / /sys/fs/cgroup/pids rw shared:4 - cgroup cgroup rw,pids
"""
V1_CGROUP = "4:pids:/\n3:memory:/\n2:cpuset:/\n1:cpu:/\n"
LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max processes             unlimited            unlimited            processes
Max open files            1024                 524288               files
"""
KUBELET = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
containerRuntimeEndpoint: unix:///run/trilby/trilby.sock
staticPodPath: /etc/kubernetes/manifests
authentication:
  x509:
    clientCAFile: /etc/kubernetes/pki/ca.crt
"""
ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t017000CB\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t007000CB\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
TCP = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
CONFLIST = """{"cniVersion": "1.0.0", "name": "pods",
 "plugins": [
  {"type": "bridge", "bridge": "cni0", "ipam": {"type": "host-local", "subnet": "10.88.0.0/16"}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}"""
PLUGIN = says('{"cniVersion": "1.1.0", "supportedVersions": ["0.4.0", "1.0.0", "1.1.0"]}')
SYSCTLS = {
    "net/ipv4/ip_forward": 1,
    "net/ipv6/conf/all/forwarding": 1,
    "net/ipv6/conf/all/disable_ipv6": 0,
    "net/bridge/bridge-nf-call-iptables": 1,
    "net/bridge/bridge-nf-call-ip6tables": 1,
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
    "fs/inotify/max_user_instances": 8192,
    "fs/inotify/max_user_watches": 524288,
    "kernel/pid_max": 4194304,
    "kernel/threads-max": 126000,
    "fs/file-max": 9223372036854775807,
    "net/netfilter/nf_conntrack_max": 262144,
    "user/max_user_namespaces": 63000,
}
MODULES = (
    "overlay br_netfilter bridge veth nf_tables nf_conntrack nf_nat vxlan ip_vs xt_comment tun"
)
WANTS = "etc/systemd/system/multi-user.target.wants"
UNITS = "usr/lib/systemd/system"

FIT: dict[str, str | None] = {
    **{f"proc/sys/{key}": f"{value}\n" for key, value in SYSCTLS.items()},
    **{f"sys/module/{name}": "DIR" for name in MODULES.split()},
    **{f"proc/1/ns/{name}": "" for name in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")},
    **{f"dev/{name}": "" for name in ("null", "zero", "full", "random", "urandom", "tty", "ptmx")},
    **{f"usr/bin/{name}": script("") for name in ("unshare", "mount")},
    **{f"usr/libexec/cni/{name}": PLUGIN for name in ("bridge", "host-local", "portmap")},
    "proc/sys/kernel/osrelease": RELEASE,
    "proc/sys/kernel/hostname": "node1\n",
    "proc/sys/kernel/seccomp/actions_avail": "kill_process kill trap errno trace log allow\n",
    "proc/sys/crypto/fips_enabled": "0\n",
    "proc/filesystems": "nodev\tproc\nnodev\toverlay\n\txfs\n",
    "proc/pressure/memory": "some avg10=0.00\n",
    "proc/cmdline": "root=/dev/sda1 ro\n",
    "proc/keys": "",
    "proc/swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
    "proc/meminfo": "MemTotal:       16000000 kB\n",
    "proc/1/comm": "systemd\n",
    "proc/1/cgroup": "0::/init.scope\n",
    "proc/1/mountinfo": MOUNTS,
    "proc/1/status": "Name:\tsystemd\nNSpid:\t1\nCapBnd:\t000001ffffffffff\n",
    "proc/1/limits": LIMITS,
    "proc/1/net/route": ROUTES,
    "proc/1/net/ipv6_route": "",
    "proc/1/net/tcp": TCP,
    "proc/1/net/tcp6": TCP,
    "proc/100/comm": "trilbyd\n",
    "proc/100/cmdline": "/usr/bin/python3\0/usr/bin/trilbyd\0",
    "proc/100/status": "Name:\ttrilbyd\nNSpid:\t100\n",
    "proc/100/limits": LIMITS,
    "proc/100/maps": "7f00-7f01 r-xp 0 08:01 1   /usr/lib64/libc.so.6\n",
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory hugetlb pids misc\n",
    "sys/fs/cgroup/cgroup.subtree_control": "cpuset cpu io memory hugetlb pids\n",
    "sys/fs/cgroup/system.slice/trilby.service/cgroup.procs": "100\n",
    "sys/fs/cgroup/system.slice/trilby.service/memory.events": "low 0\noom 0\noom_kill 0\n",
    "sys/fs/cgroup/system.slice/kubelet.service/cgroup.procs": "101\n",
    "sys/fs/cgroup/system.slice/chronyd.service/cgroup.procs": "102\n",
    "sys/fs/cgroup/system.slice/firewalld.service/cgroup.procs": "103\n",
    "sys/fs/selinux/enforce": "1",
    "sys/fs/selinux/booleans/container_manage_cgroup": "1 1",
    "sys/devices/system/cpu/online": "0-3\n",
    "sys/class/net/lo/flags": "0x9\n",
    "sys/class/dmi/id/product_uuid": "4C4C4544-0051-3510-8052-B4C04F4E3132\n",
    f"lib/modules/{RELEASE}/modules.dep": "kernel/net/ipv4/foo.ko.xz:\n",
    "run/systemd/system": "DIR",
    "var/lib/containers/storage/overlay": "DIR",
    "var/lib/kubelet/config.yaml": KUBELET,
    "var/lib/kubelet/pki/kubelet-client-current.pem": VALID,
    "var/lib/kubelet/pki/kubelet.crt": VALID,
    "var/lib/kubelet/pki/kubelet.key": "KEY",
    "var/lib/selinux/targeted/active/modules/200/container": "DIR",
    "etc/kubernetes/pki/ca.crt": VALID,
    "etc/kubernetes/manifests": "DIR",
    "etc/selinux/config": "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
    "etc/modules-load.d/trilby.conf": "br_netfilter\n",
    "etc/fstab": "/dev/sda1 / xfs defaults 0 0\n",
    "etc/hostname": "node1\n",
    "etc/hosts": "127.0.0.1 localhost\n203.0.112.5 node1\n",
    "etc/resolv.conf": "nameserver 203.0.112.1\nsearch example.org\n",
    "etc/machine-id": "4b0f5d2f9c9e4b0e8a3c1d2e3f405162\n",
    "etc/cni/net.d/10-pods.conflist": CONFLIST,
    "etc/containers/registries.conf": 'unqualified-search-registries = ["quay.io"]\n',
    "etc/containers/policy.json": '{"default": [{"type": "insecureAcceptAnything"}]}',
    "usr/share/containers/seccomp.json": '{"defaultAction": "SCMP_ACT_ALLOW"}',
    "etc/firewalld/firewalld.conf": "DefaultZone=node\n",
    "etc/firewalld/zones/node.xml": '<zone>\n <port port="10250" protocol="tcp"/>\n</zone>\n',
    "usr/lib/os-release": "ID=fedora\nVERSION_ID=45\n",
    "usr/bin/crun": script(
        f"""if [ "$1" = features ]; then cat <<'END'\n{FEATURES}\nEND\nelse echo crun version 1.20; fi"""
    ),
    "usr/bin/runc": says("runc version 1.3.0"),
    "usr/bin/conmon": says("conmon version 2.1.13"),
    "usr/bin/catatonit": says("catatonit 0.2.0"),
    "usr/bin/kubelet": says("Kubernetes v1.36.3"),
    "usr/sbin/modprobe": script(""),
    "usr/sbin/iptables": script(
        'if [ "$1" = -S ]; then echo "-P FORWARD ACCEPT"; else echo "iptables v1.8.11"; fi'
    ),
    f"{UNITS}/trilby.service": "",
    f"{UNITS}/kubelet.service": "",
    f"{UNITS}/chronyd.service": "",
    f"{WANTS}/trilby.service": "-> /usr/lib/systemd/system/trilby.service",
    f"{WANTS}/kubelet.service": "-> /usr/lib/systemd/system/kubelet.service",
    f"{WANTS}/chronyd.service": "-> /usr/lib/systemd/system/chronyd.service",
}  # fmt: skip

PRIVATE = (".key", ".pem", "auth.json")


class MadeHost(Host):
    """What files cannot tell is said here."""

    def __init__(self, root: str) -> None:
        super().__init__(root, live=True)
        self.room = Space(100 * GIB, 60 * GIB, 1_000_000, 900_000)
        self.types = True
        self.kept = ClockState(True, 0.01)
        self.interpreter: tuple[int, ...] = (3, 15, 0)
        self.overlay = ""
        #: How long the disk takes, if it is not the real one that is asked.
        self.syncs: list[float] = []
        #: What ends with the host.
        self.ends = ExitStack()
        self.labels = "system_u:object_r:container_var_lib_t:s0"
        #: Port -> where its server really is.
        self.servers: dict[int, int] = {}

    def space(self, path: str) -> Space:
        return self.room

    def tells_types(self, path: str) -> bool:
        return self.types

    def try_overlay(self, path: str) -> str:
        return self.overlay

    def close(self) -> None:
        self.ends.close()
        super().close()

    def sync_times(self, path: str, writes: int, seconds: float) -> list[float]:
        return self.syncs or super().sync_times(path, writes, seconds)

    def clock(self) -> ClockState:
        return self.kept

    def label(self, path: str) -> str:
        if not self.labels:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        return self.labels

    def python(self) -> tuple[int, ...]:
        return self.interpreter

    def resolve(self, name: str) -> str:
        if not name[0].isdigit():
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return name

    def dial(self, address: str, port: int, seconds: float) -> socket.socket:
        return super().dial("127.0.0.1", self.servers.get(port, 1), seconds)


def write(root: str, files: Files) -> None:
    """Lay files over what is there."""
    made: set[str] = set()
    for name, content in files.items():
        path = f"{root}/{name}"
        if os.path.isdir(path) and not os.path.islink(path):
            if content is None:
                shutil.rmtree(path)
            continue
        if os.path.lexists(path):
            os.unlink(path)
        if content is None:
            continue
        folder = path if content == "DIR" else os.path.dirname(path)
        if folder not in made:
            os.makedirs(folder, exist_ok=True)
            made.add(folder)
        if content.startswith("-> "):
            os.symlink(content.removeprefix("-> "), path)
        elif content != "DIR":
            mode = 0o755 if content.startswith("#!") else 0o600 if name.endswith(PRIVATE) else 0o644
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            os.write(fd, content.encode())
            os.close(fd)


@contextmanager
def made_host(changes: Files | None = None) -> Iterator[MadeHost]:
    """A fit host with changes; its directory has a short name, for sockets."""
    mask = os.umask(0o022)
    place = "/dev/shm" if os.path.isdir("/dev/shm") else "/tmp"
    root = tempfile.mkdtemp(prefix="n-", dir=place)
    try:
        write(root, FIT)
        write(root, changes or {})
        host = MadeHost(root)
        try:
            yield host
        finally:
            host.close()
    finally:
        os.umask(mask)
        shutil.rmtree(root)


def node_of(host: Host, config: str = "") -> Node:
    """The node with the configuration that the host's files have."""
    return Node(host, read_settings(Settings(), config, host.root))

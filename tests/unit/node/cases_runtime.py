"""Hosts whose storage, programs, networks, ports or names are not as they should be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from tests.support.made_host import (
    CONFLIST,
    FEATURES,
    GIB,
    MOUNTS,
    ROUTES,
    TCP,
    Files,
    MadeHost,
    says,
    script,
)
from tests.unit.node.case import Case

from trilby.node.host import Space

CONF = "etc/trilby/trilby.conf"
STORAGE = "etc/containers/storage.conf"
ROOT = "var/lib/containers/storage"
NET = "etc/cni/net.d/10-pods.conflist"
RESOLV = "etc/resolv.conf"
KUBELET = "var/lib/kubelet/config.yaml"
V1 = "proc/1/cgroup"


def room(
    free: int, size: int = 100 * GIB, inodes: int = 1000, left: int = 900
) -> Callable[[MadeHost], None]:
    def prepare(host: MadeHost) -> None:
        host.room = Space(size, free, inodes, left)

    return prepare


def no_types(host: MadeHost) -> None:
    host.types = False


def mode(path: str, value: int) -> Callable[[MadeHost], None]:
    return lambda host: os.chmod(f"{host.root}/{path}", value)


def driver(name: str) -> Files:
    return {STORAGE: f'[storage]\ndriver = "{name}"\n'}


def store(*layers: str) -> Files:
    """A store of records alone."""
    records = [{"id": 64 * each, "created": "2026-01-01T00:00:00Z"} for each in layers]
    return {
        f"{ROOT}/overlay": None,
        f"{ROOT}/vfs": "DIR",
        f"{ROOT}/vfs-layers/layers.json": json.dumps(records),
        "run/containers/storage": "DIR",
    }


def runtime(text: str) -> Files:
    return {CONF: f"[trilby.runtime]\n{text}\n"}


def network(text: str) -> Files:
    return {CONF: f"[trilby.network]\n{text}\n"}


PROBES = "run/containers/storage/overlay"
SPACES = ("space-images", "space-kubelet", "space-logs", "space-run")
STORAGE_CASES = (
    Case("storage-configuration", "fail", "storage.conf:2: ", {STORAGE: "[storage]\ndriver =\n"}),
    Case("storage-configuration", "warn", "storage.conf:2: ", {STORAGE: "[storage]\nbogus = 1\n"}),
    Case("storage-configuration", "pass", "storage.conf read", driver("overlay")),
    Case("storage-driver", "fail", "storage.conf:2: driver is zfs", driver("zfs")),
    Case("storage-driver", "fail", "has overlay, btrfs", {f"{ROOT}/btrfs": "DIR"}),
    Case("storage-driver", "fail", "has btrfs", {f"{ROOT}/overlay": None, f"{ROOT}/btrfs": "DIR"}),
    Case("storage-driver", "warn", "are not seen", driver("vfs")),
    Case("storage-driver", "warn", "copies every layer",
         {f"{ROOT}/overlay": None, f"{ROOT}/vfs": "DIR", **driver("vfs")}),
    Case("storage-driver", "pass", "no layers", {ROOT: None}),
    Case("storage-file-system", "fail", "is on nfs4", {"proc/1/mountinfo": MOUNTS.replace("xfs", "nfs4")}),
    Case("storage-file-system", "pass", "is on nfs4",
         {"proc/1/mountinfo": MOUNTS.replace("xfs", "nfs4"), **driver("vfs")}),
    Case("storage-file-system", "fail", "(10.0.0.1:/s at /var/lib/containers)",
         {"proc/1/mountinfo": MOUNTS + "30 22 0:30 / /var/lib/containers rw - nfs 10.0.0.1:/s rw\n"}),
    Case("storage-file-system", "skip", "mount table", {"proc/1/mountinfo": None}),
    Case("storage-mount-options", "fail", "is mounted ro",
         {"proc/1/mountinfo": MOUNTS.replace("/ / rw", "/ / ro")}),
    Case("storage-mount-options", "fail", "noexec",
         {"proc/1/mountinfo": MOUNTS.replace("rw,relatime", "rw,noexec")}),
    Case("storage-mount-options", "warn", "nosuid",
         {"proc/1/mountinfo": MOUNTS.replace("rw,relatime", "rw,nosuid")}),
    Case("storage-mount-options", "skip", "mount table", {"proc/1/mountinfo": None}),
    Case("storage-entry-types", "fail", "(xfs): directory entries have no types", prepare=no_types),
    Case("storage-quota", "warn", "without prjquota",
         {STORAGE: '[storage]\ndriver = "overlay"\n[storage.options.overlay]\nsize = "10G"\n'}),
    Case("storage-quota", "warn", "limits no sizes",
         {STORAGE: '[storage]\ndriver = "overlay"\n[storage.options.overlay]\nsize = "10G"\n',
          "proc/1/mountinfo": MOUNTS.replace("attr2", "attr2,prjquota")}),
    Case("storage-run-root", "warn", "is on xfs", {"proc/1/mountinfo": MOUNTS.replace("tmpfs", "xfs")}),
    Case("storage-run-root", "skip", "mount table", {"proc/1/mountinfo": None}),
    Case("storage-rights", "fail", "has mode 0777", prepare=mode(ROOT, 0o777)),
    Case("storage-rights", "skip", "no store yet", {ROOT: None}),
    Case("storage-overlay-mount", "fail", "wrong fs type", prepare=lambda host: setattr(host, "overlay", "mount: wrong fs type")),
    Case("storage-overlay-mount", "skip", "the driver is vfs", driver("vfs")),
    Case("storage-overlay-features", "warn", "native-diff(nodev)-false: redirect_dir is on",
         {f"{PROBES}/volatile-true": "", f"{PROBES}/native-diff(nodev)-false": "redirect_dir is on"}),
    Case("storage-overlay-features", "pass", "volatile-true",
         {f"{PROBES}/volatile-true": "", f"{PROBES}/metacopy()-false": "x", f"{PROBES}/x": ""}),
    Case("storage-readable", "pass", "0 images, 0 layers, all there", store()),
    Case("storage-readable", "fail", "layer aaaaaaaaaaaa: its directory is missing", store("a")),
    Case("storage-readable", "fail", "and 2 more", store(*"abcdefg")),
    Case("storage-additional", "fail", "/srv/images is no image store",
         {STORAGE: '[storage]\ndriver = "overlay"\n[storage.options]\nadditionalimagestores = ["/srv/images"]\n'}),
    Case("storage-additional", "pass", "/srv/images is there",
         {STORAGE: '[storage]\ndriver = "overlay"\n[storage.options]\nadditionalimagestores = ["/srv/images"]\n',
          "srv/images/overlay-images": "DIR"}),
    *(Case(id, "fail", "GiB and 5 % are needed", prepare=room(10 << 20, GIB)) for id in SPACES),
    *(Case(id, "fail", "(4%)", prepare=room(4 * GIB)) for id in SPACES),
    *(Case(id, "warn", "(12%)", prepare=room(12 * GIB)) for id in SPACES),
    *(Case(id, "skip", "does not count", prepare=room(0, 0)) for id in SPACES),
    Case("inodes-images", "fail", "(4%)", prepare=room(60 * GIB, left=40)),
    Case("inodes-images", "warn", "(8%)", prepare=room(60 * GIB, left=80)),
    Case("inodes-images", "skip", "without a number", prepare=room(60 * GIB, inodes=0)),
)  # fmt: skip

SLOW = script("exit 3")
PROGRAMS = (
    Case("runtime-default", "fail", "neither crun nor runc", {"usr/bin/crun": None, "usr/bin/runc": None}),
    Case("runtime-default", "fail", "kata is not installed",
         runtime('default_runtime = "kata"\n[trilby.runtime.runtimes.kata]')),
    Case("runtime-default", "fail", "trilby.conf:2:1: default_runtime is kata",
         runtime('default_runtime = "kata"')),
    Case("runtime-default", "fail", "exit status 3", {"usr/bin/crun": SLOW}),
    Case("runtime-default", "fail", "crun version 1.4; 1.14 is wanted", {"usr/bin/crun": says("crun version 1.4")}),
    Case("runtime-default", "warn", "crun version 1.8.1", {"usr/bin/crun": says("crun version 1.8.1")}),
    Case("runtime-default", "pass", "runc version 1.3", {"usr/bin/crun": None}),
    Case("runtime-others", "fail", "kata-runtime is not installed",
         runtime('[trilby.runtime.runtimes.kata]\nruntime_path = "/usr/bin/kata-runtime"')),
    Case("runtime-others", "fail", "trilby.conf:3:1: handler kata",
         runtime('[trilby.runtime.runtimes.kata]\nruntime_path = "/usr/bin/kata-runtime"')),
    Case("runtime-others", "warn", "runc version 1.1.5", {"usr/bin/runc": says("runc version 1.1.5")}),
    Case("runtime-others", "skip", "no others", {"usr/bin/runc": None}),
    Case("runtime-features", "warn", "nothing that can be understood", {"usr/bin/crun": says("?")}),
    Case("runtime-features", "warn", "without recursive read-only mounts, idmapped mounts",
         {"usr/bin/crun": says(FEATURES.replace("rro", "x").replace("idmap", "y"))}),
    Case("runtime-features", "warn", "without seccomp",
         {"usr/bin/crun": says(FEATURES.replace('"seccomp": {"enabled": true}', '"x": {}'))}),
    Case("runtime-features", "warn", "without SELinux",
         {"usr/bin/crun": says(FEATURES.replace('"selinux": {"enabled": true}', '"x": {}'))}),
    Case("runtime-features", "warn", "cgroups of version 2, cgroups by systemd",
         {"usr/bin/crun": says(FEATURES.replace('"cgroup"', '"x"'))}),
    Case("runtime-features", "skip", "no default runtime", {"usr/bin/crun": None, "usr/bin/runc": None}),
    Case("conmon", "fail", "conmon is not installed", {"usr/bin/conmon": None}),
    Case("conmon", "fail", "conmon version 2.0.20", {"usr/bin/conmon": says("conmon version 2.0.20")}),
    Case("conmon", "warn", "conmon version 2.0.30", {"usr/bin/conmon": says("conmon version 2.0.30")}),
    Case("infra-process", "warn", "catatonit is not installed", {"usr/bin/catatonit": None}),
    Case("tools", "warn", "unshare, modprobe not installed",
         {"usr/bin/unshare": None, "usr/sbin/modprobe": None}),
    Case("seccomp-profile", "fail", "there is none of", {"usr/share/containers/seccomp.json": None}),
    Case("seccomp-profile", "fail", "trilby.conf:2:1: /etc/x.json is not there",
         runtime('seccomp_profile = "/etc/x.json"')),
    Case("seccomp-profile", "fail", "seccomp.json", {"usr/share/containers/seccomp.json": "{]"}),
    Case("seccomp-profile", "fail", "SCMP_ACT_MAYBE",
         {"usr/share/containers/seccomp.json": '{"defaultAction": "SCMP_ACT_MAYBE"}'}),
)  # fmt: skip

OVERLAP = ROUTES + "eth1\t0000580A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
SIX = CONFLIST.replace('"subnet": "10.88.0.0/16"', '"ranges": [[{"subnet": "fd00:1::/64"}]]')
NETWORKS = (
    Case("cni-conflists", "fail", "10-pods.conflist:1: ", {NET: "{"}),
    Case("cni-conflists", "fail", "20-x.conflist:1: ", {"etc/cni/net.d/20-x.conflist": "{}"}),
    Case("cni-conflists", "fail", "trilby.conf:2:1: cni_default_network is other",
         network('cni_default_network = "other"')),
    Case("cni-conflists", "pass", "the built-in network serves (trilby0)", {NET: None}),
    Case("cni-conflists", "fail", "bridge_name is empty", {NET: None, **network('bridge_name = ""')}),
    Case("cni-plugins", "fail", "plugin host-local is in none", {"usr/libexec/cni/host-local": None}),
    Case("cni-plugins", "fail", "the built-in network: plugin bridge",
         {NET: None, "usr/libexec/cni/bridge": None}),
    Case("cni-plugins", "skip", "there is no network", {NET: None, **network('bridge_name = ""')}),
    Case("cni-versions", "fail", "bridge speaks CNI 0.3.1, 0.4.0",
         {"usr/libexec/cni/bridge": says('{"supportedVersions": ["0.3.1", "0.4.0"]}')}),
    Case("cni-versions", "fail", "nothing that can be understood", {"usr/libexec/cni/bridge": says("?")}),
    Case("cni-versions", "warn", "bridge speaks CNI 0.4.0 at most",
         {NET: CONFLIST.replace("1.0.0", "0.4.0"),
          "usr/libexec/cni/bridge": says('{"supportedVersions": ["0.3.1", "0.4.0"]}')}),
    Case("cni-versions", "skip", "no plugin", {"usr/libexec/cni": None}),
    Case("cni-host-ports", "warn", "no plugin has the capability", {NET: CONFLIST.replace("true", "false")}),
    Case("cni-host-ports", "warn", "portmap is in none", {NET: None, "usr/libexec/cni/portmap": None}),
    Case("cni-host-ports", "pass", "for the built-in network", {NET: None}),
    Case("pod-subnets", "fail", "10.88.0.0/16 overlaps with 10.88.0.0/16 on eth1", {"proc/1/net/route": OVERLAP}),
    Case("pod-subnets", "fail", "built in default: 10.87.0.0/16 overlaps with 10.80.0.0/12",
         {NET: None, "proc/1/net/route": ROUTES + "eth1\t0000500A\t00000000\t0001\t0\t0\t0\t0000F0FF\t0\t0\t0\n"}),
    Case("pod-subnets", "skip", "no subnet", {NET: CONFLIST.replace("subnet", "x")}),
    Case("default-route", "warn", "no default route", {"proc/1/net/route": ROUTES.splitlines()[0]}),
    Case("default-route", "skip", "is not there", {"proc/1/net/route": None}),
    Case("default-route", "pass", "none for IPv4, eth0 for IPv6",
         {"proc/1/net/route": ROUTES.splitlines()[0],
          "proc/1/net/ipv6_route": f"{'0' * 32} 00 {'0' * 32} 00 {'f' * 32} 00000400 00000001 00000000 00000001 eth0\n"}),
    Case("ipv6", "warn", "pods get addresses of fd00:1::/64",
         {NET: SIX, "proc/sys/net/ipv6/conf/all/disable_ipv6": "1\n"}),
    Case("ipv6", "pass", "left out here", {NET: None, "proc/sys/net/ipv6/conf/all/disable_ipv6": "1\n"}),
    Case("ipv6", "pass", "is 0", {NET: SIX}),
    Case("loopback", "fail", "0x8: down", {"sys/class/net/lo/flags": "0x8\n"}),
    Case("loopback", "skip", "is not there", {"sys/class/net/lo": None}),
    Case("iptables", "fail", "is not installed", {"usr/sbin/iptables": None}),
    Case("iptables", "fail", "exit status 3", {"usr/sbin/iptables": SLOW}),
    Case("iptables", "skip", "no network needs iptables",
         {"usr/sbin/iptables": None, NET: CONFLIST.replace("portmap", "bandwidth")}),
)  # fmt: skip


def listens(port: int, inode: int = 77) -> Files:
    return {
        "proc/1/net/tcp": f"{TCP}   0: 00000000:{port:04X} 00000000:0000 0A 0:0 0:0 0 0 0 {inode} 1\n"
    }


ZONE = "etc/firewalld/zones/node.xml"
OWNED: Files = {"proc/200/comm": "kubelet\n", "proc/200/cmdline": "/usr/bin/kubelet\0"}
STRANGER: Files = {**OWNED, "proc/200/fd/3": "-> socket:[78]"}
OURS = "[trilby.api]\nstream_port = 10010\n[trilby.metrics]\nenable_metrics = true\n"
PORTS = (
    Case("firewall-kubelet", "fail", "/etc/firewalld/zones/node.xml: 10250/tcp is not in it",
         {ZONE: '<zone><service name="ssh"/></zone>'}),
    Case("firewall-kubelet", "warn", "firewalld.conf:1: the zone node has no file", {ZONE: None}),
    Case("firewall-kubelet", "pass", "the target of the zone is ACCEPT", {ZONE: '<zone target="ACCEPT"/>'}),
    Case("firewall-kubelet", "pass", 'node.xml:2: <service name="kubelet"/>',
         {ZONE: '<zone>\n<service name="kubelet"/>\n</zone>',
          "usr/lib/firewalld/services/kubelet.xml": '<service>\n<port port="10250" protocol="tcp"/>\n</service>'}),
    Case("firewall-kubelet", "pass", "node.xml:1", {ZONE: '<port protocol="tcp" port="10200-10300"/>'}),
    Case("firewall-kubelet", "fail", "is not in it", {ZONE: '<port protocol="udp" port="10250"/>'}),
    Case("firewall-kubelet", "skip", "neither runs",
         {"sys/fs/cgroup/system.slice/firewalld.service": None}),
    Case("firewall-forward", "warn", "-P FORWARD DROP", {"usr/sbin/iptables": says("-P FORWARD DROP")}),
    Case("firewall-forward", "pass", "-P FORWARD DROP",
         {"usr/sbin/iptables": says("-P FORWARD DROP\n-A FORWARD -j ACCEPT")}),
    Case("firewall-forward", "skip", "exit status 3", {"usr/sbin/iptables": SLOW}),
    Case("firewall-forward", "skip", "not installed", {"usr/sbin/iptables": None}),
    *(
        Case(f"port-{port}", verdict, words, {**listens(port), **files})
        for port in (10250, 10248)
        for verdict, words, files in (
            ("fail", f"somebody listens on port {port}", {}),
            ("fail", f"somebody listens on port {port}", STRANGER),
            ("pass", "is that of kubelet (process 200)", {**OWNED, "proc/200/fd/3": "-> socket:[77]"}),
            # Its files cannot be seen: it is believed.
            ("pass", "is that of kubelet", OWNED),
        )
    ),
    Case("port-10250", "skip", "is not there", {"proc/1/net/tcp": None}),
    Case("ports-daemon", "fail", "port 9090, which is for metrics", {CONF: OURS, **listens(9090)} | {"proc/100": None}),
    Case("ports-daemon", "pass", "port 10010 is free", {CONF: OURS}),
    Case("ports-daemon", "skip", "is not there", {"proc/1/net/tcp": None}),
)  # fmt: skip


def kubelet(text: str) -> Files:
    return {KUBELET: f"kind: KubeletConfiguration\n{text}\n"}


NAMES = (
    Case("hostname", "fail", "every host has that one", {"proc/sys/kernel/hostname": "localhost\n"}),
    Case("hostname", "fail", "no name of a Kubernetes node", {"proc/sys/kernel/hostname": "node_1\n"}),
    Case("hostname", "warn", "is called node1", {"proc/sys/kernel/hostname": "Node1\n"}),
    Case("hostname", "warn", "the next boot makes it other", {"etc/hostname": "other\n"}),
    Case("hostname", "skip", "no name", {"proc/sys/kernel/hostname": None, "etc/hostname": None}),
    Case("hostname-resolves", "warn", "knows node1", {"etc/hosts": "127.0.0.1 localhost\n"}),
    Case("hostname-resolves", "pass", "/etc/nsswitch.conf:1",
         {"etc/hosts": None, "etc/nsswitch.conf": "hosts: files myhostname dns\n"}),
    Case("hostname-resolves", "skip", "no name", {"proc/sys/kernel/hostname": None, "etc/hostname": None}),
    Case("localhost", "warn", "no address for localhost", {"etc/hosts": "203.0.112.5 node1\n"}),
    Case("dns-servers", "fail", "/etc/resolv.conf is not there", {RESOLV: None}),
    Case("dns-servers", "warn", "no nameserver", {RESOLV: "search example.org\n"}),
    Case("dns-servers", "warn", "/etc/resolv.conf:4: 4 nameservers",
         {RESOLV: "".join(f"nameserver 203.0.112.{each}\n" for each in range(4))}),
    Case("dns-servers", "fail", "/run/x is not there", kubelet("resolvConf: /run/x")),
    Case("dns-loop", "warn", "/etc/resolv.conf:1: nameserver 127.0.0.53",
         {RESOLV: "-> /run/stub", "run/stub": "nameserver 127.0.0.53\n",
          "run/systemd/resolve/resolv.conf": "nameserver 203.0.112.1\n"}),
    Case("dns-loop", "warn", "config.yaml:2: resolvConf is /run/x",
         {**kubelet("resolvConf: /run/x"), "run/x": "nameserver ::1\n"}),
    Case("dns-loop", "skip", "is not there", {RESOLV: None}),
    Case("dns-search", "warn", "40 search domains",
         {RESOLV: f"search {' '.join(f'd{each}.org' for each in range(40))}\n"}),
    Case("dns-search", "pass", "no search domains", {RESOLV: "nameserver 203.0.112.1\n"}),
    Case("machine-id", "fail", "is uninitialized", {"etc/machine-id": "uninitialized\n"}),
    Case("machine-id", "fail", "empty or not there", {"etc/machine-id": None}),
    Case("machine-id", "fail", "/etc/machine-id:1: it has no usable id", {"etc/machine-id": "0" * 32}),
    Case("machine-id", "warn", "looks made up", {"etc/machine-id": "12" * 16}),
    Case("machine-id", "warn", "comes from a clone", {"var/lib/dbus/machine-id": "1" * 32}),
    Case("product-uuid", "warn", "other hosts may have the same",
         {"sys/class/dmi/id/product_uuid": "00000000-0000-0000-0000-000000000000\n"}),
    Case("product-uuid", "skip", "is not there", {"sys/class/dmi": None}),
)  # fmt: skip

CASES = (*STORAGE_CASES, *PROGRAMS, *NETWORKS, *PORTS, *NAMES)

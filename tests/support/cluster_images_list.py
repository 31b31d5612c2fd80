"""Which images are made here, and of what.

The names with their tags are asked of the programs of the release themselves: kubeadm says what a
control plane is made of, e2e.test what its pods run. ``ABSENT`` has those that cannot be made here.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec
from tests.support.kubernetes import MODULE, differs, go_command, kubernetes_version, program

__all__ = [
    "ABSENT",
    "Image",
    "agnhost_image",
    "cluster_images",
    "provider_images",
    "suite_images",
]

SHELL = ("bash", "busybox")
#: The shell of Debian's busybox drops variables whose names are no identifiers, for which specs look
#: by `sh`; another one looks for what busybox says, by `/bin/sh`.
BUSYBOX = ("bash", "busybox", "usr/local/bin/sh=bash")
NETWORK = (
    "curl",
    "dig",
    "getent",
    "host",
    "hostname",
    "ip",
    "usr/bin/nc=nc.openbsd",
    "nslookup",
    "ss",
    "tc",
)
RULES = (
    *("conntrack", "ip", "ipset", "kmod", "modprobe", "nft"),
    *("iptables-nft", "iptables-nft-restore", "iptables-nft-save"),
    *("ip6tables-nft", "ip6tables-nft-restore", "ip6tables-nft-save"),
    "usr/lib/x86_64-linux-gnu/xtables",
)
RULE_LINKS = {
    f"usr/sbin/{family}{verb}": f"{family}-nft{verb}"
    for family in ("iptables", "ip6tables")
    for verb in ("", "-restore", "-save")
}
#: nft names protocols by it, and kube-proxy takes what it lists as numbers for other elements than
#: its own: started again, it would delete all of them.
PROTOCOLS = "icmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\nsctp 132 SCTP\n"
AGNHOST_USERS = "user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n"
AGNHOST_GROUPS = (
    "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n"
)
#: A spec reads this file of an image that is mounted as a volume, and looks for that name.
OS_RELEASE = 'NAME="Image of the tests, in place of one of Alpine Linux"\nID=tests\n'
WWW = "<html><head><title>Welcome to nginx!</title></head><body>Welcome to nginx!</body></html>\n"
NGINX = """user www-data;
worker_processes 1;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events { worker_connections 1024; }
http {
    include /etc/nginx/mime.types;
    access_log /dev/stdout;
    server {
        listen 80;
        location / { root /usr/share/nginx/html; index index.html; }
    }
}
"""


class Image(msgspec.Struct, frozen=True):
    """One image. Places are paths without the first slash.

    ``programs`` are ours by place, of ``release``; ``tools`` are Debian's, as
    cluster_images_root.py has them; ``content`` are files, or a Path to copy; ``registry`` are
    images that are served from inside.
    """

    name: str
    programs: Mapping[str, str] = {}
    tools: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    content: Mapping[str, str | Path] = {}
    folders: tuple[str, ...] = ()
    links: Mapping[str, str] = {}
    modes: Mapping[str, int] = {}
    users: str = ""
    groups: str = ""
    registry: Mapping[str, Image] = {}
    release: str = ""


def cluster_images(release: str = "") -> list[Image]:
    """What kubeadm's cluster of go.mod's release, or of another, is made of."""
    version = release or kubernetes_version()
    command = (program("kubeadm", release), "config", "images", "list")
    listed = _lines(*command, "--kubernetes-version", version)
    return [_recipe(name, release) for name in listed]


def suite_images() -> list[Image]:
    """What the suite's pods run, without those of ABSENT."""
    listed = sorted(_lines(program("e2e.test"), "--list-images"))
    absent = [name for name in listed if _short(name) in ABSENT]
    return [_recipe(name, "") for name in listed if name not in absent]


def agnhost_image() -> Image:
    """The suite's image of many tools, without asking the suite which tag it has."""
    return _recipe("registry.k8s.io/e2e-test-images/agnhost:1", "")


def provider_images() -> list[Image]:
    """Flannel, and the image that brings its plugin to a node, for a cluster without a network."""
    return [
        Image(
            name="ghcr.io/flannel-io/flannel:1",
            programs={"opt/bin/flanneld": "flanneld"},
            tools=RULES,
            links=RULE_LINKS,
            changes=('ENTRYPOINT ["/opt/bin/flanneld"]',),
        ),
        Image(
            name="ghcr.io/flannel-io/flannel-cni-plugin:1",
            programs={"flannel": "flannel"},
            tools=BUSYBOX,
        ),
    ]


def _lines(*command: str | Path) -> list[str]:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.split()


def _short(name: str) -> str:
    """As agnhost, of registry.k8s.io/e2e-test-images/agnhost:2.63.0."""
    return name.rpartition(":")[0].partition("/")[2].removeprefix("e2e-test-images/")


def _recipe(name: str, release: str) -> Image:
    short = _short(name)
    if short in CONTROL_PLANE:
        place = f"usr/local/bin/{short}"
        return Image(name=name, programs={place: short}, release=release)
    found = _recipes()[short]
    # Two releases may share an image.
    own = any(differs(each, release) for each in found.programs.values())
    return msgspec.structs.replace(found, name=name, release=release if own else "")


CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


def _recipes() -> dict[str, Image]:
    pause = Image(
        name="pause",
        programs={"pause": "pause"},
        changes=("USER 65535:65535", 'ENTRYPOINT ["/pause"]'),
    )
    agnhost = _agnhost(pause)
    return {
        "pause": pause,
        "agnhost": agnhost,
        "kube-proxy": Image(
            name="kube-proxy",
            programs={"usr/local/bin/kube-proxy": "kube-proxy"},
            tools=RULES,
            content={"etc/protocols": PROTOCOLS},
            links=RULE_LINKS,
        ),
        "etcd": Image(
            name="etcd",
            programs={f"usr/local/bin/{name}": name for name in ("etcd", "etcdctl", "etcdutl")},
            tools=BUSYBOX,
        ),
        "coredns/coredns": Image(
            name="coredns", programs={"coredns": "coredns"}, changes=('ENTRYPOINT ["/coredns"]',)
        ),
        "busybox": Image(name="busybox", tools=BUSYBOX, changes=('CMD ["sh"]',)),
        "ipc-utils": Image(
            name="ipc-utils", tools=(*BUSYBOX, "ipcs", "ipcmk", "ipcrm"), changes=('CMD ["sh"]',)
        ),
        "nonroot": Image(name="nonroot", tools=SHELL, changes=("USER 1234", 'CMD ["bash"]')),
        "perl": Image(name="perl", tools=(*SHELL, "perl"), changes=('CMD ["perl"]',)),
        "nginx": _nginx(),
        "glibc-dns-testing": Image(
            name="glibc-dns-testing",
            programs={"coredns": "coredns"},
            tools=(*SHELL, *NETWORK),
        ),
        "build-image/distroless-iptables": Image(
            name="distroless-iptables", tools=(*SHELL, *RULES), links=RULE_LINKS
        ),
        "nautilus": msgspec.structs.replace(
            agnhost,
            content={**agnhost.content, **_pictures("nautilus")},
            changes=('ENTRYPOINT ["/agnhost"]', 'CMD ["test-webserver"]'),
        ),
        "kitten": msgspec.structs.replace(
            agnhost,
            content={**agnhost.content, **_pictures("kitten"), "etc/os-release": OS_RELEASE},
            changes=('ENTRYPOINT ["/agnhost"]', 'CMD ["test-webserver"]'),
        ),
        "nonewprivs": Image(
            name="nonewprivs",
            programs={"usr/local/bin/nnp": "nonewprivs"},
            tools=BUSYBOX,
            modes={"usr/local/bin/nnp": 0o6755},
            changes=('CMD ["nnp"]',),
        ),
        "regression-issue-74839": Image(
            name="regression-issue-74839",
            programs={"regression-issue-74839": "regression-issue-74839"},
            changes=('ENTRYPOINT ["/regression-issue-74839"]',),
        ),
        "resource-consumer": Image(
            name="resource-consumer",
            programs={"consumer": "resource-consumer", "consume-cpu": "consume-cpu"},
            tools=(*SHELL, "stress"),
            changes=("EXPOSE 8080", 'ENTRYPOINT ["/consumer"]'),
        ),
        "sample-apiserver": Image(
            name="sample-apiserver",
            programs={"sample-apiserver": "sample-apiserver"},
            tools=BUSYBOX,
            changes=('ENTRYPOINT ["/sample-apiserver"]',),
        ),
    }


def _agnhost(pause: Image) -> Image:
    porter = _sources() / "agnhost/porter"
    return Image(
        name="agnhost",
        programs={"agnhost": "agnhost", "coredns": "coredns"},
        tools=(*BUSYBOX, *NETWORK, "iperf", "lsblk", "nsenter", "setpriv", "unshare"),
        content={name: porter / name for name in ("localhost.crt", "localhost.key")},
        folders=("uploads", "home/user-defined-in-image"),
        links={"agnhost-2": "agnhost", "usr/local/bin/iperf": "/usr/bin/iperf"},
        users=AGNHOST_USERS,
        groups=AGNHOST_GROUPS,
        registry={"pause:testing": pause},
        changes=(
            *(f"EXPOSE {port}" for port in (80, 8080, 8081, 9376, 5000)),
            'ENTRYPOINT ["/agnhost"]',
            'CMD ["pause"]',
        ),
    )


def _nginx() -> Image:
    return Image(
        name="nginx",
        tools=(*BUSYBOX, "nginx", "curl", "etc/nginx/mime.types"),
        content={"etc/nginx/nginx.conf": NGINX, "usr/share/nginx/html/index.html": WWW},
        folders=("var/lib/nginx", "var/log/nginx"),
        changes=("EXPOSE 80", "STOPSIGNAL SIGQUIT", 'CMD ["nginx", "-g", "daemon off;"]'),
    )


def _pictures(name: str) -> dict[str, Path]:
    folder = _sources() / name / "html"
    return {path.name: path for path in sorted(folder.iterdir())}


def _sources() -> Path:
    """Where the module has the files of those images."""
    done = subprocess.run(
        [go_command()[0], "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"],
        cwd=MODULE,
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(done.stdout.strip()) / "test/images"


_NO_SOURCE = "its program is in no module that is served here"
_STORAGE = "a driver of the project's storage group: a repository of its own, no module"
#: Images that the suite names and that cannot be had here, with the reason.
ABSENT = {
    "sig-storage/csi-attacher": _STORAGE,
    "sig-storage/csi-external-health-monitor-controller": _STORAGE,
    "sig-storage/csi-node-driver-registrar": _STORAGE,
    "sig-storage/csi-provisioner": _STORAGE,
    "sig-storage/csi-resizer": _STORAGE,
    "sig-storage/csi-snapshot-metadata": _STORAGE,
    "sig-storage/csi-snapshotter": _STORAGE,
    "sig-storage/hello-populator": _STORAGE,
    "sig-storage/hostpathplugin": _STORAGE,
    "sig-storage/livenessprobe": _STORAGE,
    "sig-storage/nfs-provisioner": _STORAGE,
    "sig-storage/volume-data-source-validator": _STORAGE,
    "cloud-provider-gcp/gcp-compute-persistent-disk-csi-driver": "for one cloud only",
    "k8s-authenticated-test/agnhost": "behind a password that nobody outside has",
    "invalid/alpine": "must not be there: a spec wants its pull to fail",
    "apparmor-loader": "for hosts with AppArmor",
    "node-perf/npb-ep": _NO_SOURCE,
    "node-perf/npb-is": _NO_SOURCE,
    "node-perf/pytorch-wide-deep": _NO_SOURCE,
    "volume/iscsi": "serves block devices by a module of the kernel",
    "volume/nfs": "serves files by a module of the kernel",
}

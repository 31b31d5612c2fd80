"""Hosts whose images, security, clock, kubelet or daemon are not as they should be."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable

from tests.support.made_host import (
    ENDING,
    EXPIRED,
    FUTURE,
    KUBELET,
    NOW,
    UNITS,
    VALID,
    WANTS,
    Files,
    MadeHost,
    says,
    script,
)
from tests.unit.node.case import Case

from trilby.system.clock import ClockState

CONF = "etc/trilby/trilby.conf"
REGISTRIES = "etc/containers/registries.conf"
POLICY = "etc/containers/policy.json"
KUBELET_YAML = "var/lib/kubelet/config.yaml"
SLICE = "sys/fs/cgroup/system.slice"
UTMP = struct.Struct("=h2xi32s4s32s256shhiii16s20s")


def mode(path: str, value: int) -> Callable[[MadeHost], None]:
    return lambda host: os.chmod(f"{host.root}/{path}", value)


def label(text: str) -> Callable[[MadeHost], None]:
    return lambda host: setattr(host, "labels", text)


def clock(kept: bool, error: float) -> Callable[[MadeHost], None]:
    return lambda host: setattr(host, "kept", ClockState(kept, error))


def interpreter(*version: int) -> Callable[[MadeHost], None]:
    return lambda host: setattr(host, "interpreter", version)


def dated(path: str, seconds: float) -> Callable[[MadeHost], None]:
    return lambda host: os.utime(f"{host.root}/{path}", (seconds, seconds))


def wtmp(*records: tuple[str, float]) -> Callable[[MadeHost], None]:
    """Boots and shutdowns as utmp(5) has them."""
    data = b"".join(
        UTMP.pack(2 if what == "boot" else 1, 0, b"~", b"~~",
                  b"reboot" if what == "boot" else b"shutdown", b"6.18", 0, 0, 0, int(when), 0, b"", b"")
        for what, when in records
    )  # fmt: skip

    def prepare(host: MadeHost) -> None:
        os.makedirs(f"{host.root}/var/log", exist_ok=True)
        with open(f"{host.root}/var/log/wtmp", "wb") as file:
            file.write(data)

    return prepare


def serve(listener: socket.socket, answer: bytes) -> None:
    """One connection gets one answer; b"" is silence."""

    def work() -> None:
        with listener:
            connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    listener.settimeout(20)
    listener.listen(1)
    threading.Thread(target=work, daemon=True).start()


def answers(answer: bytes) -> Callable[[MadeHost], None]:
    """The daemon's socket, and who is behind it."""

    def prepare(host: MadeHost) -> None:
        os.makedirs(f"{host.root}/run/trilby")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{host.root}/run/trilby/trilby.sock")
        os.chmod(f"{host.root}/run/trilby/trilby.sock", 0o660)
        serve(listener, answer)

    return prepare


def dead(permissions: int = 0o660) -> Callable[[MadeHost], None]:
    """A socket that nobody listens at."""

    def prepare(host: MadeHost) -> None:
        os.makedirs(f"{host.root}/run/trilby")
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(f"{host.root}/run/trilby/trilby.sock")
        os.chmod(f"{host.root}/run/trilby/trilby.sock", permissions)

    return prepare


def healthz(answer: bytes) -> Callable[[MadeHost], None]:
    def prepare(host: MadeHost) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        host.servers[10248] = listener.getsockname()[1]
        serve(listener, answer)

    return prepare


def registry(text: str) -> Files:
    return {REGISTRIES: text}


BLOCKED = '[[registry]]\nlocation = "x.example"\nblocked = true\n'
MIRROR = '[[registry]]\nlocation = "127.0.0.1:1"\n[[registry.mirror]]\nlocation = "127.0.0.1:2"\n'
INSECURE = '[[registry]]\nlocation = "127.0.0.1:1"\ninsecure = true\n'
PLAIN = '[[registry]]\nlocation = "127.0.0.1:1"\n'
IMAGES = (
    Case("registries-reachable", "pass", "registries.conf:1: 127.0.0.1:1 answers (not verified)",
         registry(INSECURE), prepare=lambda host: host.servers.update({1: _open_port()})),
    Case("registries", "fail", "registries.conf:1:", registry("[")),
    Case("registries", "warn", "registries.conf:1: unknown key", registry("foo = 1\n")),
    Case("registries", "pass", "1 registries, 1 blocked", registry(BLOCKED)),
    Case("registries", "pass", "0 registries", {REGISTRIES: None}),
    Case("registries-short-names", "warn", "a short name may mean any of a.example, b.example",
         registry('unqualified-search-registries = ["a.example", "b.example"]\n')),
    Case("registries-short-names", "pass", "a.example, b.example",
         registry('unqualified-search-registries = ["a.example", "b.example"]\nshort-name-mode = "enforcing"\n')),
    Case("registries-short-names", "skip", "cannot be read", registry("[")),
    Case("registries-insecure", "warn", "registries.conf:1: x.example is insecure",
         registry('[[registry]]\nlocation = "x.example"\ninsecure = true\n')),
    Case("registries-insecure", "warn", "mirror m.example is insecure",
         registry('[[registry]]\nlocation = "x.example"\n[[registry.mirror]]\nlocation = "m.example"\ninsecure = true\n')),
    Case("registries-insecure", "warn", "trilby.conf:2:1: y.example is insecure",
         {CONF: '[trilby.image]\ninsecure_registries = ["y.example"]\n'}),
    Case("registries-insecure", "skip", "cannot be read", registry("[")),
    Case("policy", "fail", "is not there", {POLICY: None}),
    Case("policy", "fail", "policy.json:1:", {POLICY: "{"}),
    Case("policy", "fail", "/etc/x.json is not there", {CONF: '[trilby.image]\nsignature_policy = "/etc/x.json"\n'}),
    Case("credentials", "warn", "/root/.docker/config.json has mode 0644", {"root/.docker/config.json": "{}"}),
    Case("credentials", "fail", "/root/.config/containers/auth.json: ", {"root/.config/containers/auth.json": "{"}),
    Case("credentials", "pass", "has mode 0600", {"root/.config/containers/auth.json": "{}"}),
    Case("credential-helpers", "warn", "docker-credential-pass is not installed",
         registry('credential-helpers = ["containers-auth.json", "pass"]\n')),
    Case("credential-helpers", "pass", "/usr/bin/docker-credential-pass",
         {**registry('credential-helpers = ["pass"]\n'), "usr/bin/docker-credential-pass": script("")}),
    Case("credential-helpers", "skip", "cannot be read", registry("[")),
    Case("registries-resolve", "skip", "names none", registry(BLOCKED)),
    Case("registries-resolve", "fail", "no-such-host.invalid:443 has no address",
         registry('[[registry]]\nlocation = "no-such-host.invalid"\n')),
    Case("registries-resolve", "pass", "127.0.0.1 is 127.0.0.1", registry(MIRROR)),
    Case("registries-reachable", "fail", "127.0.0.1:1 cannot be reached", registry(MIRROR)),
    Case("registries-reachable", "warn", "127.0.0.1:2 cannot be reached",
         registry(MIRROR.replace('"127.0.0.1:1"', '"127.0.0.1:1"\ninsecure = true')),
         prepare=lambda host: host.servers.update({1: _open_port()})),
    Case("registries-reachable", "fail", "does not speak TLS", registry(PLAIN),
         prepare=lambda host: host.servers.update({1: _open_port(b"SSH-2.0-x\r\n")})),
    Case("registries-reachable", "skip", "names none", registry(BLOCKED)),
)  # fmt: skip


def _open_port(answer: bytes = b"") -> int:
    """A server that is no TLS server: only insecure registries are content with it."""
    listener = socket.create_server(("127.0.0.1", 0))
    serve(listener, answer)
    port: int = listener.getsockname()[1]
    return port


ENFORCE = "sys/fs/selinux/enforce"
NO_SELINUX: Files = {"sys/fs/selinux": None}
SECURITY = (
    Case("selinux", "warn", "/sys/fs/selinux/enforce is 0: permissive", {ENFORCE: "0"}),
    Case("selinux", "warn", "/etc/selinux/config:1: SELINUX=enforcing", NO_SELINUX),
    Case("selinux", "warn", "the next boot makes it disabled", {"etc/selinux/config": "SELINUX=disabled\n"}),
    Case("selinux", "skip", "no SELinux", {**NO_SELINUX, "etc/selinux": None}),
    Case("selinux-policy", "fail", "neither", {"var/lib/selinux": None}),
    Case("selinux-policy", "pass", "lxc_contexts is there",
         {"var/lib/selinux": None, "etc/selinux/targeted/contexts/lxc_contexts": ""}),
    Case("selinux-policy", "skip", "no SELinux", NO_SELINUX),
    Case("selinux-label", "fail", "var_lib_t", prepare=label("system_u:object_r:var_lib_t:s0")),
    Case("selinux-label", "warn", "has no label", prepare=label("")),
    Case("selinux-label", "skip", "no SELinux", NO_SELINUX),
    Case("selinux-label", "skip", "not there yet", {"var/lib/containers": None}),
    Case("selinux-relabel", "warn", "/.autorelabel is there", {".autorelabel": ""}),
    Case("selinux-booleans", "warn", "is 0 0", {"sys/fs/selinux/booleans/container_manage_cgroup": "0 0"}),
    Case("selinux-booleans", "skip", "is not there", NO_SELINUX),
    Case("apparmor", "warn", "apparmor_parser is not installed",
         {"sys/module/apparmor/parameters/enabled": "Y\n"}),
    Case("apparmor", "pass", "/usr/sbin/apparmor_parser is there",
         {"sys/module/apparmor/parameters/enabled": "Y\n", "usr/sbin/apparmor_parser": script("")}),
    Case("fips", "warn", "does not say FIPS", {"proc/sys/crypto/fips_enabled": "1\n"}),
    Case("fips", "pass", "config:1: FIPS",
         {"proc/sys/crypto/fips_enabled": "1\n", "etc/crypto-policies/config": "FIPS\n"}),
)  # fmt: skip

HOUR = 3600.0
TIME = (
    Case("clock-synchronised", "warn", "STA_UNSYNC", prepare=clock(False, 16.0)),
    Case("clock-synchronised", "warn", "at most 5 s wrong", prepare=clock(True, 5.0)),
    Case("clock-keeper", "warn", "chronyd.service runs, but not enabled", {f"{WANTS}/chronyd.service": None}),
    Case("clock-keeper", "warn", "enabled and does not run", {f"{SLICE}/chronyd.service": None}),
    Case("clock-keeper", "warn", "none of chronyd.service",
         {f"{SLICE}/chronyd.service": None, f"{WANTS}/chronyd.service": None}),
    Case("clock-sane", "fail", "/usr/lib/os-release is of", prepare=dated("usr/lib/os-release", NOW + 9e6)),
    Case("last-shutdown", "warn", "without a shutdown before",
         prepare=wtmp(("boot", NOW - 9 * HOUR), ("boot", NOW - HOUR))),
    Case("last-shutdown", "pass", "without a shutdown before",
         prepare=wtmp(("boot", NOW - 900 * HOUR), ("boot", NOW - 800 * HOUR))),
    Case("last-shutdown", "pass", "1 boots, each after a shutdown",
         prepare=wtmp(("boot", NOW - 9 * HOUR), ("shutdown", NOW - 2 * HOUR), ("boot", NOW - HOUR))),
    Case("last-shutdown", "fail", "cannot be understood", {"var/log/wtmp": "x" * 100}),
    Case("kernel-crashes", "warn", "/sys/fs/pstore has dmesg-efi-1", {"sys/fs/pstore/dmesg-efi-1": "Oops"}),
)  # fmt: skip

CLIENT = "var/lib/kubelet/pki/kubelet-client-current.pem"
SERVING = "var/lib/kubelet/pki/kubelet.crt"
CA = "etc/kubernetes/pki/ca.crt"
RUNNING: Files = {"proc/101/comm": "kubelet\n", "proc/101/cmdline": "/usr/bin/kubelet\0"}


def running(flags: str) -> Files:
    return {**RUNNING, "proc/101/cmdline": "/usr/bin/kubelet\0" + flags.replace(" ", "\0") + "\0"}


def kubelet(text: str) -> Files:
    return {KUBELET_YAML: f"kind: KubeletConfiguration\n{text}\n"}


KUBELETS = (
    Case("kubelet-configuration", "fail", "config.yaml:", {KUBELET_YAML: "a: [\n"}),
    Case("kubelet-configuration", "fail", "it is a Pod", {KUBELET_YAML: "kind: Pod\n"}),
    Case("kubelet-configuration", "warn", "is enabled or runs", {KUBELET_YAML: None}),
    Case("kubelet-configuration", "skip", "is not there",
         {KUBELET_YAML: None, f"{SLICE}/kubelet.service": None, f"{WANTS}/kubelet.service": None}),
    Case("kubelet-configuration", "pass", "10-x.conf read",
         {**running("--config /etc/k.yaml --config-dir=/etc/k.d -v=2"), "etc/k.yaml": KUBELET,
          "etc/k.d/10-x.conf": "maxPods: 10\n"}),
    Case("kubelet-endpoint", "fail", "containerRuntimeEndpoint is not set", kubelet("a: b")),
    Case("kubelet-endpoint", "fail", "config.yaml:2: containerRuntimeEndpoint is unix:///run/x",
         kubelet("containerRuntimeEndpoint: unix:///run/x")),
    Case("kubelet-endpoint", "fail", "--container-runtime-endpoint is unix:///run/y",
         running("--container-runtime-endpoint unix:///run/y")),
    Case("kubelet-endpoint", "pass", "10-x.conf:1: containerRuntimeEndpoint",
         {**running("--config=/etc/k.yaml --config-dir=/etc/k.d"), "etc/k.yaml": "maxPods: 1\n",
          "etc/k.d/10-x.conf": "containerRuntimeEndpoint: unix:///run/trilby/trilby.sock\n"}),
    # That of a nested host is not ours.
    Case("kubelet-endpoint", "pass", "config.yaml:4: containerRuntimeEndpoint",
         {**running("--container-runtime-endpoint unix:///run/y"), "proc/101/status": "NSpid:\t101\t7\n"}),
    Case("kubelet-endpoint", "skip", "there is no KubeletConfiguration", {KUBELET_YAML: None}),
    Case("kubelet-version", "fail", "the CRI v1 alone", {"usr/bin/kubelet": says("Kubernetes v1.24.9")}),
    Case("kubelet-version", "warn", "from 1.31 on", {"usr/bin/kubelet": says("Kubernetes v1.29.0")}),
    Case("kubelet-version", "warn", "newer than", {"usr/bin/kubelet": says("Kubernetes v1.99.0")}),
    Case("kubelet-version", "fail", "exit status 3", {"usr/bin/kubelet": script("exit 3")}),
    Case("kubelet-version", "skip", "not installed", {"usr/bin/kubelet": None}),
    Case("kubelet-healthz", "pass", "200 OK", RUNNING, healthz(b"HTTP/1.0 200 OK\r\n\r\nok")),
    Case("kubelet-healthz", "fail", "500 Oh", RUNNING, healthz(b"HTTP/1.0 500 Oh\r\n\r\n")),
    Case("kubelet-healthz", "fail", "Connection refused", RUNNING),
    Case("kubelet-log-rotation", "warn", "trilby.conf:2:1: log_size_max is 1000",
         {CONF: "[trilby.runtime]\nlog_size_max = 1000\n"}),
    Case("kubelet-static-pods", "fail", "/etc/kubernetes/manifests is no directory",
         {"etc/kubernetes/manifests": None}),
    Case("kubelet-static-pods", "fail", "others may write", prepare=mode("etc/kubernetes/manifests", 0o777)),
    Case("kubelet-static-pods", "skip", "no staticPodPath", kubelet("a: b")),
    Case("kubelet-static-pods", "skip", "there is no KubeletConfiguration", {KUBELET_YAML: None}),
    Case("kubelet-client-certificate", "fail", "expired on", {CLIENT: EXPIRED}),
    Case("kubelet-client-certificate", "warn", "is valid until", {CLIENT: ENDING}),
    Case("kubelet-client-certificate", "fail", "is not valid before", {CLIENT: FUTURE}),
    Case("kubelet-client-certificate", "fail", "no PEM certificate", {CLIENT: "KEY"}),
    Case("kubelet-client-certificate", "skip", "not in a cluster", {CLIENT: None}),
    Case("kubelet-serving-certificate", "fail", "expired on", {SERVING: EXPIRED}),
    Case("kubelet-serving-certificate", "fail", "/etc/tls.crt is not there", kubelet("tlsCertFile: /etc/tls.crt")),
    Case("kubelet-serving-certificate", "warn", "valid until", {SERVING: ENDING}),
    Case("kubelet-serving-certificate", "skip", "is there yet", {SERVING: None}),
    Case("kubelet-client-ca", "fail", "/etc/kubernetes/pki/ca.crt is not there", {CA: None}),
    Case("kubelet-client-ca", "fail", "expired", {CA: EXPIRED}),
    Case("kubelet-client-ca", "warn", "valid until", {CA: ENDING}),
    Case("kubelet-client-ca", "skip", "no clientCAFile", kubelet("a: b")),
    Case("kubelet-keys", "warn", "has mode 0644", prepare=mode("var/lib/kubelet/pki/kubelet.key", 0o644)),
    Case("kubelet-keys", "skip", "no key yet", {"var/lib/kubelet/pki": None}),
    Case("kubelet-service", "warn", "is not enabled", {f"{WANTS}/kubelet.service": None}),
    Case("kubelet-service", "warn", "does not run", {f"{SLICE}/kubelet.service": None}),
    Case("kubelet-service", "skip", "not installed",
         {f"{UNITS}/kubelet.service": None, f"{SLICE}/kubelet.service": None}),
    Case("other-runtimes", "warn", "crio.service runs, with /run/crio/crio.sock",
         {f"{SLICE}/crio.service/cgroup.procs": "300\n"}),
    Case("other-runtimes", "warn", f"/{WANTS}/containerd.service: it is enabled",
         {f"{WANTS}/containerd.service": "-> /usr/lib/systemd/system/containerd.service"}),
)  # fmt: skip

SUBIDS = "kubelet:65536:7208960\n"
GETSUBIDS: Files = {"usr/bin/getsubids": script("")}
SUBID = (
    Case("kubelet-subids", "pass", "/etc/subuid:1: kubelet:65536:7208960",
         {"etc/subuid": SUBIDS, "etc/subgid": SUBIDS, **GETSUBIDS}),
    Case("kubelet-subids", "fail", "/etc/subgid:1: kubelet:100000:7208960",
         {"etc/subuid": SUBIDS, "etc/subgid": "kubelet:100000:7208960\n", **GETSUBIDS}),
    Case("kubelet-subids", "fail", "do not both have kubelet", {"etc/subuid": SUBIDS, **GETSUBIDS}),
    Case("kubelet-subids", "warn", "getsubids is not installed", {"etc/subuid": SUBIDS, "etc/subgid": SUBIDS}),
    Case("kubelet-subids", "skip", "neither", {"etc/subuid": "somebody:100000:65536\n"}),
)  # fmt: skip

SOCKET = "run/trilby/trilby.sock"
STOPPED: Files = {f"{SLICE}/trilby.service": None, f"{WANTS}/trilby.service": None}
TLS: Files = {
    CONF: """[trilby.api]
stream_enable_tls = true
stream_tls_cert = "/etc/trilby/tls.crt"
stream_tls_key = "/etc/trilby/tls.key"
"""
}
CRT, KEY = "etc/trilby/tls.crt", "etc/trilby/tls.key"
DAEMON = (
    Case("trilby-configuration", "fail", "trilby.conf:2:1: trilby.api.stream_port", {CONF: "[trilby.api]\nstream_port = 99999\n"}),
    Case("trilby-configuration", "fail", "stream_enable_tls is true", {CONF: "[trilby.api]\nstream_enable_tls = true\n"}),
    Case("trilby-configuration", "warn", "trilby.conf:2:1: unknown option", {CONF: "[trilby.api]\nbogus = 1\n"}),
    Case("trilby-configuration", "pass", "trilby.conf read", {CONF: "[trilby.api]\nstream_port = 10010\n"}),
    Case("trilby-configuration", "fail", "there is no such configuration file", config="/nonexistent/x.conf"),
    Case("trilby-service", "warn", "is not enabled", {f"{WANTS}/trilby.service": None}),
    Case("trilby-service", "fail", "does not run", {f"{SLICE}/trilby.service": None}),
    Case("trilby-service", "fail", "does not run", {f"{SLICE}/trilby.service/cgroup.procs": "300\n"}),
    Case("trilby-service", "skip", "not installed", {**STOPPED, f"{UNITS}/trilby.service": None}),
    Case("trilby-socket", "fail", "is not there"),
    Case("trilby-socket", "skip", "is not meant to yet", STOPPED),
    Case("trilby-socket", "fail", "is no socket", {SOCKET: ""}),
    Case("trilby-socket", "fail", "has mode 0777", prepare=dead(0o777)),
    Case("trilby-socket", "pass", "has mode 0660", prepare=dead()),
    Case("trilby-answers", "pass", "/healthz says HTTP/1.1 200 OK", prepare=answers(b"HTTP/1.1 200 OK\r\n\r\nok")),
    Case("trilby-answers", "fail", "HTTP/1.1 503 No", prepare=answers(b"HTTP/1.1 503 No\r\n\r\n")),
    Case("trilby-answers", "warn", "is not trilbyd", prepare=answers(b"\0\0\x18\4\0")),
    Case("trilby-answers", "fail", "Connection refused", prepare=dead()),
    Case("trilby-answers", "skip", "is not there"),
    Case("trilby-paths", "fail", "107 are possible", {CONF: f'[trilby]\nrunroot = "/{"r" * 100}"\n'}),
    Case("trilby-certificates", "fail", "/etc/trilby/tls.crt is not there", TLS),
    Case("trilby-certificates", "fail", "expired", {**TLS, CRT: EXPIRED, KEY: ""}),
    Case("trilby-certificates", "warn", "valid until", {**TLS, CRT: ENDING, KEY: ""}),
    Case("trilby-certificates", "fail", "tls.key is not there", {**TLS, CRT: ENDING}),
    Case("trilby-logs", "fail", "has mode 0777", {"var/log/trilby/pods": "DIR"}, mode("var/log/trilby/pods", 0o777)),
    Case("trilby-logs", "pass", "pods is there", {"var/log/trilby/pods": "DIR"}),
    Case("trilby-python", "skip", "another host", prepare=interpreter()),
    Case("trilby-python", "warn", "is Python 3.17.1", prepare=interpreter(3, 17, 1)),
    Case("trilby-running-version", "warn", "/proc/100/maps:1: /usr/lib64/libc.so.6 (deleted)",
         {"proc/100/maps": "7f00-7f01 r-xp 0 08:01 1   /usr/lib64/libc.so.6 (deleted)\n"}),
    Case("trilby-running-version", "skip", "does not run", {f"{SLICE}/trilby.service": None}),
    Case("trilby-memory", "warn", "memory.events:2: oom_kill 3",
         {f"{SLICE}/trilby.service/memory.events": "oom 3\noom_kill 3\n"}),
    Case("trilby-memory", "skip", "is not there", {f"{SLICE}/trilby.service": None}),
)  # fmt: skip

DAEMON_PASS = (
    Case("trilby-certificates", "pass", "valid until", {**TLS, CRT: VALID, KEY: ""}),
)  # fmt: skip

CASES = (*DAEMON_PASS, *IMAGES, *SECURITY, *TIME, *KUBELETS, *SUBID, *DAEMON)

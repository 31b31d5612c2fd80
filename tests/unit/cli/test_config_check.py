"""trilby config check: every file is read, every mistake has its place, and programs are tried."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest

from trilby.cli.main import root_group, run
from trilby.cri import config_network

FILES = {
    "storage.conf": '[storage]\ndriver = "overlay"\n\n[storage.options]\nbogus = 1\n',
    "registries.conf": '[[registry]]\nlocation = "example.com"\nfoo = 1\n',
    "auth.json": '{"auths": {\n',
    "net.d/1.conflist": '{"name": "a",\n "cniVersion": "1.0.0",\n "plugins": []}',
    "policy.json": '{"default": [{"type": "insecureAcceptAnything"}]}',
    "seccomp.json": '{"defaultAction": "SCMP_ACT_ALLOW"}',
}
CONF = """\
[trilby.image]
signature_policy = "{place}/policy.json"
registries_d = "{place}/registries.d"
signature_policy_dir = "{place}/policies"
[trilby.network]
bridge_subnet = "10.87.0.0/16"
bridge_subnet_v6 = "fd74:7269:6c62::/64"
plugin_dirs = ["{place}/bin"]
[trilby.runtime]
conmon = "{place}/bin/conmon"
default_runtime = "good"
cgroup_manager = "cgroupfs"
seccomp_profile = "{place}/seccomp.json"
[trilby.runtime.runtimes.good]
runtime_path = "{place}/bin/good"
"""
# As the kernel has them: 203.0.112.0/22 and fd99::/64 are on eth9, and a default route.
ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth9\t00000000\t017000CB\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth9\t007000CB\t00000000\t0001\t0\t0\t0\t00FCFFFF\t0\t0\t0
trilby0\t0000570A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
"""
ROUTES_V6 = """\
fd990000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth9
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth9
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000001     eth9
00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001       lo
"""
PROGRAMS = ("conmon", "good", "bridge", "host-local", "portmap", "iptables", "catatonit")


class Host:
    """Files and programs of a host without a mistake."""

    def __init__(self, place: Path) -> None:
        self.place = place
        for folder in ("net.d", "bin", "policies", "registries.d"):
            (place / folder).mkdir()
        for program in PROGRAMS:
            (place / "bin" / program).symlink_to("/bin/true")
        self.write("trilby.conf", CONF.format(place=place))
        for name in ("storage.conf", "registries.conf"):
            self.write(name, "")
        self.write("auth.json", "{}")
        for name in ("policy.json", "seccomp.json"):
            self.write(name, FILES[name])

    def write(self, name: str, text: str) -> Path:
        path = self.place / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def conf(self, text: str) -> Path:
        """A drop-in."""
        return self.write("trilby.conf.d/1.conf", text)

    def check(self, *more: str) -> int:
        flags = ["--config", f"{self.place}/trilby.conf"]
        flags += ["--network-config-dir", f"{self.place}/net.d"]
        return run(root_group(), [*flags, "config", "check", *more])


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.setattr("trilby.cri.config_kubelet.KUBELET_CONFIG", str(tmp_path / "config.yaml"))
    for version, text in ((4, ROUTES), (6, ROUTES_V6)):
        path = tmp_path / f"routes{version}"
        path.write_text(text)
        monkeypatch.setitem(config_network.ROUTES, version, str(path))
    return Host(tmp_path)


def test_no_mistake_no_word(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.check() == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


def test_every_mistake_has_its_file_and_line(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in FILES.items():
        host.write(name, text)
    host.conf('[trilby.runtime]\nconnmon = "x"\npids_limit = "x"\n')
    assert host.check() == 2
    said = capsys.readouterr()
    for start in (
        "trilby.conf.d/1.conf:2:1: error: unknown option trilby.runtime.connmon",
        "trilby.conf.d/1.conf:3:1: error: trilby.runtime.pids_limit is not a whole number",
        "storage.conf:5: error: ",
        "registries.conf:3: error: ",
        "auth.json:2: error: ",
        "net.d/1.conflist:3: error: ",
    ):
        assert f"{host.place}/{start}" in said.out
    assert "    do: did you mean conmon?" in said.out
    assert "6 mistakes" in said.err


def test_json(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    path = host.conf('[trilby.runtime]\n  connmon = "x"\n')
    assert host.check("--format", "json") == 2
    assert json.loads(capsys.readouterr().out) == [
        {
            "severity": "error",
            "path": str(path),
            "line": 2,
            "column": 3,
            "origin": "",
            "key": "trilby.runtime.connmon",
            "what": "unknown option trilby.runtime.connmon",
            "why": "",
            "hint": "did you mean conmon?",
        }
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trilby.runtime.conmon = '/no/conmon'", "1:1: error: trilby.runtime.conmon means /no/conmon, which is not installed"),
        ("trilby.runtime.conmon = '{place}/policy.json'", "1:1: error: trilby.runtime.conmon means {place}/policy.json, which cannot be executed"),
        ("trilby.runtime.conmon = '{place}/bin/false'", "1:1: error: trilby.runtime.conmon means {place}/bin/false, which does not run: "),
        ("trilby.runtime.infra_command = 'nothing'", "1:1: warning: trilby.runtime.infra_command is nothing, which is not installed"),
        ("trilby.runtime.runtimes.x = {{}}", "error: trilby.runtime.runtimes.x.runtime_path means x, which is not installed"),
        ("trilby.runtime.runtimes.crun.monitor_path = '/x'", "1:1: error: trilby.runtime.runtimes.crun.monitor_path means /x, which is not installed"),
        ("trilby.runtime.default_runtime = ''", "1:1: error: trilby.runtime.default_runtime is empty, and none of crun, runc is installed"),
        ("trilby.runtime.default_runtime = 'crun'", "1:1: error: trilby.runtime.default_runtime means crun, which is not installed"),
        ("trilby.runtime.default_runtime = 'crum'", "1:1: error: trilby.runtime.default_runtime is 'crum', and there is no such table"),
        ("trilby.runtime.seccomp_profile = '/none'", "1:1: error: trilby.runtime.seccomp_profile means /none, which cannot be read"),
        ("trilby.runtime.seccomp_profile = '{place}/policy.json'", "error: trilby.runtime.seccomp_profile means {place}/policy.json, which is no profile"),
        ("trilby.runtime.privileged_seccomp_profile = '{place}/registries.conf'", "error: trilby.runtime.privileged_seccomp_profile means {place}/registries.conf, which is no profile: {place}/registries.conf:1: "),
        ("trilby.api.socket_mode = '0666'", "1:1: error: trilby.api.socket_mode is 0666: everybody on this host"),
        ("trilby.image.global_auth_file = '/none'", "1:1: error: trilby.image.global_auth_file is /none, which is not there"),
        ("trilby.image.signature_policy_dir = '/none'", "1:1: error: trilby.image.signature_policy_dir is /none, which cannot be read"),
        ("trilby.image.signature_policy = '/none'", "error: "),
        ("trilby.network.plugin_dirs = ['/none']", "1:1: warning: trilby.network.plugin_dirs has /none, which is no directory"),
        ("trilby.network.plugin_dirs = ['/none']", "1:1: error: trilby.network.plugin_dirs lacks bridge, host-local"),
        ("trilby.network.bridge_name = ''", "1:1: error: trilby.network.bridge_name is empty, and {place}/net.d has no configuration"),
        ("trilby.network.cni_default_network = 'x'", "1:1: error: trilby.network.cni_default_network is 'x', and no file"),
        ("trilby.network.bridge_subnet = '203.0.113.0/24'", "1:1: error: trilby.network.bridge_subnet is 203.0.113.0/24, which overlaps with 203.0.112.0/22 on eth9"),
        ("trilby.network.bridge_subnet_v6 = 'fd99::/60'", "1:1: error: trilby.network.bridge_subnet_v6 is fd99::/60, which overlaps with fd99::/64 on eth9"),
        ("trilby.metrics = {{enable_metrics = true, metrics_cert = '/c', metrics_key = '/k'}}", "1:42: error: trilby.metrics.metrics_cert is /c, which cannot be read"),
    ],
)  # fmt: skip
def test_what_the_options_lead_to(
    host: Host, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (host.place / "bin" / "false").symlink_to("/bin/false")
    host.conf(text.format(place=host.place) + "\n")
    status = host.check()
    out = capsys.readouterr().out
    assert said.format(place=host.place) in out
    assert status == (2 if "error" in out else 0)


def test_policies_of_namespaces_and_files_that_are_not_read(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.write("policies/shop.json", '{"default": [\n{"type": "sometimes"}]}')
    host.conf("")
    host.write("trilby.conf.d/2.conf.rpmsave", "nonsense")
    assert host.check() == 2
    out = capsys.readouterr().out
    assert f"{host.place}/policies/shop.json:2: error: " in out
    assert f"{host.place}/trilby.conf.d/2.conf.rpmsave: warning: is not read" in out


def test_a_store_of_the_daemons_own(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.conf('trilby.root = "/elsewhere"')
    assert host.check() == 0
    assert (
        "1:1: warning: trilby.root is /elsewhere, and storage.conf says " in capsys.readouterr().out
    )


def test_the_rest_is_looked_at_without_a_storage_conf(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.write("storage.conf", "[storage]\ndriver = []\n")
    host.write("registries.conf", FILES["registries.conf"])
    assert host.check() == 2
    out = capsys.readouterr().out
    assert f"{host.place}/storage.conf:2: error: " in out
    assert f"{host.place}/registries.conf:3: error: " in out


@pytest.mark.parametrize("version", [4, 6])
def test_routes_of_this_host(version: int) -> None:
    for link, subnet in config_network.routes(version):
        assert link and ipaddress.ip_network(subnet).version == version


def test_plugins_of_conflists(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    path = host.write(
        "net.d/1.conflist",
        '{"name": "a", "cniVersion": "1.0.0", "plugins": [{"type": "bridge"}, {"type": "weave"}]}',
    )
    assert host.check() == 2
    assert f"{path}: error: the network a needs the plugin weave" in capsys.readouterr().out


def test_a_file_that_is_named_and_missing(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    (host.place / "trilby.conf").unlink()
    assert host.check() == 2
    assert "no such configuration file" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kubelet", "said"),
    [
        ("cgroupDriver: systemd\n", "is cgroupfs, and the kubelet's cgroupDriver is systemd ({file}:1)"),
        ("containerRuntimeEndpoint: unix:///run/crio/crio.sock\n", "{file}:1: error: containerRuntimeEndpoint is unix:///run/crio/crio.sock"),
        ("cgroupDriver: [\n", "{file}:2: error: "),
        ("cgroupDriver: 3\n", "{file}:1: error: cgroupDriver must be a string"),
        ("kind: KubeProxyConfiguration\n", "{file}:1: error: it is a KubeProxyConfiguration"),
    ],
)  # fmt: skip
def test_the_kubelet(
    host: Host, capsys: pytest.CaptureFixture[str], kubelet: str, said: str
) -> None:
    file = host.write("config.yaml", kubelet)
    assert host.check() == 2
    assert said.format(file=file) in capsys.readouterr().out
    assert host.check("--kubelet-config", str(file)) == 2
    assert said.format(file=file) in capsys.readouterr().out


def test_a_kubelet_that_fits(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.write(
        "config.yaml",
        "kind: KubeletConfiguration\nfailCgroupV1: false\n"
        "containerRuntimeEndpoint: unix:///run/trilby/trilby.sock\n",
    )
    assert host.check() == 0
    assert host.check("--kubelet-config", "/none") == 2
    host.conf("trilby.runtime.log_size_max = 10000")
    assert host.check() == 0
    assert "1:1: warning: trilby.runtime.log_size_max is 10000" in capsys.readouterr().out

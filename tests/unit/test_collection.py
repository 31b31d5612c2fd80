"""The Ansible collection trilby.node: its documents, its linters, its build, and wrong variables.

Ansible is in a venv of its own, which `make molecule` makes. Without it these tests are skipped; in
continuous integration it has to be there (TRILBY_CI_ANSIBLE=yes).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml
from tests.support.role_readme import ROLES, options, with_table

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv" / "molecule" / "bin"
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))


def tool(name: str) -> str:
    found = shutil.which(name, path=str(BIN)) or shutil.which(name)
    if found is None:
        assert os.environ.get("TRILBY_CI_ANSIBLE") != "yes", f"{name} has to be here"
        pytest.skip(f"no {name}: scripts/molecule installs it")
    return found


@pytest.fixture
def collections(tmp_path: Path) -> Path:
    """A place where this tree is the collection."""
    folder = tmp_path / "ansible_collections" / "trilby"
    folder.mkdir(parents=True)
    (folder / "node").symlink_to(ROOT)
    return tmp_path


def ansible(
    program: str, *words: str | Path, collections: Path, check: bool = True
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [tool(program), *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(collections),
            "LANG": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        },
    )
    said = f"{program} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    assert not check or done.returncode == 0, said
    return done


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_the_readme_has_the_variables_of_the_specification(role: Path) -> None:
    assert (role / "README.md").read_text() == with_table(role), (
        "run python -m tests.support.role_readme"
    )


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_defaults_are_those_of_the_specification(role: Path) -> None:
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text())
    specified = {name: option.get("default") for name, option in options(role).items()}
    assert defaults == specified
    assert len(defaults) <= 30


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_variables_have_the_names_of_the_collection_and_the_role(role: Path) -> None:
    prefix = "trilby_node_" if role.name == "common" else f"trilby_{role.name}"
    assert all(name.startswith(prefix) for name in options(role))


FILTERS = """
- hosts: localhost
  gather_facts: false
  connection: local
  vars:
    tables:
      plain: "a \\"quoted\\" word"
      number: 3
      "a.b": true
      list: [x, y]
      inner: {key: [1, 2], deeper: {kept: false}}
      many: [{name: one}, {name: two, more: {n: 1}}]
    certificates:
      "registry.example.com:5000": {ca: " CA ", key: KEY}
    registries:
      - {location: registry.example.com, mirrors: [{location: mirror.example.com}]}
      - {location: bad.example.com, blocked: true, insecure: false}
    nodes:
      - {ansible_host: 192.0.2.1, trilby_network_subnets: [10.85.1.0/24, "fd00:1::/64"]}
      - {ansible_host: node-2.example.com, trilby_network_subnets: [10.85.2.0/24, "fd00:2::/64"],
         trilby_node_addresses: [192.0.2.2, "2001:db8::2"]}
    taints: [{key: dedicated, value: web, effect: NoSchedule}]
    fresh:
      metadata: {labels: {old: "1"}}
      spec: {taints: [{key: other, effect: NoExecute}, {key: dedicated, value: db, effect: NoSchedule}]}
    settled:
      metadata: {labels: {zone: a}}
      spec: {podCIDR: 10.85.1.0/24, taints: [{key: dedicated, value: web, effect: NoSchedule}]}
  tasks:
    - ansible.builtin.copy:
        dest: "{{ to }}"
        mode: "0600"
        content: >-
          {{ {
            'toml': tables | trilby.node.to_toml,
            'files': certificates | trilby.node.certificate_files('/certs'),
            'texts': {'a': 'one', 'b': 'two'} | trilby.node.text_files('/texts', suffix='.yaml', head='# head'),
            'auth': {'registry.example.com': {'username': 'a', 'password': 'b'}} | trilby.node.auth_json,
            'registries': registries | trilby.node.registries_conf(['quay.io'], {'web': 'quay.io/web'}, 'enforcing') | trilby.node.to_toml,
            'routes': nodes | trilby.node.pod_routes,
            'addresses': nodes | trilby.node.node_addresses,
            'alike': nodes | trilby.node.node_addresses('2001:db8::10'),
            'outside': ['10.85.1.0/24', '10.1.0.0/24', '10.0.0.0/8'] | trilby.node.outside(['10.85.0.0/16']),
            'overlapping': ['10.85.1.0/24', 'fd00:1::/64'] | trilby.node.overlapping(['10.0.0.0/8', 'fd00:2::/64']),
            'patch': fresh | trilby.node.node_patch({'zone': 'a', 'old': 1}, taints, ['10.85.1.0/24']),
            'opened': fresh | trilby.node.node_patch({}, [], [], ['dedicated', 'absent']),
            'nothing': settled | trilby.node.node_patch({'zone': 'a'}, taints, ['10.85.9.0/24']),
          } | to_json }}
"""


def test_filters(collections: Path, tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(FILTERS)
    ansible(
        *("ansible-playbook", "-i", "localhost,", "-e", f"to={tmp_path / 'said'}"),
        tmp_path / "play.yml",
        collections=collections,
    )
    said = json.loads((tmp_path / "said").read_text())
    assert tomllib.loads(said["toml"]) == {
        "plain": 'a "quoted" word',
        "number": 3,
        "a.b": True,
        "list": ["x", "y"],
        "inner": {"key": [1, 2], "deeper": {"kept": False}},
        "many": [{"name": "one"}, {"name": "two", "more": {"n": 1}}],
    }
    place = "/certs/registry.example.com:5000"
    assert said["files"] == [
        {"path": f"{place}/ca.crt", "content": "CA\n", "mode": "0644"},
        {"path": f"{place}/client.key", "content": "KEY\n", "mode": "0600"},
    ]
    assert said["texts"] == [
        {"path": f"/texts/{name}.yaml", "content": f"# head\n{text}", "mode": "0644"}
        for name, text in (("a", "one"), ("b", "two"))
    ]
    assert said["auth"] == {"auths": {"registry.example.com": {"auth": "YTpi"}}}
    assert tomllib.loads(said["registries"]) == {
        "unqualified-search-registries": ["quay.io"],
        "short-name-mode": "enforcing",
        "registry": [
            {
                "prefix": "registry.example.com",
                "location": "registry.example.com",
                "mirror": [{"location": "mirror.example.com"}],
            },
            {"prefix": "bad.example.com", "location": "bad.example.com", "blocked": True},
        ],
        "aliases": {"web": "quay.io/web"},
    }
    assert said["routes"] == [
        {"subnet": "10.85.1.0/24", "gateway": "192.0.2.1"},
        {"subnet": "fd00:1::/64", "gateway": "192.0.2.1"},
        {"subnet": "10.85.2.0/24", "gateway": "192.0.2.2"},
        {"subnet": "fd00:2::/64", "gateway": "2001:db8::2"},
    ]
    assert said["addresses"] == ["192.0.2.1", "192.0.2.2"]
    assert said["alike"] == ["192.0.2.1", "2001:db8::2"]
    assert said["outside"] == ["10.1.0.0/24", "10.0.0.0/8"]
    assert said["overlapping"] == ["10.85.1.0/24"]
    assert said["patch"] == {
        "metadata": {"labels": {"zone": "a"}},
        "spec": {
            "taints": [
                {"key": "other", "effect": "NoExecute"},
                {"key": "dedicated", "value": "web", "effect": "NoSchedule"},
            ],
            "podCIDR": "10.85.1.0/24",
            "podCIDRs": ["10.85.1.0/24"],
        },
    }
    assert said["opened"] == {"spec": {"taints": [{"key": "other", "effect": "NoExecute"}]}}
    assert said["nothing"] == {}


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.name)
def test_playbooks_parse(playbook: Path, collections: Path) -> None:
    ansible(
        *("ansible-playbook", "--syntax-check", "-i", "localhost,", playbook),
        collections=collections,
    )


@pytest.mark.parametrize(
    "path", sorted((ROOT / "plugins/modules").glob("*.py")), ids=lambda p: p.stem
)
def test_modules_are_documented(path: Path, collections: Path) -> None:
    name = f"trilby.node.{path.stem}"
    assert name in ansible("ansible-doc", "-t", "module", name, collections=collections).stdout


def test_roles_are_documented(collections: Path) -> None:
    names = [f"trilby.node.{role.name}" for role in ROLES]
    said = ansible("ansible-doc", "-t", "role", *names, collections=collections).stdout
    for role in ROLES:
        for name in options(role):
            assert name in said


@pytest.mark.parametrize(
    "path", sorted((ROOT / "plugins/filter").glob("*.yml")), ids=lambda p: p.stem
)
def test_filters_are_documented(path: Path, collections: Path) -> None:
    name = f"trilby.node.{path.stem}"
    assert name in ansible("ansible-doc", "-t", "filter", name, collections=collections).stdout


def test_the_collection_builds_and_installs(collections: Path, tmp_path: Path) -> None:
    built, installed = tmp_path / "built", tmp_path / "installed"
    ansible(
        *("ansible-galaxy", "collection", "build", "--output-path", built), collections=collections
    )
    (archive,) = built.glob("trilby-node-*.tar.gz")
    with tarfile.open(archive) as content:
        tops = {name.partition("/")[0] for name in content.getnames()}
    # Nothing of Trilby itself, and nothing that a build left behind.
    assert tops == {
        *("FILES.json", "LICENSE", "MANIFEST.json", "changelogs", "docs", "examples"),
        *("meta", "playbooks", "plugins", "roles"),
    }
    words = ("ansible-galaxy", "collection", "install", "--offline", "-p", installed, archive)
    # Where this tree is the collection it would be there already.
    ansible(*words, collections=installed)
    assert (installed / "ansible_collections/trilby/node/roles/runtime/tasks/main.yml").exists()


WRONG = [
    ("trilby_node_runtime", "docker", "trilby_node_runtime"),
    ("trilby_node_cgroup_driver", "both", "trilby_node_cgroup_driver"),
    ("trilby_node_lock", "/nonexistent/node.lock", "no file of the controller"),
    ("trilby_verify_lock", ["pods"], "trilby_verify_lock"),
    ("trilby_runtime_repository_url", "packages.example.com", "http, https or file URL"),
    ("trilby_runtime_repository_url", "https://x.example.com/", "the key that signs them"),
    ("trilby_runtime_version", "newest", "as 0.1.0"),
    ("trilby_runtime_modules", ["over lay"], "no name of a module"),
    ("trilby_runtime_sysctls", {"ip forward": 1}, "no kernel setting"),
    ("trilby_storage_root", "containers", "absolute path"),
    ("trilby_storage_driver", "zfs", "trilby_storage_driver"),
    ("trilby_storage_driver", "btrfs", "trilby has overlay, vfs"),
    ("trilby_storage_quota", "much", "number of bytes"),
    ("trilby_storage_quota", "10G", "kept by cri-o only"),
    ("trilby_registries", [{"location": "https://registry.example.com"}], "without a scheme"),
    ("trilby_registries_credentials", {"registry.example.com": {"username": "a"}}, "a password"),
    ("trilby_registries_policy", {"transports": {}}, "no default"),
    ("trilby_network_subnets", ["10.85.0.0"], "no subnet"),
    ("trilby_network_bridge", "a-name-that-is-too-long", "at most 15"),
    ("trilby_network_ports", [70000], "no port"),
    ("trilby_kubelet_version", "1", "as '1.36'"),
    ("trilby_kubelet_config", {"cgroupDriver": "cgroupfs"}, "set the latter alone"),
    ("trilby_kubelet_static_pods", {"web": {"kind": "Service"}}, "no Pod"),
    ("trilby_verify_port", 0, "no port"),
]
#: The same of cluster.yml, whose hosts are a control plane each.
WRONG_CLUSTER = [
    ("trilby_kubelet_static_pods_only", True, "would remove the control plane"),
    ("trilby_kubelet_release", "1.35.1", "a release of trilby_kubelet_version"),
    ("trilby_node_name", "Node_1", "small letters"),
    ("trilby_node_addresses", ["here"], "no address"),
    ("trilby_node_labels", {"a b": "c"}, "no label"),
    ("trilby_node_taints", [{"key": "a", "effect": "Never"}], "must be one of"),
    ("trilby_node_taints", [{"effect": "NoSchedule"}], "missing required arguments"),
    ("trilby_node_kubelet_arguments", [{"name": "--v", "value": "2"}], "without dashes"),
    ("trilby_node_ignore_preflight", ["all of them"], "no name of a check"),
    ("trilby_node_token_ttl", "0s", "no token lives for ever"),
    ("trilby_node_timeout", 0, "a second at least"),
    ("trilby_node_drain_timeout", 0, "a second at least"),
    ("trilby_node_drain_arguments", ["force"], "no argument"),
    ("trilby_control_plane_version", "newest", "a release of"),
    ("trilby_control_plane_endpoint", "https://api", "as api.example.com:6443"),
    ("trilby_control_plane_virtual_address", "api", "no address"),
    ("trilby_control_plane_virtual_router", 256, "from 1 to 255"),
    ("trilby_control_plane_pod_subnets", ["10.85.0.0"], "no subnet"),
    ("trilby_control_plane_pod_subnets", ["10.1.0.0/16"], "no part of"),
    ("trilby_control_plane_service_subnets", ["10.85.3.0/24"], "addresses of pods"),
    ("trilby_control_plane_service_subnets", [], "one subnet each"),
    ("trilby_control_plane_domain", "cluster local", "no domain"),
    ("trilby_control_plane_image_repository", "https://x.example.com", "without a scheme"),
    ("trilby_control_plane_proxy_mode", "ipvs", "must be one of"),
    ("trilby_control_plane_config", {"apiVersion": "kubeadm.k8s.io/v1beta3"}, "another kind"),
    ("trilby_control_plane_kubelet_config", {"cgroupDriver": "cgroupfs"}, "its own of"),
    ("trilby_control_plane_manifests", ["manifests/flannel"], "kubectl does not read"),
    ("trilby_control_plane_manifests", ["a/x.yaml", "b/x.yaml.j2"], "two files of one name"),
    ("trilby_control_plane_timeout", 0, "a second at least"),
    ("trilby_control_plane_ports", [0], "no port"),
]


FACTS = """
from ansible.module_utils.basic import AnsibleModule

AnsibleModule({"services": {"type": "list"}}).exit_json(
    ansible_facts={
        "distribution": "Fedora", "service_mgr": "systemd", "kernel": "6", "cgroup_version": 2,
        "selinux": {"status": "disabled"}, "default_ipv4": {}, "services": {},
    }
)
"""


def on_fedora(collection: Path) -> None:
    """This tree as the collection, with what it asks of a host as it is on Fedora."""
    (collection / "plugins/modules").mkdir(parents=True)
    for name in ("roles", "meta", "galaxy.yml", "plugins/filter", "plugins/module_utils"):
        (collection / name).symlink_to(ROOT / name)
    (collection / "plugins/modules/node_facts.py").write_text(FACTS)


def complaints(folder: Path, playbook: str, wrong: list[tuple[str, object, str]]) -> dict[str, str]:
    """What a playbook says first to each wrong value: every one is a host of its own."""
    on_fedora(folder / "ansible_collections/trilby/node")
    hosts = {f"case{number}": {name: value} for number, (name, value, _) in enumerate(wrong)}
    if len(hosts) % 2 == 0:
        hosts["right"] = {}
    shared: dict[str, object] = {"ansible_connection": "local"}
    if playbook == "cluster.yml":
        shared["trilby_control_plane_endpoint"] = "api.example.com:6443"
        for case in hosts.values():
            if "trilby_control_plane_virtual_address" in case:
                case["trilby_control_plane_endpoint"] = ""
    inventory = {"control_plane": {"hosts": hosts, "vars": shared}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    play = yaml.safe_load((ROOT / "playbooks" / playbook).read_text())[0]
    if "pre_tasks" in play:
        play["tasks"] = play.pop("pre_tasks")
        del play["roles"]
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    words = ("ansible-playbook", "-i", folder / "hosts.yml", folder / "play.yml")
    done = ansible(*words, collections=folder, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert not re.search("^changed: ", done.stdout, re.MULTILINE)
    found = re.findall(r"^fatal: \[(\w+)\]: (.+?)(?=^\S|\Z)", done.stdout, re.DOTALL | re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


@pytest.fixture(scope="module")
def of_nodes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return complaints(tmp_path_factory.mktemp("wrong"), "node.yml", WRONG)


@pytest.fixture(scope="module")
def of_clusters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return complaints(tmp_path_factory.mktemp("wrong-cluster"), "cluster.yml", WRONG_CLUSTER)


@pytest.mark.parametrize("number", range(len(WRONG)), ids=[f"{n}={v}"[:60] for n, v, _ in WRONG])
def test_wrong_variables_are_told(number: int, of_nodes: dict[str, str]) -> None:
    assert WRONG[number][2] in of_nodes.get(f"case{number}", "nothing")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "number", range(len(WRONG_CLUSTER)), ids=[f"{n}={v}"[:60] for n, v, _ in WRONG_CLUSTER]
)
def test_wrong_variables_of_clusters_are_told(number: int, of_clusters: dict[str, str]) -> None:
    assert WRONG_CLUSTER[number][2] in of_clusters.get(f"case{number}", "nothing")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_linters_find_nothing(collections: Path) -> None:
    ansible("yamllint", "--strict", ".", collections=collections)
    ansible("ansible-lint", "--offline", "--nocolor", "-q", collections=collections)

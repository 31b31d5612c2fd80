"""The Ansible collection trilby.node: its documents, its linters, its build, and wrong variables.

Ansible is in a venv of its own, which `make molecule` makes. Without it these tests are skipped; in
continuous integration it has to be there (TRILBY_CI_ANSIBLE=yes).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from types import ModuleType

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


def plugin(name: str) -> ModuleType:
    """A filter plugin as a module. It needs Ansible, and so a stand-in of its one error."""
    pytest.importorskip("ansible", reason="filters are tested where Ansible is importable")
    spec = importlib.util.spec_from_file_location(name, ROOT / f"plugins/filter/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.name)
def test_playbooks_parse(playbook: Path, collections: Path) -> None:
    ansible(
        *("ansible-playbook", "--syntax-check", "-i", "localhost,", playbook),
        collections=collections,
    )


def test_roles_are_documented(collections: Path) -> None:
    names = [f"trilby.node.{role.name}" for role in ROLES]
    said = ansible("ansible-doc", "-t", "role", *names, collections=collections).stdout
    for role in ROLES:
        for name in options(role):
            assert name in said


@pytest.mark.parametrize("path", sorted((ROOT / "plugins/filter").glob("*.yml")), ids=lambda p: p.stem)
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
    ansible(*words, collections=collections)
    assert (installed / "ansible_collections/trilby/node/roles/runtime/tasks/main.yml").exists()


WRONG = [
    ("trilby_node_runtime", "docker", "trilby_node_runtime"),
    ("trilby_node_cgroup_driver", "both", "trilby_node_cgroup_driver"),
    ("trilby_runtime_repository_url", "packages.example.com", "http, https or file URL"),
    ("trilby_runtime_repository_url", "https://x.example.com/", "the key that signs them"),
    ("trilby_runtime_version", "newest", "as 0.1.0"),
    ("trilby_runtime_modules", ["over lay"], "no name of a module"),
    ("trilby_runtime_sysctls", {"ip forward": 1}, "no kernel setting"),
    ("trilby_storage_root", "containers", "absolute path"),
    ("trilby_storage_driver", "zfs", "trilby_storage_driver"),
    ("trilby_storage_quota", "much", "number of bytes"),
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


@pytest.mark.parametrize(("name", "value", "message"), WRONG, ids=lambda value: str(value)[:30])
def test_wrong_variables_are_told(
    name: str, value: object, message: str, collections: Path, tmp_path: Path
) -> None:
    """The first play of node.yml, on this machine, as Fedora: it changes nothing."""
    play = yaml.safe_load((ROOT / "playbooks/node.yml").read_text())[0]
    facts = {"distribution": "Fedora", "service_mgr": "systemd", "pkg_mgr": "dnf5", "kernel": "6"}
    play |= {
        "connection": "local",
        "vars": {"ansible_facts": facts | {"selinux": {}, "default_ipv4": {}}, name: value},
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    done = ansible(
        *("ansible-playbook", "-i", "localhost,", tmp_path / "play.yml"),
        collections=collections,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in " ".join(done.stdout.split()) + " ".join(done.stderr.split())
    assert "changed=0" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_linters_find_nothing(collections: Path) -> None:
    ansible("yamllint", "--strict", ".", collections=collections)
    ansible("ansible-lint", "--offline", "--nocolor", "-q", collections=collections)

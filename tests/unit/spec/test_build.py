"""The whole config from values, and that it is what runtimes read."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from trilby.oci.image import ContainerDefaults, ImageConfig
from trilby.oci.runtime import encode_spec, parse_spec
from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_common import (
    IdMapping,
    NamespaceMode,
    NamespaceOptions,
    SELinuxOptions,
    UserNamespace,
)
from trilby.pods.model_container import ContainerConfig, ContainerSecurity, ImageSpec
from trilby.pods.model_sandbox import SandboxConfig, SandboxSecurity
from trilby.pods.spec.build import build_container_spec
from trilby.pods.spec.host import HostFacts
from trilby.pods.spec.inputs import SandboxPaths, SpecInputs, SpecRequest
from trilby.pods.spec.security import Contexts
from trilby.pods.spec.users import ResolvedUser
from trilby.system.limits import CAPABILITIES, HostLimits

HOST = HostFacts(
    limits=HostLimits(
        bounding=frozenset(CAPABILITIES),
        effective=frozenset(CAPABILITIES),
        oom_score_adj=-1000,
        rlimits={},
        hugepage_sizes=frozenset(),
        swap_limits=True,
        unified=True,
        controllers=frozenset(("cpu", "memory", "pids")),
    )
)
REQUEST = SpecRequest(
    container_id="c1",
    sandbox=SandboxConfig(name="pod", uid="u"),
    paths=SandboxPaths(id="s1", netns="/ns/net", ipcns="/ns/ipc", utsns="/ns/uts", hostname="pod"),
    container=ContainerConfig(name="c", image=ImageSpec(image="i"), annotations={"k": "v"}),
    image=ImageConfig(config=ContainerDefaults(cmd=("/bin/true",))),
    rootfs="/rootfs",
    cgroups_path="/trilby/pod/c1",
)
INPUTS = SpecInputs(request=REQUEST, host=HOST, user=ResolvedUser())


def request(**changes: object) -> SpecInputs:
    return replace(INPUTS, request=replace(REQUEST, **changes))


def test_a_plain_container() -> None:
    built = build_container_spec(INPUTS)
    assert not built.warnings
    spec = built.spec
    assert parse_spec(encode_spec(spec)) == spec
    document = json.loads(encode_spec(spec))
    assert document["ociVersion"] == "1.0.2"
    assert document["process"]["args"] == ["/bin/true"]
    assert document["linux"]["cgroupsPath"] == "/trilby/pod/c1"
    assert {"type": "network", "path": "/ns/net"} in document["linux"]["namespaces"]
    assert document["annotations"]["k"] == "v"
    assert document["annotations"]["io.kubernetes.cri-o.ContainerType"] == "container"
    assert "hooks" not in document and "seccomp" not in document["linux"]
    # The names are those of the pinned namespace; runtimes refuse to set one for a host's.
    assert "hostname" not in document


def test_privileged_containers_need_a_privileged_pod() -> None:
    container = replace(REQUEST.container, security=ContainerSecurity(privileged=True))
    with pytest.raises(InvalidPodConfig, match="privileged"):
        build_container_spec(request(container=container))
    sandbox = replace(REQUEST.sandbox, security=SandboxSecurity(privileged=True))
    spec = build_container_spec(request(container=container, sandbox=sandbox)).spec
    assert spec.linux and not spec.linux.masked_paths and not spec.linux.readonly_paths
    assert spec.process and spec.process.capabilities
    assert spec.process.capabilities.bounding == CAPABILITIES
    assert spec.linux.resources and spec.linux.resources.devices[0].allow
    assert "cgroup" not in [namespace.type for namespace in spec.linux.namespaces]


def test_a_user_namespace() -> None:
    mapping = (IdMapping(container_id=0, host_id=200000, length=65536),)
    userns = UserNamespace(mode=NamespaceMode.POD, uids=mapping, gids=mapping)
    sandbox = replace(
        REQUEST.sandbox, security=SandboxSecurity(namespaces=NamespaceOptions(userns=userns))
    )
    paths = replace(REQUEST.paths, userns="/ns/user")
    nested = replace(HOST, limits=replace(HOST.limits, bounding=frozenset()))
    inputs = replace(request(sandbox=sandbox, paths=paths), host=nested)
    built = build_container_spec(inputs)
    assert not built.warnings
    linux = built.spec.linux
    assert linux and linux.uid_mappings[0].host_id == 200000
    assert ("user", "/ns/user") in [(item.type, item.path) for item in linux.namespaces]
    with pytest.raises(InvalidPodConfig, match="70000"):
        build_container_spec(replace(inputs, user=ResolvedUser(uid=70000)))


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": {"a": "b" * 4096}},
        {"security": ContainerSecurity(namespaces=NamespaceOptions(ipc=NamespaceMode.CONTAINER))},
    ],
)
def test_what_cannot_be(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidPodConfig):
        build_container_spec(request(container=replace(REQUEST.container, **changes)))


def test_selinux_labels_where_the_host_has_it() -> None:
    paths = replace(REQUEST.paths, selinux_level="s0:c1,c2")
    spec = build_container_spec(replace(request(paths=paths), selinux=Contexts())).spec
    assert spec.process and spec.process.selinux_label.endswith(":container_t:s0:c1,c2")
    assert spec.linux and spec.linux.mount_label.endswith(":container_file_t:s0:c1,c2")


def test_selinux_options_on_a_host_without_it_are_left_out_with_a_warning() -> None:
    security = ContainerSecurity(selinux=SELinuxOptions(level="s0:c1,c2"))
    built = build_container_spec(request(container=replace(REQUEST.container, security=security)))
    assert built.spec.process and built.spec.process.selinux_label == ""
    assert built.spec.linux and built.spec.linux.mount_label == ""
    assert "SELinux options are left out: this host has no SELinux" in built.warnings
    empty = replace(REQUEST.container, security=replace(security, selinux=SELinuxOptions()))
    assert not any(
        "SELinux" in said for said in build_container_spec(request(container=empty)).warnings
    )


def test_seccomp_sees_the_bounding_set() -> None:
    profile = (
        b'{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["chown"], "action":'
        b' "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_CHOWN"]}}]}'
    )
    spec = build_container_spec(replace(INPUTS, seccomp=profile, seccomp_name="p")).spec
    assert spec.linux and spec.linux.seccomp
    assert spec.linux.seccomp.syscalls[0].names == ("chown",)


def test_annotations_that_runtimes_obey_have_to_be_allowed() -> None:
    asked = {"run.oci.handler": "wasm", "org.systemd.property.X": "1", "mine": "yes"}
    container = replace(REQUEST.container, annotations=asked)
    built = build_container_spec(request(container=container))
    assert "run.oci.handler" not in built.spec.annotations and built.spec.annotations["mine"]
    assert len(built.warnings) == 2
    allowed = replace(REQUEST.defaults, allowed_annotations=("run.oci.handler", "org.systemd.*"))
    built = build_container_spec(request(container=container, defaults=allowed))
    assert asked.items() <= built.spec.annotations.items() and not built.warnings


def test_read_only_everywhere_leaves_places_to_write() -> None:
    spec = build_container_spec(request(defaults=replace(REQUEST.defaults, read_only=True))).spec
    assert spec.root and spec.root.readonly
    memory = [mount.destination for mount in spec.mounts if "tmpcopyup" in mount.options]
    assert memory == ["/run", "/tmp", "/var/tmp"]

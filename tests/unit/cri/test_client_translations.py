"""What the client sends is what the daemon reads, and what the daemon says is what it reads."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trilby.cri import translate_container, translate_sandbox, translate_stats
from trilby.cri.client import requests, statistics, statuses
from trilby.pods import model_common as common
from trilby.pods import model_container as container
from trilby.pods import model_sandbox as sandbox
from trilby.pods import model_status as status
from trilby.pods.spec.masks import MASKED_PATHS, READONLY_PATHS

M = TypeVar("M", bound=Message)

TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
)
NUMBER = st.integers(0, 2**31 - 1)
MAP = st.dictionaries(TEXT, TEXT, max_size=3)
MAYBE = st.none() | NUMBER
SIGNALS = st.sampled_from(["", "SIGTERM", "SIGKILL", "SIGRTMIN", "SIGRTMIN+3", "SIGRTMAX-2"])

RESOURCES = st.builds(
    common.Resources,
    cpu_period=NUMBER,
    cpu_quota=NUMBER,
    cpu_shares=NUMBER,
    cpuset_cpus=TEXT,
    cpuset_mems=TEXT,
    memory_limit=NUMBER,
    memory_swap_limit=st.integers(-1, 2**40),
    # An absent message has no score at all; a kubelet always sends one.
    oom_score_adj=st.integers(-1000, 1000),
    hugepage_limits=st.tuples(st.builds(common.HugepageLimit, page_size=TEXT, limit=NUMBER)),
    unified=MAP,
)
MAPPINGS = st.lists(
    st.builds(common.IdMapping, container_id=NUMBER, host_id=NUMBER, length=NUMBER), max_size=2
).map(tuple)
USERNS = st.none() | st.builds(
    common.UserNamespace,
    mode=st.sampled_from([common.NamespaceMode.POD, common.NamespaceMode.NODE]),
    uids=MAPPINGS,
    gids=MAPPINGS,
)
NAMESPACES = st.builds(
    common.NamespaceOptions,
    network=st.sampled_from(common.NamespaceMode),
    pid=st.sampled_from(common.NamespaceMode),
    ipc=st.sampled_from(common.NamespaceMode),
    target_id=TEXT,
    userns=USERNS,
)
PROFILE = st.none() | st.builds(
    common.SecurityProfile, type=st.sampled_from(common.ProfileType), localhost_ref=TEXT
)
SELINUX = st.none() | st.builds(common.SELinuxOptions, user=TEXT, role=TEXT, type=TEXT, level=TEXT)
GROUPS = st.lists(NUMBER, max_size=3).map(tuple)
STRINGS = st.lists(TEXT, max_size=3).map(tuple)

SANDBOX = st.builds(
    sandbox.SandboxConfig,
    name=TEXT,
    uid=TEXT,
    namespace=TEXT,
    attempt=NUMBER,
    hostname=TEXT,
    log_directory=TEXT.map(lambda text: f"/{text}"),
    dns=st.builds(sandbox.DNSConfig, servers=STRINGS, searches=STRINGS, options=STRINGS),
    port_mappings=st.lists(
        st.builds(
            sandbox.PortMapping,
            container_port=NUMBER,
            host_port=NUMBER,
            host_ip=TEXT,
            protocol=st.sampled_from(sandbox.Protocol),
        ),
        max_size=2,
    ).map(tuple),
    labels=MAP,
    annotations=MAP,
    cgroup_parent=TEXT,
    sysctls=MAP,
    security=st.builds(
        sandbox.SandboxSecurity,
        namespaces=NAMESPACES,
        privileged=st.booleans(),
        run_as_user=NUMBER,
        run_as_group=MAYBE,
        supplemental_groups=GROUPS,
        supplemental_groups_policy=st.sampled_from(common.SupplementalGroupsPolicy),
        readonly_rootfs=st.booleans(),
        selinux=SELINUX,
        seccomp=PROFILE,
        apparmor=PROFILE,
    ),
    overhead=st.none() | RESOURCES,
    resources=st.none() | RESOURCES,
    runtime_handler=TEXT,
)

IMAGE_VOLUME = st.builds(container.ImageSpec, image=TEXT, user_specified=TEXT, annotations=MAP)
MOUNT = st.builds(
    container.Mount,
    container_path=TEXT,
    host_path=TEXT,
    readonly=st.booleans(),
    recursive_read_only=st.booleans(),
    propagation=st.sampled_from(container.Propagation),
    selinux_relabel=st.booleans(),
    uid_mappings=MAPPINGS,
    gid_mappings=MAPPINGS,
    image=st.none() | IMAGE_VOLUME,
    image_sub_path=TEXT,
)
CONTAINER = st.builds(
    container.ContainerConfig,
    name=TEXT,
    image=st.builds(
        container.ImageSpec, image=TEXT, user_specified=TEXT, runtime_handler=TEXT, annotations=MAP
    ),
    attempt=NUMBER,
    command=STRINGS,
    args=STRINGS,
    working_dir=TEXT,
    envs=st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple),
    mounts=st.lists(MOUNT, max_size=2).map(tuple),
    devices=st.lists(
        st.builds(container.Device, host_path=TEXT, container_path=TEXT, permissions=TEXT),
        max_size=2,
    ).map(tuple),
    cdi_devices=STRINGS,
    labels=MAP,
    annotations=MAP,
    log_path=TEXT,
    stdin=st.booleans(),
    stdin_once=st.booleans(),
    tty=st.booleans(),
    resources=RESOURCES,
    security=st.builds(
        container.ContainerSecurity,
        capabilities=st.none()
        | st.builds(container.Capabilities, add=STRINGS, drop=STRINGS, add_ambient=STRINGS),
        privileged=st.booleans(),
        namespaces=NAMESPACES,
        selinux=SELINUX,
        run_as_user=NUMBER,
        run_as_username=TEXT,
        run_as_group=MAYBE,
        supplemental_groups=GROUPS,
        supplemental_groups_policy=st.sampled_from(common.SupplementalGroupsPolicy),
        readonly_rootfs=st.booleans(),
        no_new_privs=st.booleans(),
        masked_paths=STRINGS,
        readonly_paths=STRINGS,
        seccomp=PROFILE,
        apparmor=PROFILE,
    ),
    stop_signal=SIGNALS,
)
EASY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def by_wire(message: M) -> M:
    """As the other side gets it."""
    return type(message).FromString(message.SerializeToString())


@EASY
@given(SANDBOX)
def test_a_sandbox_arrives_as_it_was_meant(config: sandbox.SandboxConfig) -> None:
    request = by_wire(requests.run_request(config))
    assert translate_sandbox.sandbox_config(request.config, request.runtime_handler) == config


def test_a_sandbox_without_dns_asks_for_the_hosts() -> None:
    config = sandbox.SandboxConfig(name="a", uid="b")
    request = by_wire(requests.run_request(config))
    assert not request.config.HasField("dns_config")
    assert translate_sandbox.sandbox_config(request.config, "").dns == sandbox.DNSConfig()


@EASY
@given(CONTAINER)
def test_a_container_arrives_as_it_was_meant(config: container.ContainerConfig) -> None:
    message = by_wire(requests.container_message(config))
    assert message.image.image == config.image.image
    wanted = config
    if config.security.privileged:
        # A kubelet sends none either: nothing is masked there.
        security = msgspec.structs.replace(config.security, masked_paths=(), readonly_paths=())
        wanted = msgspec.structs.replace(config, security=security)
    arrived = translate_container.container_config(message, config.image.image)
    # What the caller's words were found to be is the daemon's to say.
    image = msgspec.structs.replace(arrived.image, ref=wanted.image.ref)
    assert msgspec.structs.replace(arrived, image=image) == wanted


def test_the_default_masks_are_spelled_out() -> None:
    config = container.ContainerConfig(name="a", image=container.ImageSpec(image="b"))
    context = by_wire(requests.container_message(config)).linux.security_context
    assert tuple(context.masked_paths) == MASKED_PATHS
    assert tuple(context.readonly_paths) == READONLY_PATHS


def test_an_environment_need_not_be_text() -> None:
    value = b"\xff\xfe".decode(errors="surrogateescape")
    config = container.ContainerConfig(
        name="a", image=container.ImageSpec(image="b"), envs=(("X", value),)
    )
    message = by_wire(requests.container_message(config))
    assert message.envs[0].value == b"\xff\xfe"
    assert translate_container.container_config(message, "b").envs == (("X", value),)


@EASY
@given(
    st.builds(
        status.SandboxStatus,
        id=TEXT,
        name=TEXT,
        uid=TEXT,
        namespace=TEXT,
        attempt=NUMBER,
        state=st.sampled_from(status.SandboxState),
        created_at=NUMBER,
        ips=STRINGS,
        namespaces=NAMESPACES,
        labels=MAP,
        annotations=MAP,
        runtime_handler=TEXT,
    )
)
def test_a_sandbox_is_read_as_the_daemon_has_it(found: status.SandboxStatus) -> None:
    message = by_wire(translate_sandbox.status_message(found))
    assert statuses.sandbox_status(message) == found


@EASY
@given(
    st.builds(
        status.ContainerStatus,
        id=TEXT,
        sandbox_id=st.just("pod"),
        name=TEXT,
        attempt=NUMBER,
        state=st.sampled_from(status.ContainerState),
        created_at=NUMBER,
        started_at=NUMBER,
        finished_at=NUMBER,
        exit_code=NUMBER,
        image=st.builds(container.ImageSpec, image=TEXT, user_specified=TEXT, annotations=MAP),
        image_id=TEXT,
        reason=TEXT,
        message=TEXT,
        labels=MAP,
        annotations=MAP,
        mounts=st.lists(MOUNT, max_size=2).map(tuple),
        log_path=TEXT,
        resources=RESOURCES,
        user=st.none() | st.builds(status.ContainerUser, uid=NUMBER, gid=NUMBER),
        stop_signal=st.sampled_from(["SIGTERM", "SIGRTMIN+3"]),
    )
)
def test_a_container_is_read_as_the_daemon_has_it(found: status.ContainerStatus) -> None:
    message = by_wire(translate_container.status_message(found))
    read = statuses.container_status(message, "pod")
    exited = found.state is status.ContainerState.EXITED
    wanted = msgspec.structs.replace(
        found,
        exit_code=found.exit_code if exited else None,
        image_ref=found.image_id,
        # The name that people know, in place of the id that it was found to be.
        image=msgspec.structs.replace(found.image, image=found.image.user_specified),
    )
    assert read == wanted


CPU = st.none() | st.builds(
    status.CpuStats, timestamp=NUMBER, usage_core_nanoseconds=NUMBER, usage_nano_cores=MAYBE
)
MEMORY = st.none() | st.builds(
    status.MemoryStats,
    timestamp=NUMBER,
    working_set=NUMBER,
    usage=NUMBER,
    available=MAYBE,
    rss=MAYBE,
    page_faults=MAYBE,
    major_page_faults=MAYBE,
)
COUNTED = st.builds(
    status.InterfaceStats,
    name=TEXT,
    rx_bytes=NUMBER,
    rx_errors=NUMBER,
    tx_bytes=NUMBER,
    tx_errors=NUMBER,
)
LAYER = st.none() | st.builds(
    status.FilesystemStats, timestamp=NUMBER, mountpoint=TEXT, used_bytes=NUMBER, inodes_used=NUMBER
)
SWAP = st.none() | st.builds(status.SwapStats, timestamp=NUMBER, usage=NUMBER, available=MAYBE)
CONTAINER_STATS = st.builds(
    status.ContainerStats,
    id=TEXT,
    sandbox_id=st.just("pod"),
    name=TEXT,
    attempt=NUMBER,
    labels=MAP,
    annotations=MAP,
    cpu=CPU,
    memory=MEMORY,
    swap=SWAP,
    writable_layer=LAYER,
)


@EASY
@given(
    st.builds(
        status.SandboxStats,
        id=st.just("pod"),
        name=TEXT,
        uid=TEXT,
        namespace=TEXT,
        attempt=NUMBER,
        labels=MAP,
        annotations=MAP,
        cpu=CPU,
        memory=MEMORY,
        interfaces=st.lists(COUNTED, max_size=3).map(tuple),
        process_count=MAYBE,
        containers=st.lists(CONTAINER_STATS, max_size=2).map(tuple),
    )
)
def test_statistics_are_read_as_the_daemon_has_them(found: status.SandboxStats) -> None:
    read = statistics.sandbox_stats(by_wire(translate_stats.sandbox_message(found)))
    # The CRI has a time for each part, and none for the whole.
    containers = tuple(msgspec.structs.replace(one, timestamp=0) for one in read.containers)
    assert msgspec.structs.replace(read, timestamp=0, containers=containers) == found


@pytest.mark.parametrize(
    ("info", "wanted"),
    [
        ({"tty": True, "stdin": False}, (True, False)),
        ({"config": {"tty": False, "stdin": True}}, (False, True)),
        ({"runtimeSpec": {"process": {"terminal": True}}}, (True, True)),
        ({"runtimeSpec": None}, (False, True)),
        ({}, (False, True)),
    ],
)
def test_terminals_are_told_by_verbose_statuses(
    info: dict[str, object], wanted: tuple[bool, bool]
) -> None:
    assert statuses.tty_and_stdin(info) == wanted

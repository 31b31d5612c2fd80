"""What the translations of sandboxes and containers share, both ways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from trilby.cri.errors import InvalidRequest
from trilby.cri.proto import common_pb2 as pb
from trilby.pods import model_common as model
from trilby.pods.model_container import ImageSpec

MODES: Final[Mapping[int, model.NamespaceMode]] = {
    pb.POD: model.NamespaceMode.POD,
    pb.CONTAINER: model.NamespaceMode.CONTAINER,
    pb.NODE: model.NamespaceMode.NODE,
    pb.TARGET: model.NamespaceMode.TARGET,
}
MODES_OUT: Final = {
    model.NamespaceMode.POD: pb.POD,
    model.NamespaceMode.CONTAINER: pb.CONTAINER,
    model.NamespaceMode.NODE: pb.NODE,
    model.NamespaceMode.TARGET: pb.TARGET,
}
PROFILES: Final[Mapping[int, model.ProfileType]] = {
    pb.SecurityProfile.RuntimeDefault: model.ProfileType.RUNTIME_DEFAULT,
    pb.SecurityProfile.Unconfined: model.ProfileType.UNCONFINED,
    pb.SecurityProfile.Localhost: model.ProfileType.LOCALHOST,
}
GROUPS: Final[Mapping[int, model.SupplementalGroupsPolicy]] = {
    pb.Merge: model.SupplementalGroupsPolicy.MERGE,
    pb.Strict: model.SupplementalGroupsPolicy.STRICT,
}
#: What ``RuntimeDefault`` and the rest are called in the fields from before SecurityProfile.
OLD_PROFILES: Final = {
    "": None,
    "unconfined": model.SecurityProfile(type=model.ProfileType.UNCONFINED),
    "runtime/default": model.SecurityProfile(),
    "docker/default": model.SecurityProfile(),
}


def optional_int(message: pb.Int64Value, *, given: bool) -> int | None:
    """The value of a wrapper message, None where it is absent."""
    return message.value if given else None


def namespace_options(options: pb.NamespaceOption) -> model.NamespaceOptions:
    """Raises InvalidRequest for a mode that the API does not know."""
    return model.NamespaceOptions(
        network=_mode(options.network, "network"),
        pid=_mode(options.pid, "pid"),
        ipc=_mode(options.ipc, "ipc"),
        target_id=options.target_id,
        userns=user_namespace(options.userns_options)
        if options.HasField("userns_options")
        else None,
    )


def user_namespace(options: pb.UserNamespace) -> model.UserNamespace:
    """The mappings are checked by the engine."""
    return model.UserNamespace(
        mode=_mode(options.mode, "user"),
        uids=id_mappings(options.uids),
        gids=id_mappings(options.gids),
    )


def id_mappings(mappings: Iterable[pb.IDMapping]) -> tuple[model.IdMapping, ...]:
    return tuple(
        model.IdMapping(container_id=one.container_id, host_id=one.host_id, length=one.length)
        for one in mappings
    )


def _mode(number: pb.NamespaceMode, name: str) -> model.NamespaceMode:
    try:
        return MODES[number]
    except KeyError:
        raise InvalidRequest(f"namespace_options.{name}: {number} is no namespace mode") from None


def namespace_options_message(options: model.NamespaceOptions) -> pb.NamespaceOption:
    """What a status answers."""
    message = pb.NamespaceOption(
        network=MODES_OUT[options.network],
        pid=MODES_OUT[options.pid],
        ipc=MODES_OUT[options.ipc],
        target_id=options.target_id,
    )
    if options.userns is not None:
        message.userns_options.CopyFrom(
            pb.UserNamespace(
                mode=MODES_OUT[options.userns.mode],
                uids=id_mapping_messages(options.userns.uids),
                gids=id_mapping_messages(options.userns.gids),
            )
        )
    return message


def id_mapping_messages(mappings: Iterable[model.IdMapping]) -> list[pb.IDMapping]:
    return [
        pb.IDMapping(host_id=one.host_id, container_id=one.container_id, length=one.length)
        for one in mappings
    ]


def selinux(options: pb.SELinuxOption, *, given: bool) -> model.SELinuxOptions | None:
    if not given:
        return None
    return model.SELinuxOptions(
        user=options.user, role=options.role, type=options.type, level=options.level
    )


def profile(message: pb.SecurityProfile, *, given: bool, old: str) -> model.SecurityProfile | None:
    """A profile; ``old`` is the deprecated text field, which counts without the new one."""
    if given:
        kind = PROFILES.get(message.profile_type)
        if kind is None:
            raise InvalidRequest(f"profile_type {message.profile_type} is not known")
        return model.SecurityProfile(type=kind, localhost_ref=message.localhost_ref)
    if old.startswith("localhost/"):
        return model.SecurityProfile(
            type=model.ProfileType.LOCALHOST, localhost_ref=old.removeprefix("localhost/")
        )
    if old not in OLD_PROFILES:
        raise InvalidRequest(
            f"profile {old!r} is neither runtime/default, unconfined nor localhost/..."
        )
    return OLD_PROFILES[old]


def groups_policy(number: pb.SupplementalGroupsPolicy) -> model.SupplementalGroupsPolicy:
    try:
        return GROUPS[number]
    except KeyError:
        raise InvalidRequest(f"supplemental_groups_policy {number} is not known") from None


def resources(message: pb.LinuxContainerResources) -> model.Resources:
    """Limits; 0 is "not given" here as there, but an absent message has no OOM score at all."""
    return model.Resources(
        cpu_period=message.cpu_period,
        cpu_quota=message.cpu_quota,
        cpu_shares=message.cpu_shares,
        cpuset_cpus=message.cpuset_cpus,
        cpuset_mems=message.cpuset_mems,
        memory_limit=message.memory_limit_in_bytes,
        memory_swap_limit=message.memory_swap_limit_in_bytes,
        oom_score_adj=message.oom_score_adj,
        hugepage_limits=tuple(
            model.HugepageLimit(page_size=one.page_size, limit=one.limit)
            for one in message.hugepage_limits
        ),
        unified=dict(message.unified),
    )


def resources_message(limits: model.Resources) -> pb.LinuxContainerResources:
    """What a status answers."""
    return pb.LinuxContainerResources(
        cpu_period=limits.cpu_period,
        cpu_quota=limits.cpu_quota,
        cpu_shares=limits.cpu_shares,
        cpuset_cpus=limits.cpuset_cpus,
        cpuset_mems=limits.cpuset_mems,
        memory_limit_in_bytes=limits.memory_limit,
        memory_swap_limit_in_bytes=limits.memory_swap_limit,
        oom_score_adj=limits.oom_score_adj or 0,
        hugepage_limits=[
            pb.HugepageLimit(page_size=one.page_size, limit=one.limit)
            for one in limits.hugepage_limits
        ],
        unified=limits.unified,
    )


def image_spec(message: pb.ImageSpec) -> ImageSpec:
    """``image_ref`` is the id that was found for it; the engine uses it in place of the name."""
    return ImageSpec(
        image=message.image,
        ref=message.image_ref,
        user_specified=message.user_specified_image,
        runtime_handler=message.runtime_handler,
        annotations=dict(message.annotations),
    )


def image_spec_message(spec: ImageSpec) -> pb.ImageSpec:
    return pb.ImageSpec(
        image=spec.image,
        image_ref=spec.ref,
        user_specified_image=spec.user_specified,
        runtime_handler=spec.runtime_handler,
        annotations=spec.annotations,
    )


def labels(given: Mapping[str, str], what: str) -> dict[str, str]:
    """Labels, each at most 4096 bytes of key and value. Raises InvalidRequest."""
    for key, value in given.items():
        if len(key) + len(value) > 4096:
            raise InvalidRequest(f"{what}: label {key[:40]!r}... has more than 4096 characters")
    return dict(given)

"""Namespaces of a container, and which sysctls belong to which namespace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trilby.oci.runtime import IdMapping, Namespace
from trilby.pods import model_common
from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_common import NamespaceMode, NamespaceOptions, UserNamespace

_IPC_SYSCTLS = frozenset(
    "kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax"
    " kernel.shmmni kernel.shm_rmid_forced".split()
)


def build_namespaces(
    options: NamespaceOptions,
    paths: Mapping[str, str],
    *,
    cgroup_v2: bool,
    privileged: bool,
) -> tuple[Namespace, ...]:
    """The namespaces: new ones without a path, pinned ones with it; none means the host's.

    ``paths`` maps network, ipc, uts, user and pid to pin files (empty or missing: the host's).
    """
    found = [Namespace("mount")]
    for kind in ("network", "ipc", "uts"):
        if paths.get(kind):
            found.append(Namespace(kind, paths[kind]))
    if options.pid is NamespaceMode.CONTAINER:
        found.append(Namespace("pid"))
    elif options.pid is not NamespaceMode.NODE:
        if not paths.get("pid"):
            raise InvalidPodConfig(f"pid namespace {options.pid.value}: there is none to join")
        found.append(Namespace("pid", paths["pid"]))
    if has_user_namespace(options):
        found.append(Namespace("user", paths.get("user", "")))
    if cgroup_v2 and not privileged:
        found.append(Namespace("cgroup"))
    return tuple(found)


def has_user_namespace(options: NamespaceOptions) -> bool:
    return options.userns is not None and options.userns.mode is NamespaceMode.POD


def user_mappings(
    userns: UserNamespace | None,
) -> tuple[tuple[IdMapping, ...], tuple[IdMapping, ...]]:
    """The uid and gid mappings; one of each with mode POD, as the CRI demands."""
    if userns is None or userns.mode is NamespaceMode.NODE:
        if userns and (userns.uids or userns.gids):
            raise InvalidPodConfig("user namespace mode NODE takes no mappings")
        return (), ()
    if userns.mode is not NamespaceMode.POD:
        raise InvalidPodConfig(f"user namespace mode {userns.mode.value} is not supported")
    for what, mappings in (("uid", userns.uids), ("gid", userns.gids)):
        if len(mappings) != 1:
            raise InvalidPodConfig(
                f"a user namespace needs exactly one {what} mapping, not {len(mappings)}"
            )
        if mappings[0].container_id != 0 or mappings[0].length < 1:
            raise InvalidPodConfig(f"the {what} mapping of a user namespace has to map id 0")
    return convert_mappings(userns.uids), convert_mappings(userns.gids)


def convert_mappings(mappings: Iterable[model_common.IdMapping]) -> tuple[IdMapping, ...]:
    return tuple(
        IdMapping(container_id=item.container_id, host_id=item.host_id, size=item.length)
        for item in mappings
    )


def build_sysctls(
    defaults: Mapping[str, str], wanted: Mapping[str, str], options: NamespaceOptions
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The sysctls to set in the pod's namespaces, names with dots; for the sandbox.

    Defaults whose namespace is the host's are passed over; those of the pod are left out with a
    warning. Raises ``InvalidPodConfig`` for a sysctl of the pod that is in no namespace.
    """
    warnings = []
    chosen = {}
    for source, given in ((defaults, False), (wanted, True)):
        for raw, value in source.items():
            name = raw.replace("/", ".") if "." not in raw.partition("/")[0] else raw
            namespace = sysctl_namespace(name)
            if not namespace:
                raise InvalidPodConfig(
                    f"sysctl {raw} belongs to no namespace", hint="set it on the host"
                )
            mode = options.network if namespace == "network" else options.ipc
            if namespace == "uts":
                mode = options.network
            if mode is NamespaceMode.NODE:
                if given:
                    warnings.append(f"sysctl {raw} left out: the pod has the host's {namespace}")
                continue
            chosen[name] = value
    if has_user_namespace(options):
        _fit_ping_range(chosen, options)
    return chosen, tuple(warnings)


def sysctl_namespace(name: str) -> str:
    """``network``, ``ipc``, ``uts``, or empty for the whole host's."""
    if name.startswith("net."):
        return "network"
    if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
        return "ipc"
    return "uts" if name == "kernel.domainname" else ""


def _fit_ping_range(chosen: dict[str, str], options: NamespaceOptions) -> None:
    """The usual full range holds ids that a user namespace does not map, which is EINVAL."""
    name = "net.ipv4.ping_group_range"
    words = chosen.get(name, "").split()
    if len(words) == 2 and words[0] == "0" and options.userns:
        most = options.userns.gids[0].length - 1
        chosen[name] = f"0 {min(int(words[1]), most)}"

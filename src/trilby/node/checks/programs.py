"""Checks of the programs that pods are run with: there, running, new enough, able."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from trilby.node.model import Check, Seen, failed, passed, skipped, warned, worst
from trilby.pods.config import default_runtimes

if TYPE_CHECKING:
    from trilby.node.node import Node
    from trilby.pods.config import RuntimeHandler

__all__ = ["CHECKS", "version_in"]

GROUP: Final = "programs"
#: Program -> the oldest version that is known to do, and the one from which on all works.
FLOORS: Final = {
    "crun": ((1, 8), (1, 14)),
    "runc": ((1, 1), (1, 2)),
    "conmon": ((2, 0, 30), (2, 1, 0)),
}
_VERSION: Final = re.compile(r"(\d+(?:\.\d+)+)")


class _Features(msgspec.Struct, frozen=True, rename="camel"):
    mount_options: tuple[str, ...] = ()
    linux: dict[str, msgspec.Raw] = {}


class _Enabled(msgspec.Struct, frozen=True):
    enabled: bool = False


class _Cgroup(msgspec.Struct, frozen=True):
    v1: bool = False
    v2: bool = False
    systemd: bool = False


def version_in(text: str) -> tuple[int, ...]:
    """The first version that stands in a text; empty if there is none."""
    found = _VERSION.search(text)
    return tuple(map(int, found[1].split("."))) if found else ()


def _not_here(node: Node) -> Seen | None:
    """Programs of a host that does not run are not started."""
    return (
        None if node.host.live else skipped("programs of a host that does not run are not started")
    )


def _program(node: Node, program: str, install: str) -> Seen:
    path = node.host.which(program)
    if not path:
        return failed(f"{program} is not installed", mend=f"dnf install {install}")
    if skip := _not_here(node):
        return skip
    said = node.host.run(path, "--version")
    if said.problem:
        return failed(f"{path} --version: {said.problem}", mend=f"dnf reinstall {install}")
    return _new_enough(path, said.line, install)


def _new_enough(path: str, line: str, install: str) -> Seen:
    floors = FLOORS.get(path.rpartition("/")[2])
    version = version_in(line)
    if floors is None or not version:
        return passed(f"{path}: {line}")
    least, good = floors
    shown = ".".join(map(str, good))
    if version < least:
        return failed(f"{path}: {line}; {shown} is wanted", mend=f"dnf upgrade {install}")
    if version < good:
        return warned(f"{path}: {line}; {shown} is wanted", mend=f"dnf upgrade {install}")
    return passed(f"{path}: {line}")


def _program_of(handler: RuntimeHandler) -> str:
    return handler.path or handler.name


def _default(node: Node) -> Seen:
    engine = node.engine
    handler = node.handler
    if handler is None:
        named = engine.default_runtime
        if named:
            place = node.settings.place("trilby.runtime.default_runtime")
            return failed(f"{place}: default_runtime is {named}, and there is no such handler")
        return failed("neither crun nor runc is installed")
    return _program(node, _program_of(handler), handler.name)


def _others(node: Node) -> Seen:
    """Those that somebody configured have to be there; of the usual ones one is enough."""
    seen = []
    for name, handler in sorted(node.engine.runtimes.items()):
        if handler == node.handler:
            continue
        usual = handler == default_runtimes().get(name)
        if usual and not node.host.which(_program_of(handler)):
            continue
        one = _program(node, _program_of(handler), name)
        if not usual and one.evidence:
            place = node.settings.place(f"trilby.runtime.runtimes.{name}.runtime_path")
            one = msgspec.structs.replace(one, evidence=(*one.evidence, f"{place}: handler {name}"))
        seen.append(one)
    return worst(seen, skipped("there are no others"))


def _features(node: Node) -> Seen:
    handler = node.handler
    path = node.host.which(_program_of(handler)) if handler else ""
    if not path:
        return skipped("there is no default runtime")
    if skip := _not_here(node):
        return skip
    said = node.host.run(path, "features")
    try:
        found = msgspec.json.decode(said.text.encode(), type=_Features)
        lacks = list(_lacks(node, found))
    except msgspec.DecodeError:
        return warned(f"{path} features: {said.problem or 'nothing that can be understood'}")
    if lacks:
        return warned(f"{path} features: without {', '.join(lacks)}")
    return passed(f"{path} features: seccomp, cgroups, recursive read-only and idmapped mounts")


def _lacks(node: Node, found: _Features) -> list[str]:
    linux = found.linux
    lacks = [
        what
        for key, what in (("seccomp", "seccomp"), ("selinux", "SELinux"))
        if not msgspec.json.decode(linux.get(key, b"{}"), type=_Enabled).enabled
        and (key == "seccomp" or node.host.exists("/sys/fs/selinux/enforce"))
    ]
    cgroup = msgspec.json.decode(linux.get("cgroup", b"{}"), type=_Cgroup)
    unified = node.hierarchies is None or node.hierarchies.unified
    if not (cgroup.v2 if unified else cgroup.v1):
        lacks.append(f"cgroups of version {2 if unified else 1}")
    if node.engine.cgroup_manager == "systemd" and not cgroup.systemd:
        lacks.append("cgroups by systemd")
    lacks += [what for key, what in (("rro", "recursive read-only mounts"),
                                     ("idmap", "idmapped mounts"))
              if key not in found.mount_options]  # fmt: skip
    return lacks


def _conmon(node: Node) -> Seen:
    return _program(node, node.engine.conmon, "conmon")


def _infra(node: Node) -> Seen:
    seen = _program(node, node.engine.infra_command, "catatonit")
    if seen.verdict == "fail":
        return warned(*seen.evidence, mend=seen.mend)
    return seen


def _tools(node: Node) -> Seen:
    """What is called for some pods or networks only."""
    missing = [name for name in ("unshare", "mount", "modprobe") if not node.host.which(name)]
    if missing:
        return warned(
            f"{', '.join(missing)} not installed", mend="dnf install util-linux-core kmod"
        )
    return passed("unshare, mount and modprobe are installed")


def _seccomp(node: Node) -> Seen:
    from trilby.errors import TrilbyError
    from trilby.pods.spec.seccomp import DEFAULT_PROFILES, build_seccomp

    named = node.engine.seccomp_profile
    path = named or next((each for each in DEFAULT_PROFILES if node.host.exists(each)), "")
    install = "dnf install containers-common"
    if not path:
        return failed(f"there is none of {', '.join(DEFAULT_PROFILES)}", mend=install)
    text = node.host.read(path)
    if text is None:
        place = node.settings.place("trilby.runtime.seccomp_profile")
        return failed(f"{place}: {path} is not there", mend=install)
    try:
        build_seccomp(text.encode(), path, arch="amd64", capabilities=(), kernel=node.kernel)
    except TrilbyError as error:
        return failed(error.message, mend=f"{install}, or name another profile")
    return passed(f"{path} is a profile")


CHECKS: Final = (
    Check(
        id="runtime-default", group=GROUP, title="Default OCI runtime", look=_default, slow=True,
        why="pods that name no runtime class are refused without it", mend="dnf install crun",
    ),
    Check(
        id="runtime-others", group=GROUP, title="Other OCI runtimes", look=_others, slow=True,
        why="pods whose runtime class names it are refused",
    ),
    Check(
        id="runtime-features", group=GROUP, title="Features of the OCI runtime", look=_features,
        slow=True, why="what the runtime cannot do, no pod gets", mend="dnf upgrade crun runc",
    ),
    Check(
        id="conmon", group=GROUP, title="conmon", look=_conmon, slow=True,
        why="it holds the logs and the exit code of every container; without it none starts",
    ),
    Check(
        id="infra-process", group=GROUP, title="Infra process", look=_infra, slow=True,
        why="pods with shareProcessNamespace are refused without it",
    ),
    Check(
        id="tools", group=GROUP, title="Tools", look=_tools,
        why="pods with user namespaces and some volumes need them",
    ),
    Check(
        id="seccomp-profile", group=GROUP, title="Seccomp profile", look=_seccomp,
        why="containers with the profile RuntimeDefault are refused without it",
    ),
)  # fmt: skip

"""Seccomp profiles: Docker's and containers-common's format made into the OCI runtime's.

The input format is that of /usr/share/containers/seccomp.json: rules may be for some
architectures, capabilities or kernels only. Plain OCI profiles are the same without those.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Collection

import msgspec

from trilby.oci.runtime import Seccomp, SeccompArg, SeccompSyscall
from trilby.pods.errors import InvalidPodConfig

DEFAULT_PROFILES = ("/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json")
ACTIONS = frozenset(
    f"SCMP_ACT_{name}"
    for name in "KILL KILL_PROCESS KILL_THREAD TRAP ERRNO TRACE ALLOW LOG NOTIFY".split()
)
OPERATORS = frozenset(f"SCMP_CMP_{name}" for name in "NE LT LE EQ GE GT MASKED_EQ".split())
NATIVE = {
    "amd64": "SCMP_ARCH_X86_64",
    "arm64": "SCMP_ARCH_AARCH64",
    "x86": "SCMP_ARCH_X86",
    "arm": "SCMP_ARCH_ARM",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "s390x": "SCMP_ARCH_S390X",
    "riscv64": "SCMP_ARCH_RISCV64",
    "loong64": "SCMP_ARCH_LOONGARCH64",
}


class Filter(msgspec.Struct, frozen=True, rename="camel"):
    """When a rule counts; an empty part says nothing."""

    arches: tuple[str, ...] | None = None
    caps: tuple[str, ...] | None = None
    min_kernel: str = ""


class Argument(msgspec.Struct, frozen=True, rename="camel"):
    index: int
    value: int
    op: str
    value_two: int = 0


class Rule(msgspec.Struct, frozen=True, rename="camel"):
    action: str
    names: tuple[str, ...] | None = None
    name: str = ""
    args: tuple[Argument, ...] | None = None
    errno_ret: int | None = None
    errno: str = ""
    includes: Filter | None = None
    excludes: Filter | None = None


class ArchMap(msgspec.Struct, frozen=True, rename="camel"):
    architecture: str
    sub_architectures: tuple[str, ...] | None = None


class Profile(msgspec.Struct, frozen=True, rename="camel"):
    """A profile file."""

    default_action: str
    default_errno_ret: int | None = None
    default_errno: str = ""
    arch_map: tuple[ArchMap, ...] | None = None
    architectures: tuple[str, ...] | None = None
    flags: tuple[str, ...] | None = None
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[Rule, ...] | None = None


def build_seccomp(
    raw: bytes, name: str, *, arch: str, capabilities: Collection[str], kernel: tuple[int, int]
) -> Seccomp:
    """The OCI profile for a container with these capabilities (its bounding set).

    ``name`` is the profile's file, for errors: ``InvalidPodConfig``.
    """
    return _build(raw, name, arch, frozenset(capabilities), kernel)


@functools.lru_cache(maxsize=64)
def _build(
    raw: bytes, name: str, arch: str, capabilities: frozenset[str], kernel: tuple[int, int]
) -> Seccomp:
    # Pods of a node ask for the same few profiles again and again.
    profile = _parse(raw, name)
    try:
        rules = tuple(
            _rule(rule)
            for rule in profile.syscalls or ()
            if _counts(rule, arch, capabilities, kernel)
        )
        return Seccomp(
            default_action=_one_of(profile.default_action, ACTIONS),
            default_errno_ret=_errno(profile.default_errno, profile.default_errno_ret),
            architectures=_architectures(profile, arch),
            flags=profile.flags or (),
            listener_path=profile.listener_path,
            listener_metadata=profile.listener_metadata,
            syscalls=rules,
        )
    except ValueError as error:
        raise InvalidPodConfig(f"seccomp profile {name}: {error}") from None


@functools.lru_cache(maxsize=16)
def _parse(raw: bytes, name: str) -> Profile:
    try:
        return msgspec.json.decode(raw, type=Profile)
    except msgspec.DecodeError as error:
        raise InvalidPodConfig(f"seccomp profile {name}: {error}") from None


def _counts(rule: Rule, arch: str, capabilities: frozenset[str], kernel: tuple[int, int]) -> bool:
    needs, never = rule.includes or Filter(), rule.excludes or Filter()
    if needs.arches and arch not in needs.arches:
        return False
    if needs.caps and not capabilities.issuperset(needs.caps):
        return False
    if needs.min_kernel and kernel < _version(needs.min_kernel):
        return False
    if never.arches and arch in never.arches:
        return False
    if never.caps and not capabilities.isdisjoint(never.caps):
        return False
    return not (never.min_kernel and kernel >= _version(never.min_kernel))


def _rule(rule: Rule) -> SeccompSyscall:
    names = rule.names or ((rule.name,) if rule.name else ())
    if not names:
        raise ValueError("a rule has no syscall names")
    return SeccompSyscall(
        names=names,
        action=_one_of(rule.action, ACTIONS),
        errno_ret=_errno(rule.errno, rule.errno_ret),
        args=tuple(
            SeccompArg(item.index, item.value, _one_of(item.op, OPERATORS), item.value_two)
            for item in rule.args or ()
        ),
    )


def _architectures(profile: Profile, arch: str) -> tuple[str, ...]:
    """The profile's own list, or the map's line for this host with its 32 bit companions."""
    if profile.architectures:
        return profile.architectures
    native = NATIVE.get(arch, "")
    for line in profile.arch_map or ():
        if line.architecture == native:
            return (native, *(line.sub_architectures or ()))
    return (native,) if native else ()


def _errno(name: str, number: int | None) -> int | None:
    if not name:
        return number
    value = getattr(errno, name, None)
    if not isinstance(value, int):
        raise ValueError(f"unknown errno {name!r}")
    return value


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise ValueError(f"minKernel {text!r} is not a version like 4.8")
    return int(major), int(minor)


def _one_of(value: str, allowed: frozenset[str]) -> str:
    if value not in allowed:
        raise ValueError(f"{value!r} is not one of {', '.join(sorted(allowed))}")
    return value

"""Seccomp profiles in Docker's format."""

from __future__ import annotations

import errno
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.oci.runtime import Seccomp
from trilby.pods.errors import InvalidPodConfig
from trilby.pods.spec.seccomp import DEFAULT_PROFILES, build_seccomp

PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrno": "ENOSYS",
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": None},
    ],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": None},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {
            "names": ["umount"],
            "action": "SCMP_ACT_ERRNO",
            "errno": "EPERM",
            "excludes": {"caps": ["CAP_SYS_ADMIN"]},
        },
        {"name": "arch_prctl", "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {
            "names": ["clone"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 5, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
        },
    ],
}


def build(profile: object, arch: str = "amd64", kernel: tuple[int, int] = (6, 1)) -> Seccomp:
    return build_seccomp(
        json.dumps(profile).encode(), "p.json", arch=arch, capabilities=(), kernel=kernel
    )


def names(built: Seccomp) -> list[str]:
    return [name for call in built.syscalls for name in call.names]


def test_filters_by_capability_architecture_and_kernel() -> None:
    built = build(PROFILE)
    assert names(built) == ["read", "umount", "arch_prctl", "ptrace", "clone"]
    assert built.default_errno_ret == errno.ENOSYS
    assert built.syscalls[1].errno_ret == errno.EPERM
    assert built.architectures == ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86")
    assert built.syscalls[-1].args[0].op == "SCMP_CMP_MASKED_EQ"
    assert names(build(PROFILE, "arm64", (4, 4))) == ["read", "umount", "clone"]
    assert build(PROFILE, "arm64").architectures == ("SCMP_ARCH_AARCH64",)
    raw = json.dumps(PROFILE).encode()
    with_admin = build_seccomp(
        raw, "p", arch="amd64", capabilities=["CAP_SYS_ADMIN"], kernel=(6, 1)
    )
    assert "mount" in names(with_admin) and "umount" not in names(with_admin)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"defaultAction": "ALLOW"}, "SCMP_ACT"),
        ({"defaultErrno": "ENOTHING"}, "ENOTHING"),
        ({"syscalls": [{"action": "SCMP_ACT_ALLOW"}]}, "names"),
        ({"syscalls": [{"names": ["a"], "action": "x"}]}, "'x'"),
        ({"syscalls": "no"}, "syscalls"),
    ],
)
def test_mistakes_are_named(change: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidPodConfig, match=said) as caught:
        build({**PROFILE, **change})
    assert "p.json" in str(caught.value)


@given(
    st.binary(max_size=60)
    | st.dictionaries(st.sampled_from(sorted(PROFILE)), st.text()).map(
        lambda change: json.dumps({**PROFILE, **change}).encode()
    )
)
def test_any_bytes_are_a_profile_or_refused(raw: bytes) -> None:
    try:
        build_seccomp(raw, "p.json", arch="amd64", capabilities=(), kernel=(6, 1))
    except InvalidPodConfig as error:
        assert "p.json" in error.message


def test_the_installed_profile() -> None:
    found = [path for path in DEFAULT_PROFILES if os.path.exists(path)]
    if not found:
        pytest.skip("containers-common is not installed")
    with open(found[0], "rb") as file:
        raw = file.read()
    built = build_seccomp(raw, found[0], arch="amd64", capabilities=(), kernel=(6, 1))
    allowed = {
        name for call in built.syscalls if call.action == "SCMP_ACT_ALLOW" for name in call.names
    }
    assert {"read", "openat", "execve"} <= allowed
    assert "SCMP_ARCH_X86_64" in built.architectures

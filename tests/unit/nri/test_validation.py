"""What the administrator lets plugins do, and the plugins that have to be there."""

from __future__ import annotations

import pytest

from trilby.cri.config import DaemonConfig
from trilby.cri.nri.errors import HookFailed
from trilby.cri.nri.owners import Field, Owners
from trilby.cri.nri.settings import Rules, settings_of
from trilby.cri.nri.validation import REQUIRED, check
from trilby.oci.runtime import Spec
from trilby.pods.hooks import HookedContainer, HookedSandbox
from trilby.pods.model_common import ProfileType, SecurityProfile
from trilby.pods.model_container import ContainerConfig, ContainerSecurity, ImageSpec
from trilby.pods.model_sandbox import SandboxConfig
from trilby.pods.state import ContainerRecord, SandboxLive, SandboxRecord


def pod(**annotations: str) -> HookedSandbox:
    record = SandboxRecord(
        id="s",
        full_name="s",
        config=SandboxConfig(name="p", uid="u", annotations=annotations),
        created_at=0,
        handler="runc",
        hostname="p",
        cgroup="/p",
        own_cgroup=True,
        log_directory="/logs",
    )
    return HookedSandbox(record=record, live=SandboxLive(phase="ready"))


def container(seccomp: SecurityProfile | None = None) -> HookedContainer:
    config = ContainerConfig(
        name="main", image=ImageSpec(image="i"), security=ContainerSecurity(seccomp=seccomp)
    )
    record = ContainerRecord(
        id="c",
        sandbox_id="s",
        full_name="c",
        config=config,
        created_at=0,
        handler="runc",
        log_path="/logs/c",
        cgroup="/p/c",
    )
    return HookedContainer(record=record, spec=Spec("1.0.2"))


def changed(*fields: Field) -> Owners:
    owners = Owners()
    for field in fields:
        owners.append("c", field, "10-one")
    return owners


ALL = Rules(reject_hooks=True, reject_namespaces=True, reject_seccomp=tuple(ProfileType))


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        (Field.OCI_HOOKS, "OCI hooks.*not allowed here: 10-one"),
        (Field.NAMESPACE, "namespaces.*not allowed here: 10-one"),
        (Field.SECCOMP_POLICY, "may not replace.*Unconfined"),
    ],
)
def test_what_is_forbidden_is_refused_and_what_is_not_passes(field: Field, problem: str) -> None:
    with pytest.raises(HookFailed, match=problem):
        check(ALL, pod(), container(), changed(field), [])
    check(Rules(), pod(), container(), changed(field), [])
    check(ALL, pod(), container(), changed(Field.ENV, Field.MOUNTS), [])


def test_seccomp_profiles_are_told_apart() -> None:
    rules = Rules(reject_seccomp=(ProfileType.LOCALHOST,))
    owners = changed(Field.SECCOMP_POLICY)
    check(rules, pod(), container(), owners, [])
    check(rules, pod(), container(SecurityProfile()), owners, [])
    file = SecurityProfile(type=ProfileType.LOCALHOST, localhost_ref="/p.json")
    with pytest.raises(HookFailed, match="Localhost"):
        check(rules, pod(), container(file), owners, [])


def test_plugins_that_have_to_be_there() -> None:
    rules = Rules(required_plugins=("one",), tolerate_annotation="do-without")
    owners = Owners()
    check(rules, pod(), container(), owners, ["10-one"])
    with pytest.raises(HookFailed, match="are not: one"):
        check(rules, pod(), container(), owners, ["10-two"])
    for key in ("do-without", "do-without/pod", "do-without/container.main"):
        check(rules, pod(**{key: "true"}), container(), owners, [])
    for said in ({"do-without": "false"}, {"do-without/container.other": "true"}):
        with pytest.raises(HookFailed, match="are not: one"):
            check(rules, pod(**said), container(), owners, [])
    with pytest.raises(HookFailed, match="'maybe' is not true or false"):
        check(rules, pod(**{"do-without": "maybe"}), container(), owners, [])


def test_plugins_that_a_pod_needs() -> None:
    needs = pod(**{REQUIRED: "[two, 30-three]", f"{REQUIRED}/container.other": "[four]"})
    check(Rules(), needs, container(), Owners(), ["20-two", "30-three"])
    with pytest.raises(HookFailed, match="are not: 30-three"):
        check(Rules(), needs, container(), Owners(), ["20-two", "31-three"])
    for text in ("two", "[1]", "[", "{a: b}"):
        with pytest.raises(HookFailed, match=REQUIRED):
            check(Rules(), pod(**{REQUIRED: text}), container(), Owners(), ["20-two"])


def test_rules_are_those_of_the_configuration() -> None:
    assert settings_of(DaemonConfig()).rules is None
    config = DaemonConfig(
        nri_enable_default_validator=True,
        nri_validator_reject_oci_hook_adjustment=True,
        nri_validator_reject_custom_seccomp_adjustment=True,
        nri_validator_required_plugins=("one",),
        nri_disable_connections=True,
    )
    settings = settings_of(config)
    assert settings.listen == ""
    assert settings.rules == Rules(
        reject_hooks=True, reject_seccomp=(ProfileType.LOCALHOST,), required_plugins=("one",)
    )

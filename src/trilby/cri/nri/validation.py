"""What the node's administrator lets plugins do, and which plugins have to be there.

The same as NRI's default validator, with its annotations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from trilby.cri.nri.errors import HookFailed
from trilby.cri.nri.owners import Field, Owners
from trilby.cri.nri.settings import Rules
from trilby.pods.hooks import HookedContainer, HookedSandbox
from trilby.pods.model_common import ProfileType

__all__ = ["REQUIRED", "check"]

#: A pod's annotation: a YAML list of the plugins that it needs.
REQUIRED: Final = "required-plugins.noderesource.dev"


def check(
    rules: Rules,
    pod: HookedSandbox,
    container: HookedContainer,
    owners: Owners,
    plugins: Sequence[str],
) -> None:
    """``plugins`` are the names of those there are, as ``NN-NAME``. Raises HookFailed."""
    container_id, config = container.record.id, container.record.config
    for field, rejected, what in (
        (Field.OCI_HOOKS, rules.reject_hooks, "OCI hooks"),
        (Field.NAMESPACE, rules.reject_namespaces, "namespaces"),
    ):
        if rejected and (who := owners.of(container_id, field)):
            raise HookFailed(f"{what} of NRI plugins are not allowed here: {', '.join(who)}")
    if who := owners.of(container_id, Field.SECCOMP_POLICY):
        seccomp = config.security.seccomp
        kind = seccomp.type if seccomp is not None else ProfileType.UNCONFINED
        if kind in rules.reject_seccomp:
            raise HookFailed(
                f"NRI plugins may not replace a seccomp profile that is {kind} here:"
                f" {', '.join(who)}"
            )
    missing = sorted(_required(rules, pod.record.config.annotations, config.name) - _known(plugins))
    if missing:
        raise HookFailed(
            f"NRI plugins that have to be there are not: {', '.join(missing)}",
            hint="the container is made when they are",
        )


def _known(plugins: Sequence[str]) -> set[str]:
    """A plugin may be called with its index or without."""
    return {name for full in plugins for name in (full, full.partition("-")[2])}


def _required(rules: Rules, annotations: Mapping[str, str], container: str) -> set[str]:
    if rules.tolerate_annotation:
        said = _effective(annotations, rules.tolerate_annotation, container)
        if said.lower() in ("1", "t", "true"):
            return set()
        if said.lower() not in ("", "0", "f", "false"):
            raise HookFailed(
                f"annotation {rules.tolerate_annotation}: {said!r} is not true or false"
            )
    wanted = _effective(annotations, REQUIRED, container)
    return {*rules.required_plugins, *(_list(wanted) if wanted else ())}


def _effective(annotations: Mapping[str, str], key: str, container: str) -> str:
    """What is said for the container, or else for the pod."""
    for name in (f"{key}/container.{container}", f"{key}/pod", key):
        if name in annotations:
            return annotations[name]
    return ""


def _list(text: str) -> list[str]:
    import yaml

    try:
        names: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise HookFailed(f"annotation {REQUIRED}: {error}") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise HookFailed(f"annotation {REQUIRED}: {text!r} is not a list of names")
    return names

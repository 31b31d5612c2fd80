"""Whether daemon and kubelet are configured for each other; kubelet.config.k8s.io/v1beta1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from trilby.cri.config_finding import Finding, Severity, about, of_error, of_text
from trilby.cri.config_load import Loaded
from trilby.errors import TrilbyError

if TYPE_CHECKING:
    from trilby.image.config_document import Section

__all__ = ["KUBELET_CONFIG", "check_kubelet"]

#: Where kubeadm puts it.
KUBELET_CONFIG: Final = "/var/lib/kubelet/config.yaml"


def check_kubelet(loaded: Loaded, path: str = "") -> Iterator[Finding]:
    """Findings about the kubelet's file at ``path``, or at the usual place if it is there."""
    from trilby.image.config_yaml import load_yaml

    if not path and not os.path.exists(KUBELET_CONFIG):
        return
    try:
        section = load_yaml(path or KUBELET_CONFIG)
        yield from _compare(loaded, section)
    except OSError as error:
        yield of_text(f"{path or KUBELET_CONFIG}: cannot be read: {error.strerror}")
    except TrilbyError as error:
        yield of_error(error)


def _compare(loaded: Loaded, kubelet: Section) -> Iterator[Finding]:
    engine = loaded.config.engine
    if (kind := kubelet.string("kind", "KubeletConfiguration")) != "KubeletConfiguration":
        yield of_text(f"{kubelet.where('kind')} it is a {kind}, not a KubeletConfiguration")
        return
    driver = kubelet.string("cgroupDriver") or "cgroupfs"
    if driver != engine.cgroup_manager:
        yield about(
            loaded,
            "trilby.runtime.cgroup_manager",
            f"is {engine.cgroup_manager}, and the kubelet's cgroupDriver is {driver}"
            f" ({_place(kubelet, 'cgroupDriver')})",
            why="unless the kubelet asks the runtime for its driver, its cgroup parents do not fit"
            " and pods are refused",
            hint=f'set cgroup_manager = "{driver}", or cgroupDriver: {engine.cgroup_manager}',
        )
    endpoint = kubelet.string("containerRuntimeEndpoint")
    wanted = f"unix://{loaded.config.listen}"
    if endpoint and endpoint.removeprefix("unix://") != loaded.config.listen:
        yield of_text(
            f"{kubelet.where('containerRuntimeEndpoint')} containerRuntimeEndpoint is {endpoint},"
            f" and the daemon listens on {loaded.config.listen}",
            hint=f"set containerRuntimeEndpoint: {wanted}",
        )
    if engine.log_size_max > 0:
        yield about(
            loaded,
            "trilby.runtime.log_size_max",
            f"is {engine.log_size_max}, and the kubelet rotates logs at"
            f" {kubelet.string('containerLogMaxSize') or '10Mi'}"
            f" ({_place(kubelet, 'containerLogMaxSize')})",
            why="conmon begins a log anew without keeping the old one, before the kubelet rotates",
            hint="leave it to the kubelet: take log_size_max out",
            severity=Severity.WARNING,
        )


def _place(kubelet: Section, name: str) -> str:
    return kubelet.where(name).rstrip(":") if name in kubelet else f"{kubelet.path}: the default"

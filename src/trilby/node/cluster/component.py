"""What runs of the control plane on a host: static pods by their manifests, or plain processes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from trilby.errors import TrilbyError
from trilby.image.config_yaml import load_yaml
from trilby.node.processes import find

if TYPE_CHECKING:
    from trilby.image.config_document import Section
    from trilby.node.node import Node

__all__ = ["API_SERVER", "CONTROLLERS", "ETCD", "MANIFESTS", "SCHEDULER", "Component", "component"]

API_SERVER: Final = "kube-apiserver"
CONTROLLERS: Final = "kube-controller-manager"
SCHEDULER: Final = "kube-scheduler"
ETCD: Final = "etcd"
#: Where kubeadm puts them, if the kubelet's configuration does not say otherwise.
MANIFESTS: Final = "/etc/kubernetes/manifests"


class Component(msgspec.Struct, frozen=True):
    """``flags`` are without dashes; ``image`` is "" for a plain process."""

    name: str
    place: str
    flags: dict[str, str]
    image: str = ""

    def told(self, flag: str) -> str:
        """Evidence: a flag with its value, and where it was found."""
        return f"{self.place}: --{flag}={self.flags.get(flag, '')}"


def component(node: Node, name: str) -> Component | None:
    """None if the host does not run it. Raises ConfigError, OSError."""
    folder = _manifests(node)
    path = f"{folder}/{name}.yaml"
    if node.host.exists(path):
        return _of_manifest(name, load_yaml(node.host.path(path)))
    running = find(node.host, name)
    if not running:
        return None
    return Component(name, f"process {running[0].pid}", flags_in(running[0].argv))


def _manifests(node: Node) -> str:
    try:
        said = node.kubelet.string("staticPodPath") if node.kubelet else ""
    except TrilbyError:
        said = ""
    return said or MANIFESTS


def _of_manifest(name: str, pod: Section) -> Component:
    spec = pod.section("spec")
    containers = spec.sections("containers") if spec else []
    if not containers:
        raise pod.error("it has no containers", "spec")
    main = next((each for each in containers if each.string("name") == name), containers[0])
    words = (*(main.strings("command") or ()), *(main.strings("args") or ()))
    place = main.where("command").rstrip(":")
    return Component(name, place, flags_in(words), main.string("image"))


def flags_in(words: Iterable[str]) -> dict[str, str]:
    """``--name=value`` and ``--name``; other words are left out."""
    found = {}
    for word in words:
        if word.startswith("-"):
            flag, _, value = word.lstrip("-").partition("=")
            found[flag] = value
    return found

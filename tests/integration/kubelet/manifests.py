"""Short ways to write the manifests of pods."""

from __future__ import annotations

from typing import Any

from tests.support.kubernetes_node import BUSYBOX, Pod

#: Runs until it is told to end.
SLEEP = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


def container(name: str, *command: str, image: str = BUSYBOX, **more: object) -> dict[str, Any]:
    """A container; without a command it waits for its end."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "Never",
        "command": list(command) or ["sh", "-c", SLEEP],
        **more,
    }


def pod(name: str, *main: dict[str, Any], **spec: object) -> Pod:
    """A manifest with members of its spec."""
    metadata = {"name": name, "labels": {"app": name}, "annotations": {"note": 'a "quoted" one'}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": list(main), "terminationGracePeriodSeconds": 5, **spec},
    }

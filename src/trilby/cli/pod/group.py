"""The table of the pod commands."""

from __future__ import annotations

from trilby.cli.lazy import LazyGroup

_HERE = "trilby.cli.pod"

COMMANDS = {
    "attach": (f"{_HERE}.attach", "Connect to a container's first process"),
    "exec": (f"{_HERE}.exec", "Run a command in a container"),
    "inspect": (f"{_HERE}.inspect", "Show all that is known of a pod"),
    "logs": (f"{_HERE}.logs", "Show what containers have written"),
    "ps": (f"{_HERE}.ps", "List pods"),
    "rm": (f"{_HERE}.rm", "Remove pods"),
    "run": (f"{_HERE}.run", "Run a Pod manifest"),
    "stats": (f"{_HERE}.stats", "Show what pods use"),
    "stop": (f"{_HERE}.stop", "Stop pods"),
    "trace": (f"{_HERE}.trace", "Show where the time of a pod went"),
}

ALIASES = {"list": "ps", "ls": "ps", "remove": "rm"}

command = LazyGroup(
    "pod",
    COMMANDS,
    help="Run Kubernetes Pod manifests on this machine without a kubelet; --host asks a daemon.",
    epilog="POD is a pod's name, namespace/name, uid, or the beginning of its id.",
    aliases=ALIASES,
)

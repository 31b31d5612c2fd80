"""What a verbose status shows of a sandbox or container: for people, no promise of its form."""

from __future__ import annotations

import json

import msgspec

from trilby.pods.engine_parts import Parts
from trilby.pods.network.document import JsonObject

Details = dict[str, object]


def sandbox_details(parts: Parts, sandbox_id: str) -> Details:
    """Raises SandboxNotFound."""
    record = parts.layout.load_sandbox(sandbox_id)
    live = parts.layout.load_sandbox_live(sandbox_id)
    config: object = msgspec.to_builtins(record.config)
    return {
        "pid": live.infra_pid if live else 0,
        "image": "",  # no pause image
        "runtimeHandler": record.handler,
        "cgroup": record.cgroup,
        "hostname": record.hostname,
        "runDirectory": parts.layout.sandbox_run(sandbox_id),
        "namespaces": f"{parts.layout.sandbox_run(sandbox_id)}/ns",
        "config": config,
        "reason": live.reason if live else "",
        "message": live.message if live else "",
    }


def container_details(parts: Parts, container_id: str) -> Details:
    """Raises ContainerNotFound. ``runtimeSpec`` is null when the host was restarted since."""
    sandbox_id, container_id = parts.layout.find_container(container_id)
    record = parts.layout.load_container(sandbox_id, container_id)
    live = parts.layout.load_container_live(container_id)
    return {
        "sandboxID": sandbox_id,
        "pid": live.pid if live else 0,
        "privileged": record.config.security.privileged,
        "tty": record.config.tty,
        "stdin": record.config.stdin,
        "runtimeHandler": record.handler,
        "cgroup": record.cgroup,
        "bundle": parts.layout.bundle(container_id),
        "warnings": list(record.warnings),
        "runtimeSpec": _spec(f"{parts.layout.bundle(container_id)}/config.json"),
    }


def _spec(path: str) -> JsonObject | None:
    try:
        with open(path, "rb") as file:
            spec: JsonObject = json.loads(file.read())
            return spec
    except (FileNotFoundError, ValueError):
        return None

"""A sandbox' network: attaching it, and taking it off again, by the record alone."""

from __future__ import annotations

import msgspec

from trilby.pods.engine_parts import Parts
from trilby.pods.engine_tasks import finish
from trilby.pods.errors import SandboxNotFound
from trilby.pods.model_common import NamespaceMode
from trilby.pods.network.attachment import Attachment
from trilby.pods.sandbox_files import write_hosts
from trilby.pods.state import SandboxRecord
from trilby.pods.trace import part


def uses_host(record: SandboxRecord) -> bool:
    """Whether the pod is in the host's network namespace."""
    return record.config.security.namespaces.network is NamespaceMode.NODE


def attachment_of(parts: Parts, record: SandboxRecord) -> Attachment:
    """What CNI is told of the sandbox."""
    config = record.config
    return Attachment(
        sandbox_id=record.id,
        netns=f"{parts.layout.sandbox_run(record.id)}/ns/net",
        name=config.name,
        namespace=config.namespace,
        uid=config.uid,
        port_mappings=config.port_mappings,
        dns=config.dns,
        annotations=config.annotations,
        cgroup_path=record.cgroup,
    )


async def attach(parts: Parts, record: SandboxRecord) -> tuple[str, ...]:
    """Put the sandbox on the network and complete its hosts file; its addresses."""
    # A plugin that is killed half-way can leave what the next one stumbles over, such as a bridge
    # without an address; so a cancellation waits for it.
    with part("network"):
        result = await finish(parts.network.attach(attachment_of(parts, record)))
    ips = result.pod_ips()
    write_hosts(parts.layout.sandbox_run(record.id), record.hostname, ips)
    return ips


async def detach(parts: Parts, sandbox_id: str) -> None:
    """Take the sandbox off the network; fine when it is not on one."""
    try:
        record = parts.layout.load_sandbox(sandbox_id)
    except SandboxNotFound:
        removed = parts.layout.load_removed_sandbox(sandbox_id)
        if removed is None:
            return  # its record was not written, so it was not attached
        record = removed
    live = parts.layout.load_sandbox_live(sandbox_id)
    if uses_host(record) or (live is not None and live.network_detached):
        return
    with part("network"):
        await finish(parts.network.detach(attachment_of(parts, record)))
    if live is not None:
        parts.layout.save_sandbox_live(
            sandbox_id, msgspec.structs.replace(live, network_detached=True)
        )

"""New limits of a whole pod. Its cgroup is the kubelet's, which has set them there already."""

from __future__ import annotations

from msgspec.structs import replace

from trilby.pods import hooked
from trilby.pods.engine_parts import Parts
from trilby.pods.errors import SandboxNotReady
from trilby.pods.model_common import Resources
from trilby.pods.state import READY
from trilby.pods.state_locks import locked


async def update_sandbox_resources(
    parts: Parts, sandbox_id: str, overhead: Resources | None, resources: Resources | None
) -> None:
    """See Engine.update_sandbox_resources."""
    sandbox_id = parts.layout.find_sandbox(sandbox_id)
    async with locked(parts.layout.lock(sandbox_id)):
        record = parts.layout.load_sandbox(sandbox_id)  # raises when it is removed meanwhile
        live = parts.layout.load_sandbox_live(sandbox_id)
        if live is None or live.phase != READY:
            raise SandboxNotReady(f"updating sandbox {sandbox_id[:12]}: it is not ready")
        hooks = parts.hooks.hooks
        if hooks is not None:
            pod = hooked.pod_view(parts.layout, record, live)
            await hooks.update_sandbox(pod, overhead, resources)
        changed = replace(
            live,
            overhead=overhead if overhead is not None else live.overhead,
            resources=resources if resources is not None else live.resources,
        )
        parts.layout.save_sandbox_live(sandbox_id, changed)
        if hooks is not None:
            await hooks.post_update_sandbox(hooked.pod_view(parts.layout, record, changed))

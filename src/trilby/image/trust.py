"""The gate between a source and a copy: policy.json decides before anything is used."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from trilby.image.copy_types import Gate, UnverifiedImage

if TYPE_CHECKING:
    from trilby.image.context import ImageContext
    from trilby.image.policy import Policy


async def policy_gate(context: ImageContext) -> Gate:
    """The gate for the policy that the context names. Raises ConfigError, also for no policy."""
    from trilby.image.policy import accept_anything, load_policy

    if context.insecure_policy:
        return gate_of(accept_anything())
    return gate_of(await asyncio.to_thread(load_policy, context.policy_path))


def gate_of(policy: Policy) -> Gate:
    """Ask this policy; it raises PolicyRefused. Signatures are fetched only if it needs them."""
    from trilby.image.policy import SignedImage

    async def gate(image: UnverifiedImage) -> None:
        source = image.source
        scope = source.policy_scope
        signatures: list[bytes] = []
        if policy.needs_signatures(source.transport, scope):
            signatures = await image.signatures()
        signed = SignedImage(
            reference=source.reference,
            docker_reference=source.docker_reference,
            manifest=image.raw,
            signatures=tuple(signatures),
        )
        await asyncio.to_thread(policy.check, source.transport, scope, signed)

    return gate

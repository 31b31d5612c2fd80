"""Copy between any two places that have a name, with the policy asked about the source."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trilby.image.copy import copy_image
from trilby.image.copy_types import CopyOptions, CopyResult
from trilby.image.transport import open_destination, open_source
from trilby.image.trust import policy_gate

if TYPE_CHECKING:
    from trilby.image.context import ImageContext
    from trilby.storage.store import Store


async def copy_between(
    source: str,
    destination: str,
    *,
    context: ImageContext,
    destination_context: ImageContext | None = None,
    store: Store | None = None,
    options: CopyOptions | None = None,
) -> CopyResult:
    """Copy ``transport:rest`` to ``transport:rest``; the policy replaces ``options.gate``.

    ``store`` is what containers-storage: names mean. Raises what copy_image and the transports do.
    """
    options = replace(
        options or CopyOptions(platform=context.platform, parallel=context.parallel),
        gate=await policy_gate(context),
    )
    reader = await open_source(source, context, store=store)
    try:
        writer = await open_destination(destination, destination_context or context, store=store)
        try:
            return await copy_image(reader, writer, options)
        finally:
            await asyncio.shield(asyncio.ensure_future(writer.close()))
    finally:
        await reader.close()

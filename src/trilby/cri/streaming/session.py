"""One client from its request to its end; loaded when the first client comes."""

from __future__ import annotations

import asyncio
import logging

from trilby.cri.streaming import http
from trilby.cri.streaming.calls import VERBS, Call, ForwardCall
from trilby.cri.streaming.command import serve_command
from trilby.cri.streaming.connection import Connection
from trilby.cri.streaming.errors import BadRequest, StreamClosed
from trilby.cri.streaming.forwarding import serve_forward
from trilby.cri.streaming.settings import StreamingSettings
from trilby.cri.streaming.tokens import Tokens
from trilby.pods.engine import Engine

_log = logging.getLogger(__name__)


async def serve(
    engine: Engine, settings: StreamingSettings, tokens: Tokens[Call], connection: Connection
) -> None:
    """Runs in a task of its own, which is cancelled when the client has gone."""
    try:
        try:
            async with asyncio.timeout(settings.creation_timeout):
                request = http.parse(await connection.head())
            call = _call(request, tokens)
            if isinstance(call, ForwardCall):
                await serve_forward(engine, connection, request, call, settings.creation_timeout)
            else:
                await serve_command(engine, connection, request, call, settings.creation_timeout)
        except BadRequest as error:
            connection.write(http.refusal(error))
        await connection.linger()
    except (StreamClosed, TimeoutError) as error:
        _log.debug("a streaming client is left: %s", error)


def _call(request: http.Request, tokens: Tokens[Call]) -> Call:
    """What the URL stands for; its token is used up. Raises BadRequest."""
    if request.method not in ("GET", "POST"):
        raise BadRequest("GET or POST, please", status=405, headers="Allow: GET, POST")
    parts = request.path.split("/")
    if len(parts) == 3 and parts[1] in VERBS.values():
        call = tokens.take(parts[2])
        if call is not None and VERBS[type(call)] == parts[1]:
            return call
    raise BadRequest("not found: unknown, used or too old", status=404)


__all__ = ["serve"]

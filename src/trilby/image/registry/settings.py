"""Time-outs, attempts and limits of a registry client, and the clock that tests replace."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import msgspec

MIB = 1 << 20


class ClientSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How patient and how greedy a client is. Times in seconds, sizes in bytes."""

    connect_timeout: float = 30.0
    #: A connection that delivers less than ``progress_bytes`` for so long is dropped.
    progress_timeout: float = 60.0
    progress_bytes: int = 4096
    #: Everything about one small document (manifest, token, page of tags) must be over by then.
    document_timeout: float = 120.0
    #: A registry may think so long about bytes that it has got, before it says that it has them.
    commit_timeout: float = 300.0
    #: Tries of one request, the first included. A blob that makes progress starts counting anew.
    attempts: int = 5
    #: Tries when not even a connection comes about.
    connect_attempts: int = 3
    backoff_base: float = 0.5
    backoff_max: float = 30.0
    #: A server that asks for a longer wait than this has refused.
    retry_after_max: float = 120.0
    redirects: int = 8
    #: Simultaneous connections to one host; more requests wait, and their time-outs run.
    connections: int = 12
    read_buffer: int = 1 * MIB
    #: So much new data counts as progress of a resumed download.
    resume_progress: int = 1 * MIB
    manifest_limit: int = 4 * MIB
    signature_limit: int = 4 * MIB
    token_limit: int = 1 * MIB
    page_limit: int = 16 * MIB
    #: So much of an error's body is read to find out what the registry says.
    error_limit: int = 64 * 1024
    #: 0: a blob goes up in one stream; else in PATCHes of this size, each sent again if it fails.
    upload_chunk: int = 0
    page_size: int = 1000
    pages: int = 10_000
    user_agent: str = "trilby"
    #: URL of an HTTP proxy; None: as the environment's HTTPS_PROXY, HTTP_PROXY and NO_PROXY say.
    proxy: str | None = None


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """Where time and chance come from."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    #: Uniform in [0, 1).
    chance: Callable[[], float] = random.random

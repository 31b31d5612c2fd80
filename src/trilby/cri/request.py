"""The number of the request that is being served, for log lines and errors."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

#: 0 outside of a request. Tasks and threads that a request starts inherit it.
request_id: Final[ContextVar[int]] = ContextVar("request_id", default=0)

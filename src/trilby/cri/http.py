"""HTTP/1.1 on the daemon's socket: what cAdvisor asks of CRI-O, and what our own command asks.

==========================  =======================================================
``GET /info``               storage and cgroup driver, as cAdvisor reads them
``GET /containers/{id}``    one container or sandbox, likewise
``GET /config``             the effective configuration and where each value is from
``POST /config/reload``     read the configuration again, all or nothing
``GET /status``             version, conditions, handlers, storage, pulls under way
``GET /trace/{id}``         the stages of a pod's start
``GET /events``             the last events of containers
``GET /healthz``            ``ok``, when the engine answers
==========================  =======================================================
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
from aiohttp import web

from trilby.errors import InvalidInput, NotFound, TrilbyError


class Pages(Protocol):
    """Who answers; values are ready for JSON."""

    def info(self) -> object: ...

    def container(self, container_id: str) -> object: ...

    def config(self) -> object: ...

    async def reload(self) -> object: ...

    async def status(self) -> object: ...

    def trace(self, sandbox_id: str) -> object: ...

    def events(self) -> object: ...

    async def healthy(self) -> bool: ...


async def make_runner(pages: Pages) -> web.AppRunner:
    """A runner that is set up; its ``server`` makes a protocol for each connection."""
    app = web.Application(middlewares=[_errors])
    _add(app, "GET", "/info", _plain(pages.info))
    _add(app, "GET", "/containers/{id}", _of_id(pages.container))
    _add(app, "GET", "/config", _plain(pages.config))
    _add(app, "POST", "/config/reload", _waited(pages.reload))
    _add(app, "GET", "/status", _waited(pages.status))
    _add(app, "GET", "/trace/{id}", _of_id(pages.trace))
    _add(app, "GET", "/events", _plain(pages.events))

    async def healthz(request: web.Request) -> web.Response:
        well = await pages.healthy()
        return web.Response(text="ok\n" if well else "not ok\n", status=200 if well else 503)

    _add(app, "GET", "/healthz", healthz)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    return runner


Handler = Callable[[web.Request], Awaitable[web.Response]]


def _add(app: web.Application, method: str, path: str, handler: Handler) -> None:
    app.router.add_route(method, path, handler)


def _plain(make: Callable[[], object]) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        return _json(make())

    return answer


def _waited(make: Callable[[], Awaitable[object]]) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        return _json(await make())

    return answer


def _of_id(make: Callable[[str], object]) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        return _json(make(request.match_info["id"]))

    return answer


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json"
    )


@web.middleware
async def _errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except TrilbyError as error:
        status = 404 if isinstance(error, NotFound) else 500
        status = 400 if isinstance(error, InvalidInput) else status
        return _json({"error": str(error)}, status)

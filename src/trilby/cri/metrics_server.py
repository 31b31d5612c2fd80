"""The daemon's metrics by HTTP: ``/metrics`` for Prometheus, and ``/healthz``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable

from aiohttp import web

from trilby.cri.config import DaemonConfig
from trilby.cri.errors import InvalidRequest, NotServing
from trilby.cri.metrics import Metrics, stop
from trilby.cri.metrics_prometheus import Inventory, count_defunct, render
from trilby.cri.socket import claim
from trilby.cri.streaming.settings import StreamingSettings
from trilby.cri.streaming.tls import Certificates
from trilby.pods.engine import Engine

log = logging.getLogger(__name__)


class MetricsServer:
    """``port`` is the one that it listens on; ``healthy`` says whether the daemon is well."""

    def __init__(
        self,
        config: DaemonConfig,
        metrics: Metrics,
        engine: Engine,
        healthy: Callable[[], Awaitable[bool]] | None,
        pulls: Callable[[], int],
    ) -> None:
        self.port = 0
        self._config = config
        self._metrics = metrics
        self._engine = engine
        self._healthy = healthy
        self._pulls = pulls
        self._certificates = _certificates(config)
        self._runner = web.AppRunner(self._app(), access_log=None, handle_signals=False)
        self._follower: asyncio.Task[None] | None = None
        self._socket = ""

    def replace(self, config: DaemonConfig) -> None:
        """Take over which metrics are served, and where the certificate is if there was one."""
        self._config = config
        if self._certificates is None or not config.metrics_cert:
            return
        try:
            self._certificates = _certificates(config)
        except InvalidRequest as error:
            log.warning("still with the old certificate: %s", error)

    async def start(self) -> None:
        """Raises NotServing when the address cannot be had."""
        config = self._config
        if not self._metrics.default_runtime:
            installed = self._engine.handlers()
            preferred = [name for name in ("crun", "runc") if name in installed]
            self._metrics.default_runtime = next(iter([*preferred, *installed]), "")
        await self._runner.setup()
        where = f"{config.metrics_host}:{config.metrics_port}"
        try:
            site = web.TCPSite(
                self._runner, config.metrics_host, config.metrics_port, ssl_context=self._tls()
            )
            await site.start()
            if config.metrics_socket:
                where = config.metrics_socket
                claim(where)
                await web.UnixSite(self._runner, where).start()
                self._socket = where
                os.chmod(where, 0o660)
        except OSError as error:
            raise NotServing(
                f"serving metrics on {where}: {error.strerror or error}",
                hint="set metrics_host, metrics_port or metrics_socket",
            ) from error
        self.port = self._runner.addresses[0][1]
        self._follower = asyncio.create_task(self._metrics.follow(self._engine), name="metrics")
        log.info("metrics on %s:%d", config.metrics_host, self.port)

    async def close(self) -> None:
        if self._follower is not None:
            await stop(self._follower)
        await self._runner.cleanup()
        if self._socket:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._socket)

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        app.router.add_get("/healthz", self._health)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        inventory = await asyncio.to_thread(self._inventory)
        text, content_type = render(
            self._metrics,
            inventory,
            self._config.metrics_collectors,
            request.headers.get("Accept", ""),
        )
        # aiohttp's own parameter would not take the format's version in it.
        response = web.Response(body=text, headers={"Content-Type": content_type})
        response.enable_compression()
        return response

    async def _health(self, request: web.Request) -> web.Response:
        try:
            well = self._healthy is None or await self._healthy()
        except Exception as error:
            log.warning("health: %s", error)
            well = False
        return web.Response(text="ok\n" if well else "not ok\n", status=200 if well else 503)

    def _inventory(self) -> Inventory:
        pods = Counter(str(one.state) for one in self._engine.list_sandboxes())
        containers = Counter(str(one.state) for one in self._engine.list_containers())
        return Inventory(pods, containers, self._pulls(), count_defunct())

    def _tls(self) -> ssl.SSLContext | None:
        if self._certificates is None:
            return None
        context = self._certificates.context()

        def choose(connection: ssl.SSLObject, name: str | None, first: ssl.SSLContext) -> None:
            # Asked in every handshake: this is how a new certificate gets in.
            if self._certificates is not None:
                connection.context = self._certificates.context()

        context.sni_callback = choose
        return context


def _certificates(config: DaemonConfig) -> Certificates | None:
    if not config.metrics_cert:
        return None
    return Certificates(
        StreamingSettings(
            tls_cert=config.metrics_cert,
            tls_key=config.metrics_key,
            tls_min_version=config.stream_tls_min_version,
        ),
        who="metrics",
    )


async def start_metrics_server(
    config: DaemonConfig,
    metrics: Metrics,
    engine: Engine,
    *,
    healthy: Callable[[], Awaitable[bool]] | None = None,
    pulls: Callable[[], int] = lambda: 0,
) -> MetricsServer:
    """A server that serves; ``close`` ends it. ``pulls`` says how many are under way.

    Raises InvalidRequest for a certificate that is not good, NotServing.
    """
    server = MetricsServer(config, metrics, engine, healthy, pulls)
    try:
        await server.start()
    except BaseException:
        await server.close()
        raise
    return server

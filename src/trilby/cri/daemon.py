"""The daemon: what it is made of, in which order it starts, and in which it ends.

Whatever can be refused is refused before the socket is there; the socket answers when all is ready.
At the end the socket goes first. Containers keep running: conmon holds them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING, Protocol

from trilby.cri import systemd
from trilby.cri.config import DaemonConfig
from trilby.cri.container import ContainerRpcs
from trilby.cri.errors import SocketBusy
from trilby.cri.events import EventRpcs
from trilby.cri.exec import ExecRpcs
from trilby.cri.image import ImageRpcs
from trilby.cri.metrics import Metrics
from trilby.cri.pages import DaemonPages
from trilby.cri.pinned import Pinned
from trilby.cri.pod_sandbox import PodSandboxRpcs
from trilby.cri.pulls import Pulls
from trilby.cri.server import generic_handlers, make_server
from trilby.cri.socket import Front, claim
from trilby.cri.stats import StatsRpcs
from trilby.cri.status import StatusRpcs
from trilby.cri.streaming.server import StreamingServer
from trilby.cri.streaming.settings import StreamingSettings
from trilby.errors import TrilbyError
from trilby.image.service import Images
from trilby.pods.container_rootfs_store import StoreRootfs
from trilby.pods.engine import Engine
from trilby.pods.state_locks import try_lock
from trilby.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web
    from grpc.aio import Server

    from trilby.cri.metrics_server import MetricsServer
    from trilby.cri.tracing import Tracer

log = logging.getLogger(__name__)

#: How long calls that are under way may take when the daemon ends, in seconds.
GRACE = 5.0


class ConfigSource(Protocol):
    """Where the configuration comes from: files, drop-ins, flags."""

    def current(self) -> DaemonConfig: ...

    def describe(self) -> object:
        """Every option's effective value and its origin, ready for JSON."""
        ...

    async def reload(self, daemon: Daemon) -> object:
        """All or nothing; what was applied, ready for JSON. Raises InvalidInput kinds."""
        ...


class Daemon:
    """One per process. ``async with Daemon(...)``: it serves inside the block."""

    def __init__(
        self, source: ConfigSource, applied: Callable[[DaemonConfig], None] | None = None
    ) -> None:
        """``applied`` is told of a configuration that was read anew."""
        self._source = source
        self._applied = applied
        self._stack = contextlib.AsyncExitStack()
        self.config = source.current()
        self.metrics_server: MetricsServer | None = None
        self.tracer: Tracer | None = None

    async def __aenter__(self) -> Daemon:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        systemd.notify("STOPPING=1")
        await self._stack.aclose()

    async def _start(self) -> None:
        config = self.config
        self._claim()
        self.store = await asyncio.to_thread(self._open_store)
        self.images = Images(self.store, config.image_context())
        self.metrics = Metrics(config)
        self.engine = await self._start_engine()
        self.pulls = Pulls(
            self.images,
            self.images.context,
            policy_dir=config.signature_policy_dir,
            stall_timeout=config.pull_progress_timeout,
            parallel=config.max_parallel_pulls,
            observer=self.metrics,
        )
        self.pinned = Pinned(config.pinned_images)
        self.events = EventRpcs(
            self.engine, self.metrics.event_dropped, backlog=config.event_backlog
        )
        self.events.start()
        self._stack.push_async_callback(self.events.close)
        self.streams = StreamingServer(self.engine, stream_settings(config))
        await self.streams.start()
        self._stack.push_async_callback(self.streams.close)
        await self._start_metrics()
        await self._start_nri()
        await self._serve()
        self._start_watchdog()
        log.info("serving on %s, %s", config.listen, self.store.config.graphroot)

    def _claim(self) -> None:
        """Before anything is touched: nobody else serves there, or works on the same pods."""
        claim(self.config.listen)
        run_root = self.config.engine.run_root
        os.makedirs(run_root, mode=0o711, exist_ok=True)
        held = try_lock(f"{run_root}/daemon.lock")
        if held is None:
            raise SocketBusy(
                f"another daemon uses {run_root}", hint="give this one a --runroot of its own"
            )
        self._stack.callback(held.release)

    def _open_store(self) -> Store:
        store = Store.open(self.config.storage_config())
        self._stack.callback(store.close)
        found = store.recover()
        for name in (*found.layers, *found.staging, *found.orphans):
            log.warning("recovered the store: removed %s", name)
        return store

    async def _start_engine(self) -> Engine:
        config = self.config.engine
        engine = Engine(config, StoreRootfs(self.store, self.images, config.root))
        self._stack.push_async_callback(engine.close)
        for line in await engine.start():
            log.warning("recovered: %s", line)
        try:
            await engine.follow()
        except TrilbyError as error:
            # The status says it as well, and a network that comes later is seen.
            log.warning("the pods' network: %s", error)
        return engine

    async def _start_metrics(self) -> None:
        if self.config.enable_metrics:
            from trilby.cri.metrics_server import start_metrics_server

            self.metrics_server = await start_metrics_server(
                self.config,
                self.metrics,
                self.engine,
                healthy=lambda: self.pages.healthy(),
                pulls=lambda: len(self.pulls.running()),
            )
            self._stack.push_async_callback(self.metrics_server.close)

    async def _start_nri(self) -> None:
        """Plugins are there before the first request; without a socket the daemon goes on."""
        if not self.config.enable_nri:
            return
        from trilby.cri.nri.service import NriService
        from trilby.cri.nri.settings import settings_of

        service = NriService(self.engine, settings_of(self.config))
        self._stack.push_async_callback(service.close)
        try:
            await service.start()
        except (TrilbyError, OSError) as error:
            log.warning("no NRI: %s", error)

    async def _serve(self) -> None:
        """gRPC on an inner socket first, then the one that callers see."""
        config = self.config
        inner = f"{config.engine.run_root}/grpc.sock"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(inner)
        self._server = self._make_server(inner)
        await self._server.start()
        os.chmod(inner, 0o600)
        self._stack.push_async_callback(self._stop_server)
        self.pages = DaemonPages(
            self.engine,
            self.images,
            self.pulls,
            config=self._source.describe,
            reload=self.reload,
            events=self.events.history,
        )
        self._runner: web.AppRunner | None = None
        front = Front(config.listen, inner, config.socket_mode, self._http)
        await front.start()
        self._stack.push_async_callback(front.close)

    def _make_server(self, path: str) -> Server:
        config = self.config
        self.stats = StatsRpcs(self.engine, config)
        self.sandboxes = PodSandboxRpcs(self.engine, config.log_dir)
        groups = [
            self.sandboxes,
            ContainerRpcs(self.engine, self.images),
            ExecRpcs(self.engine, self.streams),
            ImageRpcs(self.engine, self.images, self.pulls, self.pinned),
            self.stats,
            StatusRpcs(self.engine, self._details),
            self.events,
        ]
        if config.enable_tracing:
            from trilby.cri.tracing import start_tracing

            self.tracer = start_tracing(config, self.engine)
            self._stack.push_async_callback(self.tracer.close)
        return make_server(
            path,
            generic_handlers(groups, self.metrics, self.tracer),
            max_send=config.grpc_max_send_msg_size,
            max_receive=config.grpc_max_recv_msg_size,
        )

    async def _stop_server(self) -> None:
        await self._server.stop(GRACE)

    def _start_watchdog(self) -> None:
        systemd.notify("READY=1\nSTATUS=serving")
        if seconds := systemd.watchdog_seconds():
            task = asyncio.create_task(
                systemd.feed_watchdog(self.pages.healthy, seconds), name="watchdog"
            )
            self._stack.callback(task.cancel)

    async def reload(self) -> object:
        """Read the configuration again: all of it or nothing. Raises InvalidInput kinds."""
        systemd.notify(systemd.reloading())
        try:
            return await self._source.reload(self)
        finally:
            systemd.notify("READY=1")

    def apply(self, config: DaemonConfig) -> None:
        """Take over what can change while the daemon runs; the source has validated it."""
        self.config = config
        self.engine.replace_config(config.engine)
        self.stats.replace(config)
        self.sandboxes.log_dir = config.log_dir
        if self.metrics_server is not None:
            self.metrics_server.replace(config)
        if self.tracer is not None:
            self.tracer.per_million = config.tracing_sampling_rate_per_million
        self.images.context = config.image_context()
        self.pulls.replace(
            self.images.context,
            policy_dir=config.signature_policy_dir,
            stall_timeout=config.pull_progress_timeout,
            parallel=config.max_parallel_pulls,
        )
        self.pinned.replace(config.pinned_images)
        if self._applied is not None:
            self._applied(config)

    def _details(self) -> dict[str, object]:
        """What a verbose Status shows."""
        return {"config": self._source.describe()}

    async def _http(self) -> Callable[[], asyncio.Protocol]:
        """aiohttp's, made when the first HTTP connection comes."""
        if self._runner is None:
            from trilby.cri.http import make_runner

            self._runner = await make_runner(self.pages)
            self._stack.push_async_callback(self._runner.cleanup)
        server = self._runner.server
        assert server is not None
        return server


def stream_settings(config: DaemonConfig) -> StreamingSettings:
    """What the configuration says of exec, attach and port-forward."""
    tls = config.stream_enable_tls
    return StreamingSettings(
        address=config.stream_address,
        port=config.stream_port,
        idle_timeout=config.stream_idle_timeout,
        tls_cert=config.stream_tls_cert if tls else "",
        tls_key=config.stream_tls_key if tls else "",
        tls_ca=config.stream_tls_ca if tls else "",
        tls_min_version=config.stream_tls_min_version,
    )

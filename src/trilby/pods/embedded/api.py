"""What running a pod asks of an engine and of images: in this process, or of a daemon.

``Engine`` and ``Images`` are the first; ``trilby.cri.client`` has the second.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from trilby.image.progress import Progress
from trilby.image.service_types import PulledImage, PullPolicy
from trilby.oci.image import ImageConfig
from trilby.pods.attach import Stream
from trilby.pods.exec import ExecResult, ExecStreams
from trilby.pods.logs import Entry
from trilby.pods.logs_read import LogOptions
from trilby.pods.model_container import ContainerConfig
from trilby.pods.model_sandbox import SandboxConfig
from trilby.pods.model_status import ContainerStatus, SandboxStats, SandboxStatus


class Session(Protocol):
    """A command that runs in a container. See ``trilby.pods.exec.ExecSession``."""

    terminal: int

    async def wait(self) -> int: ...

    def resize(self, rows: int, columns: int) -> None: ...

    async def close(self) -> None: ...


class Attached(Protocol):
    """The streams of a container's first process. See ``trilby.pods.attach.AttachedStreams``."""

    tty: bool
    has_stdin: bool

    def __aiter__(self) -> AsyncIterator[tuple[Stream, bytes]]: ...

    async def write(self, data: bytes) -> None: ...

    def close_stdin(self) -> None: ...

    def resize(self, rows: int, columns: int) -> None: ...

    def close(self) -> None: ...


class PodEngine(Protocol):
    """Methods, arguments and errors are those of ``trilby.pods.engine.Engine``."""

    async def run_sandbox(self, config: SandboxConfig) -> str: ...

    async def stop_sandbox(self, sandbox_id: str, *, timeout: float = 0) -> None: ...

    async def remove_sandbox(self, sandbox_id: str) -> None: ...

    async def read_sandbox(self, sandbox_id: str) -> SandboxStatus: ...

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str: ...

    async def start_container(self, container_id: str) -> None: ...

    async def stop_container(self, container_id: str, timeout: float = 10) -> None: ...

    async def remove_container(self, container_id: str) -> None: ...

    async def wait_container(self, container_id: str) -> int: ...

    async def read_container(self, container_id: str) -> ContainerStatus: ...

    async def exec_sync(
        self, container_id: str, argv: Sequence[str], *, timeout: float | None = None
    ) -> ExecResult: ...

    async def exec(
        self,
        container_id: str,
        argv: Sequence[str],
        *,
        streams: ExecStreams,
        tty: bool = False,
        user: str = "",
        working_dir: str = "",
        env: Sequence[str] = (),
    ) -> Session: ...

    async def attach(self, container_id: str) -> Attached: ...

    def logs(self, container_id: str, options: LogOptions) -> AsyncIterator[Entry]: ...

    async def read_stats(self, sandbox_id: str) -> SandboxStats: ...


class PodImages(Protocol):
    """Methods, arguments and errors are those of ``trilby.image.service.Images``."""

    async def pull(
        self, name: str, policy: PullPolicy = "missing", *, progress: Progress | None = None
    ) -> PulledImage: ...

    def config(self, name: str) -> ImageConfig: ...

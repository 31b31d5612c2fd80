"""Pods of a manifest's text, run by the embedded runner in the test's own process."""

from __future__ import annotations

import asyncio
import contextlib
from textwrap import dedent, indent

from tests.support.pods import Place, make_config

from trilby.image.service import Images
from trilby.pods.embedded.events import Event, Exited, Notice, Started
from trilby.pods.embedded.folder import PodFolder
from trilby.pods.embedded.listing import PodList, PodView
from trilby.pods.embedded.runner import PodRunner, new_record
from trilby.pods.embedded.worker import Backoff
from trilby.pods.engine import Engine
from trilby.pods.logs_read import read_log
from trilby.pods.manifest.load import load_pod

FAST = Backoff(initial=0.05, longest=0.2)


def manifest(spec: str, name: str = "test") -> str:
    """A Pod around the text of a spec."""
    head = f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  labels: {{app: web}}\nspec:\n"
    return head + "  terminationGracePeriodSeconds: 2\n" + indent(dedent(spec), "  ")


class Running:
    """One pod's runner, and what it told."""

    def __init__(self, stage: Stage, text: str) -> None:
        loaded = load_pod(text, "test.yaml")
        assert loaded.warnings == ()
        self.stage = stage
        record = new_record(loaded.pod, "test.yaml")
        config = make_config(stage.place)
        self.folder = PodFolder(config.root, config.run_root, record.uid)
        self.events: list[Event] = []
        self.news = asyncio.Event()
        self.runner = PodRunner(
            stage.engine, stage.images, record, self.folder, self._tell, backoff=FAST
        )
        self.task: asyncio.Task[bool] | None = None

    def start(self) -> None:
        self.task = asyncio.ensure_future(self.runner.run())

    async def stop(self) -> None:
        """As SIGTERM to the foreground does."""
        assert self.task is not None
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    async def until(self, kind: type[Event], container: str, count: int = 1) -> Event:
        """Wait for the ``count``-th event of that kind of that container."""
        async with asyncio.timeout(20):
            while True:
                found = [
                    event
                    for event in self.events
                    if isinstance(event, kind) and getattr(event, "container", "") == container
                ]
                if len(found) >= count:
                    return found[count - 1]
                self.news.clear()
                await self.news.wait()

    async def until_ready(self, count: int) -> None:
        """Wait until so many containers are ready, as `trilby pod ps` would show."""
        async with asyncio.timeout(20):
            while True:
                if any(isinstance(event, Started) for event in self.events):
                    if self.view().ready()[0] == count:
                        return
                await asyncio.sleep(0.05)

    def view(self) -> PodView:
        return PodList(make_config(self.stage.place)).find(self.folder.uid)

    def exits(self, container: str) -> list[int]:
        return [
            event.exit_code
            for event in self.events
            if isinstance(event, Exited) and event.container == container
        ]

    def notices(self, container: str = "") -> str:
        return "\n".join(
            event.text
            for event in self.events
            if isinstance(event, Notice) and event.container == container
        )

    def output(self, container: str) -> str:
        """What the last try of a container has written."""
        status = self.view().container(container)
        return b"".join(entry.data for entry in read_log(status.log_path)).decode()

    def order(self, kind: type[Event] = Started) -> list[str]:
        return [getattr(event, "container", "") for event in self.events if isinstance(event, kind)]

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        self.news.set()


class Stage:
    """An engine, its images, and the pods that a test ran; all go at the end."""

    def __init__(self, place: Place, engine: Engine, images: Images) -> None:
        self.place = place
        self.engine = engine
        self.images = images
        self.pods: list[Running] = []

    def pod(self, spec: str, name: str = "test") -> Running:
        running = Running(self, manifest(spec, name))
        self.pods.append(running)
        return running

    async def run(self, spec: str) -> tuple[bool, Running]:
        """A pod to its end: whether it succeeded."""
        running = self.pod(spec)
        async with asyncio.timeout(40):
            return await running.runner.run(), running

    async def close(self) -> None:
        for pod in self.pods:
            if pod.task is not None and not pod.task.done():
                await pod.stop()
            await pod.runner.undo()

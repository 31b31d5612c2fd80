"""The foreground of trilby pod run: events on stderr, the containers' output on stdout."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from trilby.cli.pod.target import Target, open_target
from trilby.cli.progress import progress_bars
from trilby.pods.embedded.errors import PodExists
from trilby.pods.embedded.events import Event, Exited, Notice, SandboxReady, Started
from trilby.pods.embedded.folder import PodFolder, PodRecord
from trilby.pods.embedded.listing import PodView
from trilby.pods.embedded.operations import remove_pod
from trilby.pods.embedded.runner import PodFailed, PodRunner, new_record
from trilby.pods.logs_read import LogOptions

if TYPE_CHECKING:
    from trilby.cli.pod.run import Wishes
    from trilby.cli.settings import Settings
    from trilby.image.context import ImageContext
    from trilby.pods.embedded.api import PodEngine
    from trilby.pods.manifest.load import LoadedPod


async def run_pod(
    settings: Settings, host: str, loaded: LoadedPod, context: ImageContext, wishes: Wishes
) -> bool:
    """Run the pod to its end or, detached, to its start: True if it succeeded."""
    async with open_target(settings, host, context, recover=True) as target:
        record = new_record(loaded.pod, loaded.source)
        await _make_room(settings, target, record, wishes)
        return await _run(settings, target, record, wishes)


async def _run(settings: Settings, target: Target, record: PodRecord, wishes: Wishes) -> bool:
    config = settings.engine_config()
    folder = PodFolder(config.root, config.run_root, record.uid)
    show = Show(target.engine, record, wishes)
    with progress_bars(
        f"Pulling the images of {record.pod.metadata.name}", quiet=wishes.quiet
    ) as p:
        runner = PodRunner(target.engine, target.images, record, folder, show, progress=p)
        if wishes.detach:
            try:
                await runner.launch()
            except PodFailed:
                return False
            click.echo(runner.sandbox_id)
            return True
        try:
            await runner.prepare()
        except BaseException:
            await show.close()
            raise
    try:
        return await runner.run()
    finally:
        await show.close()
        if wishes.remove:
            await runner.undo()


async def _make_room(settings: Settings, target: Target, record: PodRecord, wishes: Wishes) -> None:
    """A name is one pod's: refuse, or with --replace remove the older one."""
    meta = record.pod.metadata
    config = settings.engine_config()
    for view in (await target.listing()).all():
        if (view.namespace, view.name) != (meta.namespace, meta.name) and view.uid != record.uid:
            continue
        if not wishes.replace:
            raise PodExists(
                f"pod {meta.name} exists already: {view.id[:12] or view.uid} ({view.phase})",
                hint="remove it with trilby pod rm, or run with --replace",
            )
        folder = PodFolder(config.root, config.run_root, view.uid)
        await remove_pod(target.engine, folder, view, force=True, grace=None, emit=_say)


class Show:
    """Receives the runner's events; follows the log of each started container."""

    def __init__(self, engine: PodEngine, record: PodRecord, wishes: Wishes) -> None:
        self.engine = engine
        self.name = record.pod.metadata.name
        self.wishes = wishes
        self.followers: set[asyncio.Task[None]] = set()
        names = [each.name for each in record.pod.spec.containers]
        names += [each.name for each in record.pod.spec.init_containers]
        self.width = max(map(len, names), default=0)

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started) and self.wishes.logs and not self.wishes.detach:
            task = asyncio.ensure_future(self._follow(event.container, event.container_id))
            self.followers.add(task)
            task.add_done_callback(self.followers.discard)
        if not self.wishes.quiet:
            click.echo(f"{self._subject(event)}: {_words(event)}", err=True)

    async def close(self) -> None:
        """Wait until all output of the ended containers is shown."""
        if self.followers:
            await asyncio.wait(self.followers, timeout=2)
        for task in list(self.followers):
            task.cancel()

    def _subject(self, event: Event) -> str:
        container = "" if isinstance(event, SandboxReady) else event.container
        return f"container {container}" if container else f"pod {self.name}"

    async def _follow(self, container: str, container_id: str) -> None:
        prefix = f"{container:{self.width}} | ".encode()
        fresh = True
        async for entry in self.engine.logs(container_id, LogOptions(follow=True)):
            # A partial entry goes on in the next one, on the same line.
            text = (prefix if fresh else b"") + entry.data
            fresh = not entry.partial
            sys.stdout.buffer.write(text)
            sys.stdout.buffer.flush()


def _words(event: Event) -> str:
    if isinstance(event, Notice):
        return event.text
    if isinstance(event, SandboxReady):
        where = ", ".join(event.ips) or "the host's network"
        return f"sandbox {event.sandbox_id[:12]} is ready at {where}"
    if isinstance(event, Started):
        again = f", attempt {event.attempt}" if event.attempt else ""
        return f"started{again}"
    message = f": {event.message}" if event.message else ""
    reason = f" ({event.reason})" if event.reason not in ("", "Completed", "Error") else ""
    return f"exited with {event.exit_code}{reason}{message}"


def _say(event: Event) -> None:
    if isinstance(event, Notice | Exited):
        click.echo(f"container {event.container}: {_words(event)}", err=True)


def view_folder(settings: Settings, view: PodView) -> PodFolder:
    """The folder of a pod that was found."""
    config = settings.engine_config()
    return PodFolder(config.root, config.run_root, view.uid)

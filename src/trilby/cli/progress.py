"""Progress of a copy on stderr: bars on a terminal, one line per blob elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from trilby.image.progress import Event, Progress


@contextmanager
def progress_bars(title: str, *, quiet: bool) -> Iterator[Progress]:
    """A callable for the library's events, which shows them while the block runs."""
    from trilby.image.progress import silent

    if quiet:
        yield silent
    elif not sys.stderr.isatty():
        yield _Lines(title)
    else:
        bars = _bars()
        with bars:
            yield _Bars(bars, title)


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


class _Lines:
    """For logs: a line when a blob begins and none for its progress."""

    def __init__(self, title: str) -> None:
        click.echo(f"{title}...", err=True)

    def __call__(self, event: Event) -> None:
        from trilby.image.progress import BlobDone, ManifestWritten, Retrying

        if isinstance(event, BlobDone):
            state = "exists" if event.reused else "done"
            click.echo(f"{event.kind} {event.digest.encoded[:12]} {state}", err=True)
        elif isinstance(event, ManifestWritten):
            click.echo(f"manifest {event.digest.encoded[:12]} written", err=True)
        elif isinstance(event, Retrying):
            click.echo(f"retrying {event.what}: {event.reason}", err=True)


class _Bars:
    """For people: a bar for each blob."""

    def __init__(self, bars: Bars, title: str) -> None:
        self.bars = bars
        self.tasks: dict[str, TaskID] = {}
        bars.console.print(title)

    def __call__(self, event: Event) -> None:
        from trilby.image.progress import BlobDone, BlobProgress, BlobStarted, Retrying

        if isinstance(event, BlobStarted):
            self._task(event.kind, str(event.digest), event.size)
        elif isinstance(event, BlobProgress):
            task = self.tasks.get(str(event.digest))
            if task is not None:
                self.bars.update(task, completed=event.done)
        elif isinstance(event, BlobDone):
            task = self._task(event.kind, str(event.digest), event.size)
            state = "exists" if event.reused else "done"
            self.bars.update(
                task,
                completed=max(event.size, 0),
                description=f"{event.kind} {event.digest.encoded[:12]} {state}",
            )
        elif isinstance(event, Retrying):
            self.bars.console.print(f"retrying {event.what}: {event.reason}")

    def _task(self, kind: str, digest: str, size: int) -> TaskID:
        if digest not in self.tasks:
            description = f"{kind} {digest.partition(':')[2][:12]}"
            self.tasks[digest] = self.bars.add_task(description, total=size if size >= 0 else None)
        return self.tasks[digest]

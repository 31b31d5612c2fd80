"""Names of pods, containers and images, for a shell that completes a command line.

What goes wrong is not told: a person who presses the tab key gets no names then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from trilby.errors import TrilbyError

if TYPE_CHECKING:
    from trilby.cli.settings import Settings
    from trilby.pods.embedded.listing import PodList


def pod_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Pods that are not on the line yet."""
    names: list[str] = []
    with suppress(TrilbyError, OSError), _quiet():
        names = [view.name for view in _pods(ctx).all()]
    return _fitting(ctx, param, incomplete, names)


def container_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Containers of the pod that is named."""
    names: list[str] = []
    with suppress(TrilbyError, OSError), _quiet():
        view = _pods(ctx).find(ctx.params.get("pod") or "")
        names = [container.name for container in view.containers]
    return _fitting(ctx, param, incomplete, names)


def image_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Images by their whole names, and without the registry's as far as they were begun so."""
    found: list[str] = []
    with suppress(TrilbyError, OSError), _quiet():
        host = ctx.params.get("host")
        if host:
            from trilby.cli.image.remote import list_images

            images = list_images(host)
        else:
            with _settings(ctx).images() as service:
                images = service.list()
        found = [name for image in images for name in image.names]
    if incomplete:
        found += [name.rpartition("/")[2] for name in found]
    return _fitting(ctx, param, incomplete, found)


def _pods(ctx: click.Context) -> PodList:
    from trilby.cli.pod.target import pods_of

    return pods_of(_settings(ctx), ctx.params.get("host") or "")


def _settings(ctx: click.Context) -> Settings:
    """From the global flags on the line: while a shell completes, no command's code ran."""
    from trilby.cli.settings import Settings

    return Settings(**ctx.find_root().params)


def _fitting(
    ctx: click.Context, param: click.Parameter, incomplete: str, names: list[str]
) -> list[str]:
    given = ctx.params.get(param.name or "") or ()
    taken = given if param.nargs == -1 else ()
    return [
        name for name in dict.fromkeys(names) if name.startswith(incomplete) and name not in taken
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of what is tried may be written between a person's words."""
    import io
    from contextlib import redirect_stderr

    with redirect_stderr(io.StringIO()):
        yield

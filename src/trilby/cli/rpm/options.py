"""Options that several rpm commands share, and how their values become the toolkit's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trilby.rpm.progress import Progress, Step
    from trilby.rpm.repo import Repository
    from trilby.rpm.sign import SigningKey
    from trilby.rpm.spec import Options
    from trilby.rpm.tools import Tools


project_argument = click.argument("project", metavar="[PROJECT]", default=".")
tools_option = click.option(
    "--tools",
    metavar="DIR",
    default="/",
    help="A directory tree with RPM's programs, which run in it. Without it this host's are run.",
)
template_option = click.option(
    "--template",
    metavar="FILE",
    default="",
    help="Template to fill in; without it the project's spec/NAME.spec.in, or ours.",
)
version_option = click.option(
    "--version",
    metavar="VERSION",
    default="",
    help="For a project that does not write its version down.",
)
release_option = click.option(
    "--release",
    metavar="RELEASE",
    default="",
    help="Release of the packages, without .fcNN; without it that of the changelog.",
)
folder_option = click.option(
    "--folder", metavar="DIR", default="", help="The programs of a .yaml, if not beside it."
)
key_home_option = click.option(
    "--key-home",
    metavar="DIR",
    default="",
    help="Directory that keeps the secret key (GNUPGHOME or SEQUOIA_HOME).",
)
key_kind_option = click.option(
    "--with",
    "how",
    type=click.Choice(["gpg", "sq"]),
    default="gpg",
    show_default=True,
    help="Whose keys these are: GnuPG's or Sequoia's.",
)


def tools_of(directory: str) -> Tools:
    from trilby.rpm.tools import Tools

    return Tools(os.path.abspath(directory))


def options_of(version: str, release: str, *, autospec: bool = False) -> Options:
    from trilby.rpm.spec import Options

    return Options(version=version, release=release, autospec=autospec)


def key_of(home: str, how: str, tools: Tools) -> SigningKey:
    from trilby.rpm.sign import find_key

    return find_key(home, how="sq" if how == "sq" else "gpg", tools=tools)


def repository_of(text: str) -> Repository:
    """``NAME=URL`` or a path; a key beside its packages counts. Raises click.UsageError."""
    from trilby.rpm.repo import KEY_NAME, Repository

    name, equals, url = text.partition("=")
    if not equals:
        name, url = os.path.basename(os.path.abspath(text)), text
    if "://" not in url:
        url = os.path.abspath(url)
        if not os.path.isdir(f"{url}/repodata"):
            raise click.UsageError(f"--repo {text}: {url} has no repodata; see `trilby rpm repo`")
        key = os.path.join(url, KEY_NAME)
        return Repository(name, url, key=key if os.path.exists(key) else "")
    return Repository(name, url)


def define_of(text: str) -> tuple[str, str]:
    """``NAME=VALUE``. Raises click.UsageError."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"--define {text}: as in --define dist=.fc46")
    return name, value


def packages_of(paths: tuple[str, ...]) -> list[str]:
    """Package files as they are named, and all those below directories. Raises UsageError."""
    found: list[str] = []
    for path in paths:
        if os.path.isdir(path):
            found += sorted(
                os.path.join(folder, name)
                for folder, _, names in os.walk(path)
                for name in names
                if name.endswith(".rpm")
            )
        elif os.path.exists(path):
            found.append(path)
        else:
            raise click.UsageError(f"there is no {path}")
    if not found:
        raise click.UsageError(f"{', '.join(paths)}: no packages here")
    return found


@contextmanager
def watched(quiet: bool) -> Iterator[Progress]:
    """A callable that shows steps on stderr while the block runs."""
    from trilby.rpm.progress import silent

    if quiet:
        yield silent
    elif not sys.stderr.isatty():
        yield _line
    else:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        with bars:
            task = bars.add_task("", total=None)

            def show(step: Step) -> None:
                bars.console.print(
                    f"{step.seconds:6.1f} s  {step.text()}", highlight=False, markup=False
                )
                bars.update(task, description=step.title)

            yield show


def _line(step: Step) -> None:
    click.echo(f"{step.seconds:6.1f} s  {step.text()}", err=True)

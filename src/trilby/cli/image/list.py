"""trilby image list."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from trilby.cli.host import host_option
from trilby.cli.output import Column, human_age, human_size, print_rows, short_id
from trilby.cli.settings import Settings

if TYPE_CHECKING:
    from trilby.image.service import ImageSummary


class Row:
    """One name of one image."""

    __slots__ = ("image", "repository", "tag")

    def __init__(self, image: ImageSummary, name: str) -> None:
        self.image = image
        # A name with a digest has no tag: the column DIGEST shows what it was pulled by.
        head = name.partition("@")[0]
        repository, colon, tag = head.rpartition(":")
        self.repository = repository if colon and "/" not in tag else head or "<none>"
        self.tag = tag if colon and "/" not in tag else "<none>"


@click.command("list", epilog="Example: trilby image list --format '{{.Repository}}:{{.Tag}}'")
@click.argument("name", metavar="[NAME]", default="")
@click.option("-a", "--all", "everything", is_flag=True, help="Accepted for podman's sake.")
@click.option(
    "-f", "--filter", "filters", metavar="KEY=VALUE", multiple=True,
    help="dangling=true|false, reference=PATTERN, readonly=true|false.",
)  # fmt: skip
@click.option("--format", metavar="FORMAT", default="", help="json, table or {{.Field}} template.")
@click.option("-n", "--noheading", is_flag=True, help="No headings.")
@click.option("--no-trunc", is_flag=True, help="Whole ids.")
@click.option("--digests", is_flag=True, help="Show digests.")
@click.option("-q", "--quiet", is_flag=True, help="Only ids.")
@click.option(
    "--sort",
    type=click.Choice(["created", "id", "repository", "size", "tag"]),
    default="created",
    show_default=True,
    help="Order of the list.",
)
@host_option
@click.pass_obj
def command(
    settings: Settings,
    name: str,
    everything: bool,
    filters: tuple[str, ...],
    format: str,
    noheading: bool,
    no_trunc: bool,
    digests: bool,
    quiet: bool,
    sort: str,
    host: str,
) -> None:
    """List the images of the store, those of a NAME or pattern if it is given.

    A daemon that is asked by --host does not tell when an image was made.
    """
    if host:
        from trilby.cli.image.remote import list_images

        found = list_images(host)
    else:
        with settings.images() as images:
            found = images.list()
    rows = [Row(image, each) for image in found for each in image.names or ("",)]
    rows = [row for row in rows if _wanted(row, name, filters)]
    _sort(rows, sort)
    if quiet:
        show = (lambda text: text) if no_trunc else short_id
        for identifier in dict.fromkeys(row.image.id for row in rows):
            click.echo(show(identifier))
        return
    print_rows(
        rows,
        _columns(no_trunc, digests),
        format=format,
        heading=not noheading,
        json=_document,
        more=_MORE,
    )


def _columns(no_trunc: bool, digests: bool) -> list[Column[Row]]:
    now = time.time()
    columns = [
        Column[Row]("REPOSITORY", "Repository", lambda row: row.repository),
        Column[Row]("TAG", "Tag", lambda row: row.tag),
    ]
    if digests:
        columns.append(Column("DIGEST", "Digest", lambda row: row.image.digest))
    return [
        *columns,
        Column("IMAGE ID", "ID", lambda row: row.image.id if no_trunc else short_id(row.image.id)),
        Column("CREATED", "Created", lambda row: _age(now, row.image.created)),
        Column("SIZE", "Size", lambda row: human_size(row.image.size)),
    ]


def _age(now: float, created: float) -> str:
    return human_age(now - created) if created else "--"


_MORE = [
    Column[Row]("IMAGE ID", "Id", lambda row: row.image.id),
    Column[Row]("DIGEST", "Digest", lambda row: row.image.digest),
    Column[Row]("CREATED AT", "CreatedAt", lambda row: time.ctime(row.image.created)),
    Column[Row]("READ ONLY", "ReadOnly", lambda row: str(row.image.read_only).lower()),
]


def _document(row: Row) -> dict[str, object]:
    image = row.image
    return {
        "Id": image.id,
        "Names": list(image.names),
        "RepoDigests": list(image.repo_digests),
        "Digest": image.digest,
        "Repository": row.repository,
        "Tag": row.tag,
        "Created": int(image.created),
        "Size": image.size,
        "Dangling": image.dangling,
        "ReadOnly": image.read_only,
        "History": list(image.history),
    }


def _wanted(row: Row, name: str, filters: tuple[str, ...]) -> bool:
    from fnmatch import fnmatchcase

    if name and not _matches(row, name):
        return False
    for text in filters:
        key, _, value = text.partition("=")
        if key == "dangling" and row.image.dangling != (value != "false"):
            return False
        if key == "readonly" and row.image.read_only != (value != "false"):
            return False
        if key == "reference" and not (
            _matches(row, value) or fnmatchcase(f"{row.repository}:{row.tag}", value)
        ):
            return False
        if key not in ("dangling", "readonly", "reference"):
            raise click.UsageError(f"--filter {text}: there are dangling, readonly and reference")
    return True


def _matches(row: Row, name: str) -> bool:
    """A pattern matches a whole path or, as podman has it, the end of one at a slash."""
    from fnmatch import fnmatchcase

    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, "*"
    if not fnmatchcase(row.tag, tag):
        return False
    return fnmatchcase(row.repository, repository) or fnmatchcase(row.repository, f"*/{repository}")


def _sort(rows: list[Row], key: str) -> None:
    if key == "created":
        rows.sort(key=lambda row: -row.image.created)
    elif key == "size":
        rows.sort(key=lambda row: row.image.size)
    elif key == "id":
        rows.sort(key=lambda row: row.image.id)
    elif key == "tag":
        rows.sort(key=lambda row: row.tag)
    else:
        rows.sort(key=lambda row: (row.repository, row.tag))

"""trilby image list."""

from __future__ import annotations

import time

import click

from trilby.cli.host import host_option
from trilby.cli.image.list_filter import Row, fits, fits_name, split, whole
from trilby.cli.names import image_names
from trilby.cli.output import Column, human_age, human_size, print_rows, short_id
from trilby.cli.settings import Settings


@click.command("list", epilog="Example: trilby image list --format '{{.Repository}}:{{.Tag}}'")
@click.argument("name", metavar="[NAME]", default="", shell_complete=image_names)
@click.option("-a", "--all", "everything", is_flag=True, help="Accepted for podman's sake.")
@click.option(
    "-f", "--filter", "filters", metavar="KEY=VALUE", multiple=True,
    help="dangling=BOOL, readonly=BOOL, reference=PATTERN, id=ID, digest=DIGEST, before=IMAGE,"
    " since=IMAGE, until=AGE, label=KEY[=VALUE]; all have to fit.",
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

    A daemon that is asked by --host does not tell when an image was made, nor its labels.
    """
    rows_wanted, images_wanted = split(filters)
    if host:
        from trilby.cli.image.remote import list_images

        if images_wanted:
            raise click.UsageError(f"--filter {images_wanted[0]}: a daemon does not tell it")
        found = list_images(host)
    else:
        with settings.images() as images:
            found = images.list(images_wanted)
            rows_wanted = [whole(each, images) for each in rows_wanted]
    rows = [Row(image, each) for image in found for each in image.names or ("",)]
    rows = [
        row
        for row in rows
        if (not name or fits_name(row, name)) and all(fits(row, each) for each in rows_wanted)
    ]
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

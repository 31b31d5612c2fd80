"""trilby image import."""

from __future__ import annotations

import click

from trilby.cli.settings import Settings


@click.command(
    "import", epilog="Example: trilby image import -c 'CMD [\"sh\"]' ./rootfs busybox:demo"
)
@click.argument("source", metavar="DIR|TAR|-")
@click.argument("name", metavar="[NAME]", default="")
@click.option(
    "-c",
    "--change",
    "changes",
    metavar="INSTRUCTION",
    multiple=True,
    help="CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR with its value.",
)
@click.option("-m", "--message", default="", help="Comment of the image's history.")
@click.option(
    "-q", "--quiet", is_flag=True, help="Accepted for podman's sake; nothing is told anyway."
)
@click.pass_obj
def command(
    settings: Settings, source: str, name: str, changes: tuple[str, ...], message: str, quiet: bool
) -> None:
    """Make an image of one layer from a root file system, and print its id.

    The root file system is a directory, a tar file (compressed or not), or a tar stream on stdin.
    """
    with settings.images(recover=True) as images:
        if source != "-":
            click.echo(images.import_rootfs(source, name, changes=changes, message=message))
            return
        import shutil
        import sys
        import tempfile

        with tempfile.NamedTemporaryFile(suffix=".tar") as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool)
            spool.flush()
            click.echo(images.import_rootfs(spool.name, name, changes=changes, message=message))

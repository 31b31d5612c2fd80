"""trilby logout."""

from __future__ import annotations

import click


@click.command("logout", epilog="Example: trilby logout quay.io")
@click.argument("registry", metavar="[REGISTRY]", default="")
@click.option("-a", "--all", "everything", is_flag=True, help="Every registry.")
@click.option(
    "--authfile", metavar="FILE", default="", envvar="REGISTRY_AUTH_FILE",
    help="auth.json to change instead of the default one (also REGISTRY_AUTH_FILE).",
)  # fmt: skip
def command(registry: str, everything: bool, authfile: str) -> None:
    """Forget the credentials of a registry."""
    from pathlib import Path

    from trilby.image.login import logout

    if bool(registry) == everything:
        raise click.UsageError("give a registry, or --all")
    logout(registry, authfile=Path(authfile) if authfile else None, everything=everything)
    click.echo(f"Removed login credentials for {registry or 'all registries'}")

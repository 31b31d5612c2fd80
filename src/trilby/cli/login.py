"""trilby login."""

from __future__ import annotations

import sys

import click


@click.command("login", epilog="Example: echo $TOKEN | trilby login -u me --password-stdin quay.io")
@click.argument("registry")
@click.option("-u", "--username", default="", help="User name.")
@click.option("-p", "--password", default="", help="Password; better --password-stdin.")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@click.option(
    "--authfile", metavar="FILE", default="", envvar="REGISTRY_AUTH_FILE",
    help="auth.json to write instead of the default one (also REGISTRY_AUTH_FILE).",
)  # fmt: skip
@click.option("--cert-dir", metavar="DIR", default="", help="Certificates instead of certs.d.")
@click.option(
    "--tls-verify/--no-tls-verify", default=None, help="Require HTTPS and verify certificates."
)
@click.option("--get-login", is_flag=True, help="Only tell who is logged in.")
def command(
    registry: str,
    username: str,
    password: str,
    password_stdin: bool,
    authfile: str,
    cert_dir: str,
    tls_verify: bool | None,
    get_login: bool,
) -> None:
    """Try credentials against a registry and keep them if it accepts them."""
    from trilby.cli.running import run_async
    from trilby.image.context import ImageContext
    from trilby.image.login import login

    if get_login:
        _show_login(registry, authfile)
        return
    if password and password_stdin:
        raise click.UsageError("--password and --password-stdin exclude each other")
    if not username:
        username = str(click.prompt("Username", err=True))
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif not password:
        password = str(click.prompt("Password", hide_input=True, err=True))
    context = ImageContext(
        auth_file=authfile or None, cert_dir=cert_dir or None, tls_verify=tls_verify
    )
    stored = run_async(login(registry, username, password, context))
    click.echo(f"Login Succeeded! (stored in {stored.stored_in})")


def _show_login(registry: str, authfile: str) -> None:
    from trilby.errors import NotFound
    from trilby.image.auth import get_credentials
    from trilby.image.login import split_key

    found = get_credentials(split_key(registry)[1], authfile=authfile or None)
    if found is None:
        raise NotFound(f"not logged in to {registry}", hint=f"trilby login {registry}")
    click.echo(found.username)

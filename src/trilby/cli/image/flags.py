"""Flags that image commands share, with podman's and skopeo's names, and what they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypedDict, TypeVar

import click

if TYPE_CHECKING:
    from trilby.image.context import ImageContext
    from trilby.oci.descriptor import Platform

P = ParamSpec("P")
R = TypeVar("R")


class RegistryFlags(TypedDict):
    """The values of :func:`registry_flags`, as click passes them."""

    tls_verify: bool | None
    creds: str
    authfile: str
    cert_dir: str
    retry: int
    retry_delay: float
    signature_policy: str


class PlatformFlags(TypedDict):
    """The values of :func:`platform_flags`."""

    platform: str
    os: str
    arch: str
    variant: str


def registry_flags(command: Callable[P, R]) -> Callable[P, R]:
    """How registries are talked to."""
    options = [
        click.option(
            "--tls-verify/--no-tls-verify",
            default=None,
            help="Require HTTPS and verify certificates; also --tls-verify=false "
            "[default: as registries.conf says].",
        ),
        click.option("--creds", metavar="USER[:PASSWORD]", default="", help="Credentials to use."),
        click.option(
            "--authfile",
            metavar="FILE",
            default="",
            envvar="REGISTRY_AUTH_FILE",
            help="auth.json to use instead of the default ones (also REGISTRY_AUTH_FILE).",
        ),
        click.option(
            "--cert-dir", metavar="DIR", default="", help="Certificates instead of certs.d."
        ),
        click.option(
            "--retry", metavar="COUNT", default=3, show_default=True, help="Retries of a request."
        ),
        click.option(
            "--retry-delay",
            metavar="SECONDS",
            default=1.0,
            show_default=True,
            help="Delay before the first retry; doubled for each further one.",
        ),
        click.option(
            "--signature-policy",
            metavar="FILE",
            default="",
            help="policy.json to use.",
            hidden=True,
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def platform_flags(command: Callable[P, R]) -> Callable[P, R]:
    """Which instance of a multi-platform image is meant."""
    options = [
        click.option(
            "--platform", metavar="OS/ARCH[/VARIANT]", default="", help="Platform of the image."
        ),
        click.option("--os", metavar="OS", default="", help="Operating system of the image."),
        click.option("--arch", metavar="ARCH", default="", help="Architecture of the image."),
        click.option(
            "--variant", metavar="VARIANT", default="", help="Variant of the architecture."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def refuse_local_flags(flags: RegistryFlags) -> None:
    """With a daemon, how registries are talked to is the daemon's business.

    Raises:
        click.UsageError: for a flag that it cannot be told.
    """
    given = {
        "--tls-verify": flags["tls_verify"] is not None,
        "--cert-dir": bool(flags["cert_dir"]),
        "--signature-policy": bool(flags["signature_policy"]),
    }
    for name, there in given.items():
        if there:
            raise click.UsageError(f"{name} cannot be combined with --host: the daemon decides it")


def image_context(
    registry: RegistryFlags | None = None, platform: PlatformFlags | None = None
) -> ImageContext:
    """The library's settings for the flags given.

    Raises:
        click.UsageError: for a malformed --creds or --platform.
    """
    from trilby.image.context import ImageContext
    from trilby.image.registry import quick_start

    chosen = _platform(platform) if platform else None
    if registry is None:
        return ImageContext(platform=chosen)
    quick_start.allow()
    return ImageContext(
        auth_file=registry["authfile"] or None,
        credentials=credentials(registry["creds"]),
        tls_verify=registry["tls_verify"],
        cert_dir=registry["cert_dir"] or None,
        policy_path=registry["signature_policy"] or None,
        retries=registry["retry"],
        retry_delay=registry["retry_delay"],
        platform=chosen,
    )


def credentials(text: str) -> tuple[str, str] | None:
    """USER:PASSWORD, with the password asked for if it is left out."""
    if not text:
        return None
    user, colon, password = text.partition(":")
    if not user:
        raise click.UsageError("--creds: a user name is missing; write USER:PASSWORD")
    if not colon:
        password = str(click.prompt("Password", hide_input=True, err=True))
    return user, password


def _platform(flags: PlatformFlags) -> Platform | None:
    from trilby.oci import platform

    single = (flags["os"], flags["arch"], flags["variant"])
    if flags["platform"]:
        if any(single):
            raise click.UsageError("--platform cannot be combined with --os, --arch or --variant")
        return platform.parse(flags["platform"])
    if not any(single):
        return None
    host = platform.host_platform()
    text = f"{flags['os'] or host.os}/{flags['arch'] or host.architecture}"
    return platform.parse(f"{text}/{flags['variant']}" if flags["variant"] else text)

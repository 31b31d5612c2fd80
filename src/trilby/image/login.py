"""Logging in to a registry and out: credentials are tried against it before they are stored."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from trilby.image import auth
from trilby.image.auth import Credentials
from trilby.image.certs import find_certificates
from trilby.image.context import ImageContext
from trilby.image.errors import InvalidReference
from trilby.image.reference import make
from trilby.image.registries import load_registries

if TYPE_CHECKING:
    import os

    from trilby.image.registry.settings import Clock


class LoggedIn(msgspec.Struct, frozen=True):
    """What login() did: the key it stored under and where (a path or a helper's name)."""

    key: str
    stored_in: str


async def login(
    registry: str,
    username: str,
    password: str,
    context: ImageContext | None = None,
    *,
    identity_token: str = "",
    check: bool = True,
    clock: Clock | None = None,
) -> LoggedIn:
    """Try user and password (or the token) at ``host[:port][/namespace]`` and store them.

    ``context`` gives auth_file, tls_verify and cert_dir. Raises RegistryUnauthorized if the
    registry refuses them (then nothing is stored), RegistryUnavailable, CredentialsError.
    """
    context = context or ImageContext()
    credentials = Credentials(username, password, identity_token)
    host, key = split_key(registry)
    registries = await asyncio.to_thread(
        load_registries, context.registries_conf, context.registries_conf_dir
    )
    if check:
        from trilby.image.registry.client import RegistryClient
        from trilby.image.registry.connect import is_insecure, settings_of
        from trilby.image.registry.errors import RegistryUnauthorized

        async with RegistryClient(
            host,
            credentials=credentials,
            insecure=is_insecure(context, registries.is_insecure(host)),
            tls=find_certificates(host, cert_dir=context.cert_dir),
            settings=settings_of(context),
            clock=clock,
        ) as client:
            try:
                await client.ping()
            except RegistryUnauthorized as error:
                raise RegistryUnauthorized(
                    f"logging in to {host} as {credentials.username or 'token'}: "
                    f"invalid username/password: {error.message}",
                    hint="nothing was stored; check user name and password",
                    status=error.status,
                ) from error
    stored = await asyncio.to_thread(
        auth.store_credentials,
        key,
        credentials,
        authfile=context.auth_file,
        helpers=registries.credential_helpers,
    )
    return LoggedIn(key, stored)


def logout(
    registry: str,
    context: ImageContext | None = None,
    *,
    authfile: str | os.PathLike[str] | None = None,
    everything: bool = False,
) -> list[str]:
    """Forget the credentials of one registry, or all; returns the keys that are gone.

    ``authfile`` wins over the context's. Raises CredentialsNotFound, CredentialsError.
    """
    context = context or ImageContext()
    authfile = authfile or context.auth_file
    helpers = load_registries(
        context.registries_conf, context.registries_conf_dir
    ).credential_helpers
    if everything:
        return auth.remove_all_credentials(authfile=authfile, helpers=helpers)
    key = split_key(registry)[1]
    auth.remove_credentials(key, authfile=authfile, helpers=helpers)
    return [key]


def split_key(registry: str) -> tuple[str, str]:
    """The host to ask and the key to store under. Raises InvalidReference.

    Accepts what people paste: a scheme, a trailing slash.
    """
    text = registry.strip()
    for scheme in ("https://", "http://", "docker://"):
        text = text.removeprefix(scheme)
    host, _, path = text.rstrip("/").partition("/")
    if path in ("v1", "v2"):
        path = ""
    if not host or "@" in text:
        raise InvalidReference(f"invalid registry {registry!r}: write host[:port][/namespace]")
    if host == "index.docker.io":
        host = "docker.io"
    # A name is more than a host: "x" stands for the repository that is not said.
    reference = make(host, path or "x", text=registry)
    return reference.domain, reference.name if path else reference.domain

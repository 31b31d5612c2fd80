"""Clients for the places in registries.conf, with credentials, certificates and settings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from trilby.image.auth import Credentials, get_credentials
from trilby.image.certs import find_certificates
from trilby.image.registry.client import RegistryClient
from trilby.image.registry.settings import ClientSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trilby.image.context import ImageContext
    from trilby.image.reference import Reference
    from trilby.image.registry.settings import Clock

HELPERS = ("containers-auth.json",)


def settings_of(context: ImageContext) -> ClientSettings:
    """The client's settings that a caller's context asks for."""
    defaults = ClientSettings()
    return ClientSettings(
        attempts=context.retries + 1,
        connect_attempts=min(context.retries + 1, defaults.connect_attempts),
        backoff_base=context.retry_delay,
        connections=max(2 * context.parallel, 2),
        user_agent=context.user_agent or defaults.user_agent,
        proxy=context.proxy,
    )


def is_insecure(context: ImageContext, configured: bool) -> bool:
    """What registries.conf says, unless the caller says otherwise."""
    return configured if context.tls_verify is None else not context.tls_verify


async def connect(
    reference: Reference,
    context: ImageContext,
    *,
    insecure: bool = False,
    own: bool = True,
    helpers: Sequence[str] = HELPERS,
    settings: ClientSettings | None = None,
    clock: Clock | None = None,
) -> RegistryClient:
    """A client for the registry of ``reference``; nothing is sent yet.

    ``insecure``: what registries.conf says of it. ``own`` False: the registry is another one than
    the caller named (a mirror), and credentials given for that one are not shown to it.
    Raises CredentialsError, ConfigError.
    """
    credentials, bearer = await _credentials(reference, context, own, helpers)
    return RegistryClient(
        reference.domain,
        credentials=credentials,
        bearer=bearer,
        insecure=is_insecure(context, insecure),
        tls=find_certificates(reference.domain, cert_dir=context.cert_dir),
        settings=settings or settings_of(context),
        clock=clock,
    )


async def _credentials(
    reference: Reference, context: ImageContext, own: bool, helpers: Sequence[str]
) -> tuple[Credentials | None, str]:
    if own:
        if context.registry_token:
            return None, context.registry_token
        if context.identity_token:
            return Credentials(identity_token=context.identity_token), ""
        if context.credentials is not None:
            username, password = context.credentials
            return (Credentials(username, password) if username or password else None), ""
    # In a thread: helpers are programs.
    found = await asyncio.to_thread(
        get_credentials, reference.name, authfile=context.auth_file, helpers=helpers
    )
    return found, ""

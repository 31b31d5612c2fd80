"""registries.conf: where a name's image really is, and which registries may be used.

containers-registries.conf(5), version 2; version 1 is converted. Files are read by
trilby.image.registries_load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trilby.image.errors import ConfigError, InvalidReference, RegistryBlocked
from trilby.image.reference import Reference, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

SHORT_NAME_MODES = ("enforcing", "permissive", "disabled")
# The name by which the auth.json files themselves are meant among credential helpers.
AUTH_FILE_HELPER = "containers-auth.json"


class Endpoint(msgspec.Struct, frozen=True):
    """A place to try for an image: ``reference`` is the image's name there."""

    reference: Reference
    insecure: bool = False
    is_mirror: bool = False


class Mirror(msgspec.Struct, frozen=True):
    """``pull_from_mirror``: ``all``, ``digest-only`` or ``tag-only``."""

    location: str
    insecure: bool = False
    pull_from_mirror: str = "all"


class Registry(msgspec.Struct, frozen=True):
    """One ``[[registry]]`` table; ``where`` is the file (and line) that it stands in."""

    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirror_by_digest_only: bool = False
    mirrors: tuple[Mirror, ...] = ()
    where: str = ""

    def usable_mirrors(self, by_digest: bool) -> list[Mirror]:
        """The mirrors that may be asked for an image named by digest, or by tag."""
        if self.mirror_by_digest_only and not by_digest:
            return []
        excluded = "tag-only" if by_digest else "digest-only"
        return [mirror for mirror in self.mirrors if mirror.pull_from_mirror != excluded]


class Registries(msgspec.Struct, frozen=True):
    """What all registries.conf files together say.

    ``aliases`` are short names with what they mean, and ``alias_origins`` the files that say so.
    ``origin`` is the main file; ``warnings`` are ``path:line: text``. ``insecure_hosts``, host or
    host:port, are insecure whatever the files say of them.
    """

    registries: tuple[Registry, ...] = ()
    unqualified_search_registries: tuple[str, ...] = ()
    search_origin: str = ""
    short_name_mode: str = "permissive"
    credential_helpers: tuple[str, ...] = (AUTH_FILE_HELPER,)
    aliases: dict[str, str] = {}
    alias_origins: dict[str, str] = {}
    origin: str = ""
    warnings: tuple[str, ...] = ()
    insecure_hosts: tuple[str, ...] = ()

    def find(self, reference: Reference) -> Registry | None:
        """The table with the longest matching prefix, if any."""
        return self._longest(str(reference))

    def resolve(self, reference: Reference) -> list[Endpoint]:
        """Where to read an image from, in the order to try: mirrors, then the registry.

        Raises RegistryBlocked, and ConfigError when a location makes no image name.
        """
        registry = self._allowed(reference)
        if registry is None:
            return [self._endpoint(reference)]
        mirrors = registry.usable_mirrors(by_digest=reference.digest is not None)
        endpoints = [
            self._endpoint(rewrite(reference, registry, mirror.location), mirror.insecure, True)
            for mirror in mirrors
        ]
        primary = rewrite(reference, registry, registry.location)
        return [*endpoints, self._endpoint(primary, registry.insecure)]

    def destination(self, reference: Reference) -> Endpoint:
        """Where to write, delete or list: the name as it is. Raises RegistryBlocked."""
        registry = self._allowed(reference)
        return self._endpoint(reference, registry is not None and registry.insecure)

    def is_insecure(self, host: str) -> bool:
        """Whether unverified TLS and plain HTTP are allowed for ``host[:port]`` as a whole."""
        registry = self._longest(host)
        insecure = registry is not None and registry.insecure
        return insecure or host in self.insecure_hosts

    def _endpoint(
        self, reference: Reference, insecure: bool = False, is_mirror: bool = False
    ) -> Endpoint:
        return Endpoint(reference, insecure or reference.domain in self.insecure_hosts, is_mirror)

    def _longest(self, text: str) -> Registry | None:
        best: Registry | None = None
        longest = (0, 0)
        for registry in self.registries:
            covered = matching_prefix(text, registry.prefix)
            # All wildcards cover the whole host, so among them the longer one is more specific.
            rank = (covered, len(registry.prefix))
            if covered and rank > longest:
                best, longest = registry, rank
        return best

    def _allowed(self, reference: Reference) -> Registry | None:
        registry = self.find(reference)
        if registry is not None and registry.blocked:
            raise RegistryBlocked(
                f"{reference}: registry {registry.prefix} is blocked in {registry.where}"
            )
        return registry


def matching_prefix(text: str, prefix: str) -> int:
    """How many characters of an image name a prefix covers, 0 if it does not match.

    ``*.example.com`` matches every subdomain and not example.com itself. As with other tools, a
    prefix that is a host also matches that host with any port.
    """
    if prefix.startswith("*."):
        host = text.partition("/")[0].partition("@")[0].partition(":")[0]
        return len(host) if host.endswith(prefix[1:]) and len(host) > len(prefix) - 1 else 0
    if not text.startswith(prefix):
        return 0
    return len(prefix) if text[len(prefix) :][:1] in ("", "/", ":", "@") else 0


def rewrite(reference: Reference, registry: Registry, location: str) -> Reference:
    """The name with the matched prefix replaced by a location."""
    if not location:
        return reference
    text = str(reference)
    changed = location + text[matching_prefix(text, registry.prefix) :]
    try:
        return parse(changed)
    except InvalidReference as error:
        raise ConfigError(
            f"{registry.where}: rewriting {reference} for location {location!r}: {error.message}"
        ) from error


def load_registries(
    path: str | None = None,
    directory: str | None = None,
    *,
    env: Mapping[str, str] | None = None,
) -> Registries:
    """Read registries.conf and its drop-ins, and log their warnings.

    ``path`` (or CONTAINERS_REGISTRIES_CONF) is read instead of the user's or system's main file,
    ``directory`` instead of the drop-in directories. Raises ConfigError with file and line.
    """
    # Most commands on local images never need the TOML reader.
    from trilby.image.config_document import log_once
    from trilby.image.registries_load import load

    loaded = load(path, directory, env)
    log_once(loaded.warnings)
    return loaded

"""Short names: images named without a registry.

An alias says what a name means; without one the search registries are tried
(containers-registries.conf(5), "short-name-mode" and "aliases"). What a person chose is kept in a
cache of aliases, per user.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import msgspec

from trilby.image.config_paths import xdg_cache
from trilby.image.errors import (
    ConfigError,
    InvalidReference,
    ShortNameAmbiguous,
    ShortNameUnresolved,
)
from trilby.image.reference import (
    DEFAULT_DOMAIN,
    Reference,
    has_domain,
    is_image_id,
    make,
    parse,
    split_suffixes,
)
from trilby.image.registries import SHORT_NAME_MODES, Registries

_SYSTEM_CACHE = "/var/cache/containers/short-name-aliases.conf"

# Lets a person choose between several full names; raises to give up.
Ask = Callable[[str, Sequence[Reference]], Reference]


class Resolved(msgspec.Struct, frozen=True):
    """Full names that a short one may mean, in the order to try them.

    ``explanation`` is for people. After a successful pull of a name with ``record`` set, call
    record_alias().
    """

    candidates: tuple[Reference, ...]
    explanation: str = ""
    record: bool = False


def resolve(
    text: str,
    registries: Registries,
    *,
    mode: str | None = None,
    ask: Ask | None = None,
    cache: str | None = None,
) -> Resolved:
    """What a name means; a name with a registry means itself. A missing tag becomes ``latest``.

    ``mode`` overrides short-name-mode, ``ask`` is there when there is a terminal, ``cache`` is the
    file of recorded aliases (default: the user's). Blocking. Raises InvalidReference, ConfigError,
    ShortNameUnresolved, ShortNameAmbiguous.
    """
    mode = mode or registries.short_name_mode
    if mode not in SHORT_NAME_MODES:
        raise ConfigError(f"short-name-mode is {mode!r}, not one of {', '.join(SHORT_NAME_MODES)}")
    name, _, _ = split_suffixes(text)
    if has_domain(name) or is_image_id(text):
        return Resolved((parse(text).with_default_tag(),))
    _check(text, name)
    known = _alias(name, registries, cache)
    if known is not None:
        target, origin = known
        return Resolved(
            (_with_suffixes(parse(target), text),),
            f'Resolved "{name}" as an alias ({origin})',
        )
    return _searched(text, name, registries, mode, ask)


def local_candidates(
    text: str, registries: Registries, *, cache: str | None = None
) -> list[Reference]:
    """Full names under which an image of this name may be stored here, most likely first."""
    name, _, _ = split_suffixes(text)
    if has_domain(name) or is_image_id(text):
        return [parse(text).with_default_tag()]
    _check(text, name)
    known = _alias(name, registries, cache)
    found = [] if known is None else [_with_suffixes(parse(known[0]), text)]
    # An image that was built here has no registry, and is called localhost/....
    hosts = ("localhost", *registries.unqualified_search_registries, DEFAULT_DOMAIN)
    found += [_at(host, text) for host in hosts]
    return list(dict.fromkeys(found))


def default_cache(env: Mapping[str, str] | None = None) -> str:
    """The file of aliases that were recorded for this user."""
    return _SYSTEM_CACHE if os.geteuid() == 0 else xdg_cache("short-name-aliases.conf", env)


def record_alias(text: str, chosen: Reference, *, cache: str | None = None) -> None:
    """Remember what a short name turned out to mean. Raises ConfigError, OSError."""
    from trilby.system.files import atomic_write
    from trilby.system.locks import RecordLock

    name, _, _ = split_suffixes(text)
    path = cache or default_cache()
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    # The same lock file as other tools use.
    with RecordLock(f"{path}.lock").exclusive():
        aliases = _recorded(path)
        if aliases.get(name) != chosen.name:
            aliases[name] = chosen.name
            lines = ["[aliases]\n"]
            lines += [f'  "{key}" = "{value}"\n' for key, value in sorted(aliases.items())]
            atomic_write(path, "".join(lines).encode(), mode=0o644)


def _searched(text: str, name: str, registries: Registries, mode: str, ask: Ask | None) -> Resolved:
    hosts = registries.unqualified_search_registries
    candidates = tuple(dict.fromkeys(_at(host, text) for host in hosts))
    origin = registries.search_origin or registries.origin
    if not candidates:
        raise ShortNameUnresolved(
            f'short-name "{text}" did not resolve to an alias and no unqualified-search registries'
            f' are defined in "{origin}"',
            hint=f"write the registry too, like docker.io/library/{name}",
        )
    explanation = f'Resolving "{name}" using unqualified-search registries ({origin})'
    if mode == "disabled" or len(candidates) == 1:
        return Resolved(candidates, explanation)
    if ask is not None:
        chosen = ask(text, candidates)
        return Resolved((chosen,), explanation, record=True)
    if mode == "enforcing":
        names = ", ".join(map(str, candidates))
        raise ShortNameAmbiguous(
            f'short-name resolution of "{text}" is enforced but cannot prompt without a TTY',
            hint=f"write one of the full names: {names}",
        )
    return Resolved(candidates, explanation)


def _alias(name: str, registries: Registries, cache: str | None) -> tuple[str, str] | None:
    """What an alias says, and in which file; the user's recorded ones win."""
    path = cache or default_cache()
    recorded = _recorded(path)
    if name in recorded:
        # An empty value is how a person takes an alias back.
        return (recorded[name], path) if recorded[name] else None
    if name in registries.aliases:
        return registries.aliases[name], registries.alias_origins.get(name, registries.origin)
    return None


def _recorded(path: str) -> dict[str, str]:
    if not os.path.exists(path):
        return {}
    from trilby.image.registries_load import load_toml_file, read_aliases

    return read_aliases(load_toml_file(path))


def _check(text: str, name: str) -> None:
    try:
        parse(name)
    except InvalidReference:
        # Once more with all of what was typed, for the message.
        parse(text)
        raise


def _at(host: str, text: str) -> Reference:
    name, tag, digest = split_suffixes(text)
    full = parse(f"{host}/{name}")
    return make(full.domain, full.path, tag, digest).with_default_tag()


def _with_suffixes(target: Reference, text: str) -> Reference:
    _, tag, digest = split_suffixes(text)
    return Reference(target.domain, target.path, tag, digest).with_default_tag()

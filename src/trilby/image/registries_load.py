"""Reading registries.conf, registries.conf.d and version 1 of the format."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trilby.image.config_document import Section, load_toml
from trilby.image.config_paths import environment, user_config
from trilby.image.errors import ConfigError, InvalidReference
from trilby.image.reference import has_domain, parse, split_suffixes
from trilby.image.registries import SHORT_NAME_MODES, Mirror, Registries, Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM_FILE = "/etc/containers/registries.conf"
SYSTEM_DIRECTORY = "/etc/containers/registries.conf.d"
# Where a distribution's own defaults go, when /etc is for the administrator alone.
VENDOR_FILE = "/usr/share/containers/registries.conf"
VENDOR_DIRECTORY = "/usr/share/containers/registries.conf.d"
_PULL_FROM_MIRROR = ("all", "digest-only", "tag-only")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_V1_KINDS = ("search", "insecure", "block")


def load(path: str | None, directory: str | None, env: Mapping[str, str] | None) -> Registries:
    """Find and read the files; see registries.load_registries()."""
    main, drop_ins = _files(path, directory, env)
    merged = Registries(origin=main or SYSTEM_FILE)
    if main is not None:
        merged = _merge(merged, load_toml_file(main), drop_in=False)
    for drop_in in drop_ins:
        merged = _merge(merged, load_toml_file(drop_in), drop_in=True)
    return replace(merged, aliases={name: value for name, value in merged.aliases.items() if value})


def load_toml_file(path: str) -> Section:
    """Read one of the files, with an ordinary error where it cannot be read."""
    try:
        return load_toml(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read it: {error.strerror}") from error


def _files(
    path: str | None, directory: str | None, env: Mapping[str, str] | None
) -> tuple[str | None, list[str]]:
    """The main file and the drop-ins, in reading order."""
    variables = environment(env)
    own_directory = user_config("registries.conf.d", env)
    directories = [SYSTEM_DIRECTORY, own_directory]
    main: str | None = path or variables.get("CONTAINERS_REGISTRIES_CONF")
    main = main or variables.get("REGISTRIES_CONFIG_PATH") or None
    if main is None:
        own = user_config("registries.conf", env)
        candidates = (own, SYSTEM_FILE, VENDOR_FILE)
        main = next((each for each in candidates if os.path.exists(each)), None)
        if main == own:
            return main, drop_in_files(directory or own_directory)
    if directory is not None:
        return main, drop_in_files(directory)
    drop_ins = [file for each in directories for file in drop_in_files(each)]
    masked = {os.path.basename(file) for file in drop_in_files(SYSTEM_DIRECTORY)}
    vendor = [
        file for file in drop_in_files(VENDOR_DIRECTORY) if os.path.basename(file) not in masked
    ]
    return main, vendor + drop_ins


def drop_in_files(directory: str, suffix: str = ".conf") -> list[str]:
    """The files of a drop-in directory, sorted by name; none if there is no directory."""
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(suffix))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigError(f"{directory}: cannot read it: {error.strerror}") from error
    paths = [os.path.join(directory, name) for name in names]
    return [path for path in paths if not os.path.isdir(path)]


def _merge(base: Registries, section: Section, *, drop_in: bool) -> Registries:
    """What a later file says wins: per key, per prefix, and per alias."""
    parsed = parse_section(section, drop_in=drop_in)
    tables = {registry.prefix: registry for registry in (*base.registries, *parsed.registries)}
    defined = section.__contains__
    searches = parsed if parsed.search_origin else base
    return Registries(
        registries=tuple(tables.values()),
        unqualified_search_registries=searches.unqualified_search_registries,
        search_origin=searches.search_origin,
        short_name_mode=(parsed if defined("short-name-mode") else base).short_name_mode,
        credential_helpers=(parsed if defined("credential-helpers") else base).credential_helpers,
        aliases=base.aliases | parsed.aliases,
        alias_origins=base.alias_origins | dict.fromkeys(parsed.aliases, section.path),
        origin=base.origin,
        warnings=base.warnings + parsed.warnings,
    )


def parse_section(section: Section, *, drop_in: bool = False) -> Registries:
    """What one file says; aliases with an empty value still stand, to delete earlier ones."""
    warnings: list[str] = []
    tables = [_registry(table, warnings) for table in section.sections("registry")]
    search = _search(section, "unqualified-search-registries")
    mode = section.string("short-name-mode", "permissive")
    if mode not in SHORT_NAME_MODES:
        raise section.error(
            f"short-name-mode is {mode!r}", "short-name-mode", hint=_one_of(SHORT_NAME_MODES)
        )
    helpers = section.strings("credential-helpers")
    section.string("additional-layer-store-auth-helper")
    old = _version_1(section, warnings, drop_in)
    parsed = Registries(
        registries=tuple(tables),
        unqualified_search_registries=search or (),
        search_origin="" if search is None else section.path,
        short_name_mode=mode,
        aliases=read_aliases(section),
        warnings=tuple(warnings + section.unknown()),
    )
    if helpers is not None:
        parsed = replace(parsed, credential_helpers=helpers)
    if old is not None:
        if tables or search is not None or parsed.aliases:
            raise section.error(
                "mixing sysregistry v1 and v2 is not supported",
                "registries",
                *_first(section, "registries"),
                hint="remove the [registries.*] tables",
            )
        parsed = replace(old, search_origin=section.path, warnings=parsed.warnings)
    _check_consistency(parsed.registries)
    return parsed


def _registry(table: Section, warnings: list[str]) -> Registry:
    location = _location(table, "location")
    prefix = _location(table, "prefix") or location
    if not prefix:
        raise table.error("a registry needs a location or a prefix")
    if prefix.startswith("*."):
        if any(char in prefix for char in "/@:"):
            raise table.error(
                f"invalid prefix {prefix!r}", "prefix", hint="a wildcard is like *.example.com"
            )
    elif not location:
        raise table.error(
            "location is unset", hint="only a prefix like *.example.com needs no location"
        )
    by_digest_only = table.boolean("mirror-by-digest-only")
    if "pull-from-mirror" in table:
        raise table.error("pull-from-mirror belongs into [[registry.mirror]]", "pull-from-mirror")
    registry = Registry(
        prefix=prefix,
        location=location,
        insecure=table.boolean("insecure"),
        blocked=table.boolean("blocked"),
        mirror_by_digest_only=by_digest_only,
        mirrors=tuple(
            _mirror(mirror, by_digest_only, warnings) for mirror in table.sections("mirror")
        ),
        where=table.where().rstrip(":"),
    )
    warnings += table.unknown()
    return registry


def _mirror(table: Section, by_digest_only: bool, warnings: list[str]) -> Mirror:
    location = _location(table, "location")
    if not location:
        raise table.error("a mirror needs a location")
    usage = table.string("pull-from-mirror")
    if usage and by_digest_only:
        raise table.error(
            "pull-from-mirror cannot be set together with mirror-by-digest-only",
            "pull-from-mirror",
        )
    if usage and usage not in _PULL_FROM_MIRROR:
        raise table.error(
            f"pull-from-mirror is {usage!r}", "pull-from-mirror", hint=_one_of(_PULL_FROM_MIRROR)
        )
    mirror = Mirror(location, table.boolean("insecure"), usage or "all")
    warnings += table.unknown()
    return mirror


def _location(table: Section, name: str) -> str:
    text = table.string(name)
    if "://" in text:
        raise table.error(f"{name} {text!r} must not start with a scheme", name)
    return text.rstrip("/")


def _search(section: Section, name: str) -> tuple[str, ...] | None:
    hosts = section.strings(name)
    for index, host in enumerate(hosts or ()):
        if not _DOMAIN.fullmatch(host.rstrip("/")):
            raise section.error(f"{host!r} is not a registry's host", name, index)
    return None if hosts is None else tuple(host.rstrip("/") for host in hosts)


def read_aliases(section: Section) -> dict[str, str]:
    """The table of aliases of a file, checked; raises ConfigError."""
    aliases = section.string_map("aliases")
    for name, value in aliases.items():
        problem = alias_problem(name, value)
        if problem:
            raise section.error(f"alias {name!r}: {problem}", "aliases", name)
    return aliases


def alias_problem(name: str, value: str) -> str:
    """Why this cannot be an alias, or nothing; an empty value deletes one."""
    try:
        bare, tag, digest = split_suffixes(name)
        if tag or digest:
            return "a short name must have no tag or digest"
        if has_domain(bare):
            return "a short name must have no registry"
        parse(bare)
        if not value:
            return ""
        target, tag, digest = split_suffixes(value)
        if tag or digest:
            return f"{value!r} must have no tag or digest"
        if not has_domain(target):
            return f"{value!r} must name a registry"
        parse(target)
    except InvalidReference as error:
        return error.message
    return ""


def _version_1(section: Section, warnings: list[str], drop_in: bool) -> Registries | None:
    """The tables [registries.search], .insecure and .block of the old format."""
    old = section.section("registries")
    if old is None:
        return None
    if drop_in:
        raise section.error(
            "drop-in files must be in version 2 of the format",
            "registries",
            *_first(section, "registries"),
        )
    lists: dict[str, tuple[str, ...]] = {}
    for kind in _V1_KINDS:
        table = old.section(kind)
        if table is not None:
            lists[kind] = _search(table, "registries") or ()
            warnings += table.unknown()
    warnings += old.unknown()
    where = section.where("registries", *_first(section, "registries"))
    warnings.append(f"{where} version 1 of registries.conf is deprecated")
    insecure, blocked = lists.get("insecure", ()), lists.get("block", ())
    return Registries(
        registries=tuple(
            Registry(
                prefix=host,
                location=host,
                insecure=host in insecure,
                blocked=host in blocked,
                where=old.where().rstrip(":"),
            )
            for host in dict.fromkeys(insecure + blocked)
        ),
        unqualified_search_registries=lists.get("search", ()),
    )


def _first(section: Section, name: str) -> list[str]:
    """The first member of a table that only its sub-tables make exist; those have a line."""
    table = section.section(name)
    return [] if table is None else list(table.names())[:1]


def _check_consistency(tables: tuple[Registry, ...]) -> None:
    """One registry in several tables must not be two different things."""
    seen: dict[str, Registry] = {}
    for registry in tables:
        if not registry.location:
            continue
        first = seen.setdefault(registry.location, registry)
        for name in ("insecure", "blocked"):
            if getattr(first, name) != getattr(registry, name):
                raise ConfigError(
                    f"{registry.where}: registry {registry.location!r} has another"
                    f" {name!r} setting than at {first.where}"
                )


def _one_of(values: tuple[str, ...]) -> str:
    return f"it must be one of {', '.join(values)}"

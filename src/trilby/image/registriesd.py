"""registries.d: where signatures of images are looked up (containers-registries.d(5))."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from urllib.parse import quote, unquote, urlsplit

import msgspec

from trilby.image.config_document import Section, log_once
from trilby.image.config_paths import user_config, xdg_data
from trilby.image.errors import ConfigError, CorruptImage, UnsupportedImage
from trilby.image.policy_scopes import docker_scopes
from trilby.image.reference import Reference
from trilby.oci.digest import Digest

SYSTEM_DIRECTORY = "/etc/containers/registries.d"
_SYSTEM_STORE = "/var/lib/containers/sigstore"
SIGNATURE_LIMIT = 4 << 20
# More than anybody signs an image; a server that never says 404 must not keep us forever.
SIGNATURES_MAX = 1000

# GET a URL: the body, or None for 404. Raises an ImageError for anything else.
Fetch = Callable[[str], Awaitable[bytes | None]]


class Lookaside(msgspec.Struct, frozen=True):
    """Where one repository's signatures are: base URLs to read and write.

    ``configured`` is False when nothing was said and the URLs are the built-in ones.
    """

    read_url: str = ""
    write_url: str = ""
    use_sigstore_attachments: bool = False
    configured: bool = False


class Namespace(msgspec.Struct, frozen=True):
    """One section of a file; ``where`` is its file and line."""

    lookaside: str = ""
    staging: str = ""
    use_sigstore_attachments: bool | None = None
    where: str = ""


class RegistriesD(msgspec.Struct, frozen=True):
    """What all files of the directory together say; ``default`` is for images without a section."""

    namespaces: dict[str, Namespace] = {}
    default: Namespace | None = None
    built_in: str = ""
    warnings: tuple[str, ...] = ()

    def lookaside(self, reference: Reference) -> Lookaside:
        """What applies to a name: each setting from the most specific section that has it."""
        sections = list(self._sections(reference))
        read = next((each.lookaside for each in sections if each.lookaside), "")
        write = next((each.staging or each.lookaside for each in sections if _writes(each)), "")
        attachments = (each.use_sigstore_attachments for each in sections)
        return Lookaside(
            read_url=read or self.built_in,
            write_url=write or self.built_in,
            use_sigstore_attachments=next((a for a in attachments if a is not None), False),
            configured=bool(read or write),
        )

    def _sections(self, reference: Reference) -> Iterator[Namespace]:
        for scope in docker_scopes(reference):
            if scope in self.namespaces:
                yield self.namespaces[scope]
        if self.default is not None:
            yield self.default


def _writes(section: Namespace) -> bool:
    return bool(section.staging or section.lookaside)


def load_registries_d(
    directory: str | None = None, *, env: Mapping[str, str] | None = None
) -> RegistriesD:
    """Read all *.yaml of the chosen directory, or of the user's or the system's.

    Raises ConfigError with file and line; warnings are logged once.
    """
    from trilby.image.config_yaml import load_yaml
    from trilby.image.registries_load import drop_in_files

    if directory is None:
        own = user_config("registries.d", env)
        directory = own if os.path.isdir(own) else SYSTEM_DIRECTORY
    merged = RegistriesD(built_in=_built_in_store(env))
    for path in drop_in_files(directory, ".yaml"):
        try:
            section = load_yaml(path)
        except OSError as error:
            raise ConfigError(f"{path}: cannot read it: {error.strerror or error}") from error
        merged = _merge(merged, section)
    log_once(merged.warnings)
    return merged


def _built_in_store(env: Mapping[str, str] | None) -> str:
    return "file://" + (_SYSTEM_STORE if os.geteuid() == 0 else xdg_data("sigstore", env))


def _merge(base: RegistriesD, section: Section) -> RegistriesD:
    warnings: list[str] = []
    default = base.default
    table = section.section("default-docker")
    if table is not None:
        if default is not None:
            raise section.error(
                f"default-docker is defined already at {default.where}", "default-docker"
            )
        default = _namespace(table, warnings)
    namespaces = dict(base.namespaces)
    docker = section.section("docker")
    for scope in () if docker is None else docker.names():
        assert docker is not None
        table = docker.section(scope)
        assert table is not None
        if scope in namespaces:
            raise docker.error(f"{scope!r} is defined already at {namespaces[scope].where}", scope)
        namespaces[scope] = _namespace(table, warnings)
    warnings += section.unknown()
    return RegistriesD(namespaces, default, base.built_in, (*base.warnings, *warnings))


def _namespace(table: Section, warnings: list[str]) -> Namespace:
    attachments = None
    for name in ("use-cosign-attachments", "use-sigstore-attachments"):
        if name in table:
            attachments = table.boolean(name)
    # The second of each pair is the old name of the first.
    old_read, old_write = _url(table, "sigstore"), _url(table, "sigstore-staging")
    namespace = Namespace(
        lookaside=_url(table, "lookaside") or old_read,
        staging=_url(table, "lookaside-staging") or old_write,
        use_sigstore_attachments=attachments,
        where=table.where().rstrip(":"),
    )
    warnings += table.unknown()
    return namespace


def _url(table: Section, name: str) -> str:
    text = table.string(name)
    if text and urlsplit(text).scheme not in ("file", "http", "https"):
        raise table.error(f"{name} {text!r} is not a file://, http:// or https:// URL", name)
    return text


def signature_url(base: str, reference: Reference, digest: Digest, number: int) -> str:
    """The URL of the ``number``th signature (from 1) of a manifest under a lookaside's base."""
    parts = urlsplit(base)
    path = f"{parts.path}/{reference.path}@{digest.algorithm}={digest.encoded}/signature-{number}"
    # A base may be written with or without escapes, and have a query that has to stay at the end.
    return parts._replace(path=quote(unquote(path), safe="/@=:+,;!$&'()*~")).geturl()


async def read_signatures(
    lookaside: Lookaside, reference: Reference, digest: Digest, fetch: Fetch
) -> list[bytes]:
    """The stored signatures of a manifest, in order, up to the first that is missing.

    http and https go through ``fetch``. Raises CorruptImage for a signature that is too long.
    """
    found: list[bytes] = []
    if not lookaside.read_url:
        return found
    while len(found) < SIGNATURES_MAX:
        url = signature_url(lookaside.read_url, reference, digest, len(found) + 1)
        local = urlsplit(url).scheme == "file"
        blob = _read_file(url) if local else await fetch(url)
        if blob is None:
            return found
        found.append(blob)
    raise CorruptImage(
        f"{reference}: more than {SIGNATURES_MAX} signatures at {lookaside.read_url}"
    )


def write_signatures(
    lookaside: Lookaside, reference: Reference, digest: Digest, signatures: list[bytes]
) -> None:
    """Store the signatures of a manifest and remove what there is beyond them. Blocking.

    Raises UnsupportedImage for a base that is not file://, and OSError.
    """
    from trilby.system.files import atomic_write

    if urlsplit(lookaside.write_url).scheme != "file":
        raise UnsupportedImage(
            f"storing signatures of {reference}: cannot write to {lookaside.write_url!r}",
            hint="set lookaside-staging to a file:// URL in registries.d",
        )
    path = ""
    for number, blob in enumerate(signatures, start=1):
        path = _path_of(signature_url(lookaside.write_url, reference, digest, number))
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        atomic_write(path, blob, mode=0o644)
    number = len(signatures) + 1
    while True:
        path = _path_of(signature_url(lookaside.write_url, reference, digest, number))
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        number += 1


def _path_of(url: str) -> str:
    return unquote(urlsplit(url).path)


def _read_file(url: str) -> bytes | None:
    from trilby.system.files import read_bytes_limited

    path = _path_of(url)
    try:
        return read_bytes_limited(path, SIGNATURE_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CorruptImage(f"reading signature {path}: {error.strerror or error}") from error

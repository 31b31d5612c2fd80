"""Image names: the distribution grammar of references, and `transport:rest` names.

``name[:tag][@digest]`` where a name is ``domain/path`` (distribution, reference/reference.go).
"""

from __future__ import annotations

import re

import msgspec

from trilby.image.errors import InvalidReference, UnknownTransport
from trilby.oci.digest import Digest
from trilby.oci.errors import InvalidDigest

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_NAME_MAX = 255

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"

_domain = re.compile(_DOMAIN)
_path = re.compile(_PATH)
_tag = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_image_id = re.compile(r"[0-9a-f]{64}")

# Names with transports, and whether what follows the colon starts with two slashes.
TRANSPORTS = {
    "docker": True,
    "containers-storage": False,
    "dir": False,
    "oci": False,
    "oci-archive": False,
    "docker-archive": False,
    "docker-daemon": False,
}
# Known to other tools: named in errors, so that a person sees it is not a typing mistake.
_FOREIGN_TRANSPORTS = frozenset({"atomic", "sif", "tarball", "ostree"})


class Reference(msgspec.Struct, frozen=True, order=False):
    """A full image name. ``path`` has no domain; ``tag`` is empty when there is none."""

    domain: str
    path: str
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a name as Docker does: ``busybox`` is ``docker.io/library/busybox``.

        Raises InvalidReference. No tag is added: see with_default_tag().
        """
        return parse(text)

    @property
    def name(self) -> str:
        """``domain/path``: the repository with its registry."""
        return f"{self.domain}/{self.path}"

    @property
    def is_name_only(self) -> bool:
        """Whether it has neither a tag nor a digest."""
        return not self.tag and self.digest is None

    def familiar(self) -> str:
        """The shortest name that means the same."""
        name = self.name
        if self.domain == DEFAULT_DOMAIN:
            name = self.path
            rest = name.removeprefix(_OFFICIAL)
            if name != rest and "/" not in rest:
                name = rest
        return name + self._suffix()

    def with_tag(self, tag: str) -> Reference:
        """The name with this tag and no digest; raises InvalidReference."""
        if not _tag.fullmatch(tag):
            raise InvalidReference(f"invalid tag {tag!r}")
        return Reference(self.domain, self.path, tag)

    def with_digest(self, digest: Digest) -> Reference:
        """The name with this digest and no tag."""
        return Reference(self.domain, self.path, "", digest)

    def with_default_tag(self) -> Reference:
        """The name, with the tag ``latest`` if it had neither tag nor digest."""
        return self.with_tag(DEFAULT_TAG) if self.is_name_only else self

    def without_tag(self) -> Reference:
        """The name with its digest only, if it has one (what a pull by both means)."""
        return Reference(self.domain, self.path, "", self.digest)

    def name_only(self) -> Reference:
        return Reference(self.domain, self.path)

    def _suffix(self) -> str:
        suffix = f":{self.tag}" if self.tag else ""
        return f"{suffix}@{self.digest}" if self.digest else suffix

    def __str__(self) -> str:
        return self.name + self._suffix()


def parse(text: str) -> Reference:
    """Read a name as Docker does; see Reference.parse()."""
    if _image_id.fullmatch(text):
        raise InvalidReference(f"invalid image name {text!r}: 64 hex digits are an image ID")
    name, tag, digest = split_suffixes(text)
    domain, path = _split_domain(name)
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = _OFFICIAL + path
    return make(domain, path, tag, digest, text)


def make(
    domain: str, path: str, tag: str = "", digest: Digest | None = None, text: str = ""
) -> Reference:
    """A reference of these parts, checked; ``text`` names it in errors. Raises InvalidReference."""
    text = text or f"{domain}/{path}"
    if not _domain.fullmatch(domain):
        raise InvalidReference(f"invalid image name {text!r}: bad registry {domain!r}")
    if not _path.fullmatch(path):
        if _path.fullmatch(path.lower()):
            raise InvalidReference(
                f"invalid image name {text!r}: a repository name must be lowercase"
            )
        raise InvalidReference(f"invalid image name {text!r}: bad repository {path!r}")
    if len(domain) + 1 + len(path) > _NAME_MAX:
        raise InvalidReference(
            f"invalid image name {text!r}: registry and repository have more than"
            f" {_NAME_MAX} characters"
        )
    return Reference(domain, path, tag, digest)


def parse_repository(text: str) -> None:
    """Check ``host[:port][/path]``, as keys of credentials are; raises InvalidReference."""
    domain, slash, path = text.partition("/")
    if not _domain.fullmatch(domain) or (slash and not _path.fullmatch(path)):
        raise InvalidReference(f"invalid registry or repository {text!r}")


def split_suffixes(text: str) -> tuple[str, str, Digest | None]:
    """Split off tag and digest, both checked: ``(name, tag, digest)``. Raises InvalidReference."""
    name, at, digest_text = text.partition("@")
    digest = None
    if at:
        try:
            digest = Digest(digest_text)
        except InvalidDigest as error:
            raise InvalidReference(f"invalid image name {text!r}: {error.message}") from None
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        head, tag = name, ""
    elif not _tag.fullmatch(tag):
        raise InvalidReference(f"invalid image name {text!r}: bad tag {tag!r}")
    if not head:
        raise InvalidReference(f"invalid image name {text!r}: it is empty")
    return head, tag, digest


def has_domain(name: str) -> bool:
    """Whether a name's first component is a registry, by Docker's rule."""
    first, slash, _ = name.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


def is_short_name(text: str) -> bool:
    """Whether a name says no registry, so that aliases and search registries decide."""
    return not has_domain(split_suffixes(text)[0])


def is_image_id(text: str) -> bool:
    """Whether it is a full image ID, which is never a name."""
    return _image_id.fullmatch(text) is not None


def parse_transport(text: str, default: str = "docker") -> tuple[str, str]:
    """Split ``transport:rest``; a name without a transport gets ``default``.

    ``docker://x`` gives ``("docker", "x")``. Raises UnknownTransport, InvalidReference.
    """
    transport, colon, rest = text.partition(":")
    if transport in TRANSPORTS and colon:
        if TRANSPORTS[transport]:
            if not rest.startswith("//"):
                # A repository may be called docker, with a tag.
                if default == transport:
                    return default, text
                raise InvalidReference(f"invalid name {text!r}: write {transport}://{rest}")
            rest = rest[2:]
        if not rest:
            raise InvalidReference(f"invalid name {text!r}: nothing after the transport")
        return transport, rest
    if colon and (rest.startswith("//") or transport in _FOREIGN_TRANSPORTS):
        raise UnknownTransport(
            f"unsupported transport {transport!r} in {text!r}",
            hint=f"supported are {', '.join(TRANSPORTS)}",
        )
    return default, text


def _split_domain(name: str) -> tuple[str, str]:
    if not has_domain(name):
        return DEFAULT_DOMAIN, name
    domain, _, path = name.partition("/")
    return domain, path

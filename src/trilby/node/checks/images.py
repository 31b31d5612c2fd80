"""Checks of where images come from: registries, policy, credentials; and whether they answer."""

from __future__ import annotations

import os
import ssl
import stat
from typing import TYPE_CHECKING, Final

import msgspec

from trilby.errors import TrilbyError
from trilby.image.registries import AUTH_FILE_HELPER, Registries
from trilby.node.model import Check, Seen, failed, passed, skipped, warned, worst

if TYPE_CHECKING:
    from trilby.node.node import Node

__all__ = ["CHECKS", "Endpoint", "endpoints"]

GROUP: Final = "images"
SECONDS: Final = 3.0
REGISTRIES: Final = "/etc/containers/registries.conf"
REGISTRIES_D: Final = "/etc/containers/registries.conf.d"
POLICIES: Final = ("/etc/containers/policy.json", "/usr/share/containers/policy.json")
AUTH_FILES: Final = (
    *("/run/containers/0/auth.json", "/root/.config/containers/auth.json"),
    *("/root/.docker/config.json", "/var/lib/kubelet/config.json"),
)  # fmt: skip
#: Docker Hub answers at another name than its images have.
_HUB: Final = {"docker.io": "registry-1.docker.io"}


class Endpoint(msgspec.Struct, frozen=True):
    """A registry or mirror to be reached; ``where`` is the file and line that names it."""

    host: str
    port: int
    insecure: bool
    mirror: bool
    where: str


def _load(node: Node) -> Registries:
    """Raises ConfigError."""
    from trilby.image.registries_load import load

    settings, host = node.settings, node.host
    if host.root == "/":
        # As the daemon reads them, which is root; others cannot look into its home.
        env = dict(os.environ, HOME="/root" if os.geteuid() == 0 else "/var/empty")
        return load(settings.registries_conf or None, settings.registries_conf_dir or None, env)
    main = settings.registries_conf or REGISTRIES
    if not host.exists(main):
        return Registries(origin=host.path(main))
    folder = settings.registries_conf_dir or REGISTRIES_D
    return load(host.path(main), host.path(folder), {"HOME": host.path("/root")})


def _registries(node: Node) -> Seen:
    try:
        found = _load(node)
    except TrilbyError as error:
        return failed(str(error))
    if found.warnings:
        return warned(*found.warnings)
    blocked = sum(registry.blocked for registry in found.registries)
    return passed(f"{found.origin}: {len(found.registries)} registries, {blocked} blocked")


def _short_names(node: Node) -> Seen:
    try:
        found = _load(node)
    except TrilbyError:
        return skipped("registries.conf cannot be read")
    places = found.unqualified_search_registries
    if len(places) > 1 and found.short_name_mode != "enforcing":
        return warned(f"{found.search_origin}: a short name may mean any of {', '.join(places)}")
    shown = ", ".join(places) or "none"
    return passed(f"{found.search_origin or found.origin}: short names are looked up in {shown}")


def _insecure(node: Node) -> Seen:
    try:
        found = _load(node)
    except TrilbyError:
        return skipped("registries.conf cannot be read")
    bad = [f"{each.where}: {each.prefix} is insecure" for each in found.registries if each.insecure]
    bad += [
        f"{each.where}: mirror {mirror.location} is insecure"
        for each in found.registries
        for mirror in each.mirrors
        if mirror.insecure
    ]
    place = node.settings.place("trilby.image.insecure_registries")
    bad += [f"{place}: {name} is insecure" for name in node.settings.insecure_registries]
    return warned(*bad) if bad else passed(f"{found.origin}: none")


def _policy(node: Node) -> Seen:
    from trilby.image.policy import load_policy

    path = node.settings.policy or next((each for each in POLICIES if node.host.exists(each)), "")
    if not path or not node.host.exists(path):
        return failed(f"{path or ' and '.join(POLICIES)} is not there")
    try:
        load_policy(node.host.path(path))
    except TrilbyError as error:
        return failed(str(error), mend="trilby config check")
    return passed(f"{path} is understood")


def _credentials(node: Node) -> Seen:
    seen = []
    for path in AUTH_FILES:
        found = node.host.stat(path)
        if found is None:
            continue
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            seen.append(warned(f"{path} has mode {mode:04o}", mend=f"chmod 600 {path}"))
            continue
        try:
            msgspec.json.decode((node.host.read(path) or "").encode(), type=dict[str, object])
        except msgspec.DecodeError as error:
            seen.append(failed(f"{path}: {error}", mend=f"mv {path} {path}.off; trilby login"))
        else:
            seen.append(passed(f"{path} has mode {mode:04o}"))
    return worst(seen, skipped("there is no file of credentials"))


def endpoints(node: Node) -> list[Endpoint]:
    """What pulls would ask; blocked registries are left out. Raises ConfigError."""
    found = _load(node)
    named: dict[tuple[str, int], Endpoint] = {}

    def note(location: str, insecure: bool, mirror: bool, where: str) -> None:
        host, _, port = location.partition("/")[0].partition(":")
        if host and not host.startswith("*"):
            key = _HUB.get(host, host), int(port or 443)
            loose = insecure or found.is_insecure(location)
            named.setdefault(key, Endpoint(*key, loose, mirror, where))

    for registry in found.registries:
        if not registry.blocked:
            note(registry.location, registry.insecure, False, registry.where)
            for each in registry.mirrors:
                note(each.location, each.insecure, True, registry.where)
    blocked = {each.prefix for each in found.registries if each.blocked}
    for location in found.unqualified_search_registries:
        if location not in blocked:
            note(location, False, False, found.search_origin)
    return list(named.values())


def _reachable(node: Node) -> Seen:
    """All at once: a dead one takes its whole time."""
    import threading

    wanted = endpoints(node)
    seen: dict[Endpoint, Seen] = {}
    threads = [
        threading.Thread(
            target=lambda each=each: seen.__setitem__(each, _ask(node, each)), daemon=True
        )
        for each in wanted
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * SECONDS)
    late = [each for each in wanted if each not in seen]
    found = [*seen.values(), *(_bad(each, "does not answer") for each in late)]
    return worst(found, skipped("registries.conf names none"))


def _bad(endpoint: Endpoint, what: str) -> Seen:
    """A mirror that is down costs time only: the registry itself is asked next."""
    text = f"{endpoint.where}: {endpoint.host}:{endpoint.port} {what}"
    return warned(text) if endpoint.mirror else failed(text)


def _ask(node: Node, endpoint: Endpoint) -> Seen:
    where = f"{endpoint.where}: {endpoint.host}:{endpoint.port}"
    try:
        with node.host.dial(endpoint.host, endpoint.port, SECONDS) as plain:
            if endpoint.insecure:
                return passed(f"{where} answers (not verified)")
            with _context(node, endpoint).wrap_socket(plain, server_hostname=endpoint.host) as tls:
                return passed(f"{where} answers with {tls.version()}")
    except ssl.SSLCertVerificationError as error:
        return _bad(endpoint, f"has no certificate to trust: {error.verify_message}")
    except ssl.SSLError as error:
        return _bad(endpoint, f"does not speak TLS: {error.reason}")
    except (OSError, TrilbyError) as error:
        return _bad(endpoint, f"cannot be reached: {error}")


def _context(node: Node, endpoint: Endpoint) -> ssl.SSLContext:
    """The system's authorities, and those of certs.d."""
    from trilby.image.certs import SYSTEM_DIRS, find_certificates

    name = f"{endpoint.host}:{endpoint.port}" if endpoint.port != 443 else endpoint.host
    files = find_certificates(name, system_dirs=[node.host.path(each) for each in SYSTEM_DIRS])
    context = ssl.create_default_context()
    for path in files.authorities:
        context.load_verify_locations(path)
    for certificate, key in files.clients:
        context.load_cert_chain(certificate, key, password=lambda: "")
    return context


def _names(node: Node) -> Seen:
    """The same, of names alone: DNS is another's business than registries are."""
    seen = []
    for endpoint in endpoints(node):
        try:
            address = node.host.resolve(endpoint.host)
        except OSError as error:
            seen.append(_bad(endpoint, f"has no address: {error.strerror}"))
        else:
            seen.append(passed(f"{endpoint.host} is {address}"))
    return worst(seen, skipped("registries.conf names none"))


def _helpers(node: Node) -> Seen:
    try:
        found = _load(node)
    except TrilbyError:
        return skipped("registries.conf cannot be read")
    helpers = [name for name in found.credential_helpers if name != AUTH_FILE_HELPER]
    programs = {name: node.host.which(f"docker-credential-{name}") for name in helpers}
    missing = [name for name, path in programs.items() if not path]
    if missing:
        return warned(
            *(f"{found.origin}: docker-credential-{name} is not installed" for name in missing)
        )
    if not helpers:
        return skipped("registries.conf names no credential helper")
    return passed(*programs.values())


CHECKS: Final = (
    Check(
        id="registries", group=GROUP, title="registries.conf", look=_registries,
        why="without it no name is understood; an unknown key does not count",
        mend="trilby config check",
    ),
    Check(
        id="registries-short-names", group=GROUP, title="Short names", look=_short_names,
        why="an image may come from another registry than was meant",
        mend="name one registry in unqualified-search-registries, or none",
    ),
    Check(
        id="registries-insecure", group=GROUP, title="Insecure registries", look=_insecure,
        why="whoever is on the way can give the node other images",
        mend="put the registry's CA into /etc/containers/certs.d/HOST:PORT/ca.crt",
    ),
    Check(
        id="policy", group=GROUP, title="policy.json", look=_policy,
        why="without it no image is accepted", mend="dnf install containers-common",
    ),
    Check(
        id="credentials", group=GROUP, title="Files of credentials", look=_credentials,
        why="who can read them can pull, and maybe push, in the node's name",
    ),
    Check(
        id="credential-helpers", group=GROUP, title="Credential helpers", look=_helpers,
        why="pulls go on without credentials, and are refused", mend="install it",
    ),
    Check(
        id="registries-resolve", group=GROUP, title="Addresses of registries", look=_names,
        slow=True, network=True, why="images cannot be pulled", mend="resolvectl query NAME",
    ),
    Check(
        id="registries-reachable", group=GROUP, title="Registries answer", look=_reachable,
        slow=True, network=True, why="images cannot be pulled; a dead mirror delays each pull",
        mend="curl -v https://HOST:PORT/v2/",
    ),
)  # fmt: skip

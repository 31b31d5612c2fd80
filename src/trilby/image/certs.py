"""certs.d: the TLS files of each registry (containers-certs.d(5))."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from trilby.image.config_paths import user_config
from trilby.image.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SYSTEM_DIRS = ("/etc/containers/certs.d", "/etc/docker/certs.d")


class CertificateFiles(msgspec.Struct, frozen=True):
    """Paths of PEM files: CAs beside the system's, and (certificate, key) pairs to show."""

    authorities: tuple[str, ...] = ()
    clients: tuple[tuple[str, str], ...] = ()


def find_certificates(
    registry: str,
    *,
    cert_dir: str | os.PathLike[str] | None = None,
    system_dirs: Sequence[str] = SYSTEM_DIRS,
    env: Mapping[str, str] | None = None,
) -> CertificateFiles:
    """The files for ``host[:port]``, from the first directory that exists and can be read.

    A port must be there literally: ``host`` says nothing about ``host:5000``. ``cert_dir`` itself
    holds the files, for any registry. Raises ConfigError when half of a pair is missing.
    """
    if cert_dir is not None:
        try:
            return _read_directory(os.fspath(cert_dir), os.listdir(cert_dir))
        except OSError as error:
            raise ConfigError(
                f"{os.fspath(cert_dir)}: cannot read certificates: {error.strerror or error}"
            ) from error
    user_dir = user_config("certs.d", env)
    for base in (user_dir, *system_dirs):
        directory = os.path.join(base, registry)
        try:
            return _read_directory(directory, os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
    return CertificateFiles()


def _read_directory(directory: str, names: Sequence[str]) -> CertificateFiles:
    present = set(names)
    authorities: list[str] = []
    clients: list[tuple[str, str]] = []
    for name in sorted(present):
        stem, suffix = os.path.splitext(name)
        path = os.path.join(directory, name)
        if suffix == ".crt":
            authorities.append(path)
        elif suffix == ".cert":
            key = f"{stem}.key"
            if key not in present:
                raise ConfigError(
                    f"{path}: missing key {key} for client certificate {name}",
                    hint="CA certificates are called *.crt, client certificates *.cert",
                )
            clients.append((path, os.path.join(directory, key)))
        elif suffix == ".key" and f"{stem}.cert" not in present:
            raise ConfigError(f"{path}: missing client certificate {stem}.cert for key {name}")
    return CertificateFiles(tuple(authorities), tuple(clients))

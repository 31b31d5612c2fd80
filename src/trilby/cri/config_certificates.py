"""Whether the TLS files of trilby.conf can be used: pairs that match, and dates."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from typing import Final

from trilby.cri.config_finding import Finding, Severity, about
from trilby.cri.config_load import Loaded
from trilby.system.certificates import certificate_dates

__all__ = ["check_certificates"]

SOON: Final = 14 * 86400


def check_certificates(loaded: Loaded, now: float | None = None) -> Iterator[Finding]:
    """Findings about the streaming server's and the metrics server's files, where they are used."""
    config = loaded.config
    at = time.time() if now is None else now
    if config.stream_enable_tls and config.stream_tls_cert and config.stream_tls_key:
        yield from _pair(
            loaded,
            ("trilby.api.stream_tls_cert", config.stream_tls_cert),
            ("trilby.api.stream_tls_key", config.stream_tls_key),
            at,
        )
    if config.stream_enable_tls and config.stream_tls_ca:
        yield from _authority(loaded, "trilby.api.stream_tls_ca", config.stream_tls_ca)
    if config.enable_metrics and config.metrics_cert and config.metrics_key:
        yield from _pair(
            loaded,
            ("trilby.metrics.metrics_cert", config.metrics_cert),
            ("trilby.metrics.metrics_key", config.metrics_key),
            at,
        )


def _pair(
    loaded: Loaded, cert: tuple[str, str], key: tuple[str, str], now: float
) -> Iterator[Finding]:
    import ssl

    missing = list(_unreadable(loaded, *cert)) + list(_unreadable(loaded, *key))
    if missing:
        yield from missing
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert[1], key[1], lambda: "")
    except (ssl.SSLError, ValueError) as error:
        yield about(
            loaded,
            cert[0],
            f"is {cert[1]}, which cannot be used with the key {key[1]}: {_reason(error)}",
            why="the server does not start",
            hint="put the PEM certificate and its own unencrypted key there",
        )
        return
    yield from _dates(loaded, *cert, now)
    if os.stat(key[1]).st_mode & (stat.S_IRGRP | stat.S_IROTH | stat.S_IWGRP | stat.S_IWOTH):
        yield about(
            loaded,
            key[0],
            f"is {key[1]}, which others than its owner may read",
            why="who has the key can pose as this node",
            hint=f"chmod 600 {key[1]}",
            severity=Severity.WARNING,
        )


def _dates(loaded: Loaded, key: str, path: str, now: float) -> Iterator[Finding]:
    with open(path, encoding="ascii", errors="replace") as file:
        text = file.read()
    try:
        begin, end = certificate_dates(text)
    except ValueError:
        return  # of a form that OpenSSL takes and we do not read
    if now < begin:
        what = f"is {path}, which is not valid before {_day(begin)}"
        yield about(loaded, key, what, why="clients refuse it", hint="check the clock")
    elif now > end:
        what = f"is {path}, which expired on {_day(end)}"
        yield about(loaded, key, what, why="clients refuse it", hint="renew it")
    elif now > end - SOON:
        what = f"is {path}, which expires on {_day(end)}"
        yield about(
            loaded,
            key,
            what,
            why="clients refuse it then",
            hint="renew it; the daemon reads it again by itself",
            severity=Severity.WARNING,
        )


def _authority(loaded: Loaded, key: str, path: str) -> Iterator[Finding]:
    import ssl

    missing = list(_unreadable(loaded, key, path))
    yield from missing
    if missing:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
    except ssl.SSLError as error:
        yield about(
            loaded,
            key,
            f"is {path}, which is no PEM file of certificates: {_reason(error)}",
            why="the server does not start",
            hint="put the CA certificates of clients there",
        )


def _unreadable(loaded: Loaded, key: str, path: str) -> Iterator[Finding]:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        yield about(
            loaded,
            key,
            f"is {path}, which cannot be read: {error.strerror}",
            why="the server does not start",
            hint="put the file there, or name another",
        )


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _reason(error: Exception) -> str:
    """OpenSSL's words without its numbers."""
    reason = getattr(error, "reason", None)
    return str(reason).lower().replace("_", " ") if reason else str(error)

"""The server's certificate, read again when its files change."""

from __future__ import annotations

import logging
import os
import ssl
from typing import Final

from trilby.cri.errors import InvalidRequest
from trilby.cri.streaming.settings import StreamingSettings

VERSIONS: Final = {
    "": ssl.TLSVersion.TLSv1_2,
    "VersionTLS10": ssl.TLSVersion.TLSv1,
    "VersionTLS11": ssl.TLSVersion.TLSv1_1,
    "VersionTLS12": ssl.TLSVersion.TLSv1_2,
    "VersionTLS13": ssl.TLSVersion.TLSv1_3,
}

_log = logging.getLogger(__name__)

_Stamp = tuple[tuple[int, int, int], ...]


class Certificates:
    """Makes TLS contexts. The first must be good; later a good one is kept until the next is."""

    def __init__(self, settings: StreamingSettings, who: str = "streaming server") -> None:
        self._settings = settings
        self._who = who
        if settings.tls_min_version not in VERSIONS:
            raise InvalidRequest(
                f"{who}: unknown TLS version {settings.tls_min_version!r}",
                hint=f"there are: {', '.join(filter(None, VERSIONS))}",
            )
        try:
            self._stamp = self._look()
            self._context = self._load()
        except OSError as error:  # ssl.SSLError is one
            raise InvalidRequest(f"{who}: certificate {settings.tls_cert}: {error}") from error

    def context(self) -> ssl.SSLContext:
        """For a connection that begins now."""
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._context = self._load()
                self._stamp = stamp
                _log.info("%s: the certificate was read again", self._who)
        except OSError as error:
            # While files are being replaced they do not fit each other.
            _log.warning("%s: still with the old certificate: %s", self._who, error)
        return self._context

    def _look(self) -> _Stamp:
        settings = self._settings
        paths = filter(None, (settings.tls_cert, settings.tls_key, settings.tls_ca))
        found = (os.stat(path) for path in paths)
        return tuple((at.st_ino, at.st_size, at.st_mtime_ns) for at in found)

    def _load(self) -> ssl.SSLContext:
        settings = self._settings
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = VERSIONS[settings.tls_min_version]
        context.load_cert_chain(settings.tls_cert, settings.tls_key or None)
        if settings.tls_ca:
            context.load_verify_locations(settings.tls_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        # SPDY and WebSocket begin as HTTP/1.1.
        context.set_alpn_protocols(["http/1.1"])
        return context


__all__ = ["VERSIONS", "Certificates"]

"""What can be set of the streaming server."""

from __future__ import annotations

import msgspec


class StreamingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Times are seconds. Port 0 is any free one. With ``tls_cert`` the server speaks only TLS.

    ``idle_timeout``: a connection on which nothing moves is closed. ``creation_timeout``: how
    long a client has to send its request, and then to open its streams. ``tls_ca``: clients must
    have a certificate of it. ``tls_min_version`` is one of VersionTLS10 to VersionTLS13, the
    names that the kubelet uses. ``token_ttl`` and ``max_tokens``: how long a URL is good for, and
    how many may be waiting to be used.
    """

    address: str = "127.0.0.1"
    port: int = 0
    idle_timeout: float = 4 * 3600
    creation_timeout: float = 30
    tls_cert: str = ""
    tls_key: str = ""
    tls_ca: str = ""
    tls_min_version: str = "VersionTLS12"
    token_ttl: float = 60
    max_tokens: int = 1000


__all__ = ["StreamingSettings"]

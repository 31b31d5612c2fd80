"""Import aiohttp without the certificate authorities that it loads for contexts of its own.

aiohttp reads the system's authorities twice while it is imported, which costs OpenSSL 3 some 90 ms
of CPU each time a command starts, needed or not. A command that owns its process may do without:
TLS contexts are then made where a registry wants one (``tls.py:make_context()``).
"""

from __future__ import annotations

import os
import sys

# OpenSSL looks for the authorities where these say.
_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")

_allowed = False


def allow() -> None:
    """Say that nobody else in this process wants aiohttp's own contexts: they will trust nobody."""
    global _allowed
    _allowed = True


def import_http_client() -> None:
    """Import aiohttp, the quick way if that is allowed and it is not there yet."""
    if not _allowed or "aiohttp" in sys.modules:
        return
    for name in _VARIABLES:
        os.putenv(name, os.devnull)  # os.environ, which others read, stays as it is
    try:
        import aiohttp  # noqa: F401
    finally:
        for name in _VARIABLES:
            if name in os.environ:
                os.putenv(name, os.environ[name])
            else:
                os.unsetenv(name)
    from trilby.image.registry import tls

    tls.shared_contexts = False

"""TLS contexts from certs.d's files, and what a failed handshake means in words."""

from __future__ import annotations

import ssl

from trilby.image.certs import CertificateFiles
from trilby.image.registry.errors import TlsFailure

#: OpenSSL's X509_V_ERR_* numbers, as the words that people search for.
_VERIFY_WORDS = {
    9: "certificate is not yet valid",
    10: "certificate has expired or is not yet valid",
    18: "certificate signed by unknown authority (it is self-signed)",
    19: "certificate signed by unknown authority (a self-signed one is in its chain)",
    20: "certificate signed by unknown authority",
    21: "certificate signed by unknown authority",
    62: "certificate is valid for other names",
    64: "certificate is valid for other addresses",
}
#: Whether aiohttp's own contexts have the system's authorities; see quick_start.py.
shared_contexts = True
#: What OpenSSL calls an answer that is not TLS at all.
_PLAIN_HTTP = ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")


def make_context(files: CertificateFiles, *, verify: bool = True) -> ssl.SSLContext | bool:
    """What aiohttp wants as ``ssl``: True or False for its own shared contexts, or a new one.

    Loading the system's CAs costs up to 50 ms, so a context is made only where files say so, or
    where aiohttp was kept from loading them.
    Raises TlsFailure naming the file that cannot be used.
    """
    needs_files = bool(files.clients or (files.authorities and verify))
    if not needs_files and (shared_contexts or not verify):
        return verify
    context = ssl.create_default_context() if verify else _unverified()
    for path in files.authorities if verify else ():
        try:
            context.load_verify_locations(cafile=path)
        except (OSError, ssl.SSLError) as error:
            raise _unusable("CA certificates", path, error) from error
    for certificate, key in files.clients:
        try:
            context.load_cert_chain(certificate, key, password=_no_passphrase)
        except (OSError, ssl.SSLError) as error:
            raise _unusable("a client certificate", certificate, error) from error
    return context


def _no_passphrase() -> str:
    """Without this OpenSSL would ask on the terminal for the passphrase of an encrypted key."""
    return ""


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _unusable(what: str, path: str, error: Exception) -> TlsFailure:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return TlsFailure(
        f"reading {what} from {path}: {reason.lower()}",
        hint="files in certs.d are PEM: NAME.crt, or NAME.cert with NAME.key, without passphrase",
    )


def handshake_failure(doing: str, host: str, error: Exception) -> TlsFailure:
    """The error for a handshake with ``host`` that failed while ``doing``."""
    cause = _ssl_error(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        words = _VERIFY_WORDS.get(cause.verify_code, cause.verify_message)
        return TlsFailure(
            f"{doing}: tls: failed to verify certificate: x509: {words}",
            hint=f"put its CA into /etc/containers/certs.d/{host}/ca.crt"
            if cause.verify_code in (18, 19, 20, 21)
            else "",
        )
    reason = (cause.reason if cause is not None else None) or str(error)
    if reason in _PLAIN_HTTP:
        return TlsFailure(
            f"{doing}: http: server gave HTTP response to HTTPS client",
            hint=f"if {host} really has no TLS, set insecure = true for it in registries.conf",
        )
    return TlsFailure(f"{doing}: tls: {reason.lower().replace('_', ' ')}")


def _ssl_error(error: BaseException) -> ssl.SSLError | None:
    """The ssl module's own error inside aiohttp's wrappers, which also inherit from SSLError."""
    for name in ("certificate_error", "os_error"):
        wrapped = getattr(error, name, None)
        if isinstance(wrapped, BaseException) and wrapped is not error:
            return _ssl_error(wrapped)
    return error if isinstance(error, ssl.SSLError) else None

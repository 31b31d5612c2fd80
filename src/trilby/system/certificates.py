"""Dates and names of X.509 certificates, which Python's ssl tells of a peer's only; RFC 5280."""

from __future__ import annotations

import time
from typing import Final

__all__ = ["certificate_dates", "certificate_name"]

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_COMMON_NAME: Final = bytes([0x55, 4, 3])


def certificate_dates(pem: str) -> tuple[float, float]:
    """notBefore and notAfter of the first certificate, as seconds since 1970; RFC 5280, 4.1.

    Raises ValueError for what is no certificate.
    """
    body = _body(pem)
    try:
        (first, begin_text), (last, end_text) = _fields(body[3][1])
        return _time(first, begin_text), _time(last, end_text)
    except (IndexError, ValueError) as error:
        raise ValueError(f"the certificate is damaged: {error}") from error


def certificate_name(pem: str) -> str:
    """The common name of the first certificate's subject, "" if it has none; RFC 5280, 4.1.2.6.

    Raises ValueError for what is no certificate.
    """
    body = _body(pem)
    try:
        for _, relative in _fields(body[4][1]):
            for _, attribute in _fields(relative):
                (_, kind), (_, value) = _fields(attribute)
                if kind == _COMMON_NAME:
                    return value.decode(errors="replace")
    except (IndexError, ValueError) as error:
        raise ValueError(f"the certificate is damaged: {error}") from error
    return ""


def _body(pem: str) -> list[tuple[int, bytes]]:
    """serialNumber, signature, issuer, validity, subject and so on of the first certificate."""
    import ssl

    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    if begin not in pem or end not in pem:
        raise ValueError("there is no PEM certificate")
    text = pem[pem.index(begin) : pem.index(end) + len(end)]
    try:
        fields = _fields(_content(_content(ssl.PEM_cert_to_DER_cert(text))))
    except (IndexError, ValueError) as error:
        raise ValueError(f"the certificate is damaged: {error}") from error
    return fields[1:] if fields and fields[0][0] == _VERSION else fields


def _content(data: bytes) -> bytes:
    """Of the first element, which must be a sequence."""
    tag, content = _fields(data)[0]
    if tag != _SEQUENCE:
        raise ValueError("it is no sequence")
    return content


def _fields(data: bytes) -> list[tuple[int, bytes]]:
    """(tag, content) of DER elements that stand one after the other."""
    found, at = [], 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        if at + length > len(data):
            raise ValueError("it is cut off")
        found.append((tag, data[at : at + length]))
        at += length
    return found


def _time(tag: int, content: bytes) -> float:
    import calendar

    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    return calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ"))

"""TLS of the exchange: a certificate of an authority, or a pinned key.

A host without a public certificate makes its own once, with the ``openssl``
program (EC P-256); its peers pin the SHA-256 of its public key (SPKI, RFC 7469
2.4), which the invitation tells them. With a pin nothing else of the certificate
counts, neither name nor date, so it may be renewed with the same key. Without a
pin the usual checks of the system's authorities apply. Never less than TLS 1.2.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import subprocess
from typing import TYPE_CHECKING, Final

import aiohttp

from federation.format.profile import b64

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

__all__ = ["CertificateError", "PinMismatch", "pin_of", "pin_of_file", "self_made"]
__all__ += ["check_of", "server_context"]

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_LONG_FORM: Final = 0x80
_BEFORE_SPKI: Final = 5  # serial, algorithm, issuer, validity, subject


class CertificateError(Exception):
    """A certificate that cannot be made or read; says what to do."""


class PinMismatch(Exception):  # noqa: N818 - the name says what happened
    """The peer's key is another one than the pinned one."""


class _Pin(aiohttp.Fingerprint):
    """aiohttp's hook that sees the certificate before anything is sent."""

    def __init__(self, pin: str) -> None:
        super().__init__(bytes(32))
        self._pin = pin

    def check(self, transport: asyncio.Transport) -> None:
        """Raise PinMismatch unless the peer's key is the pinned one."""
        session = transport.get_extra_info("ssl_object")
        given = None if session is None else session.getpeercert(binary_form=True)
        if given is None or pin_of(given) != self._pin:
            raise PinMismatch("the peer's key is not the pinned one")


def check_of(pin: str) -> aiohttp.Fingerprint | ssl.SSLContext:
    """Return what aiohttp is to check of a peer: a pin, or authority and name."""
    if pin:
        return _Pin(pin)
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the context of a listener. CertificateError: unreadable files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as problem:
        raise CertificateError(
            f"{certificate} and {key} cannot be used: {problem}; they must be PEM,"
            " belong together and be readable by this user"
        ) from None
    return context


def pin_of(der: bytes) -> str:
    """Return the pin of a certificate in DER. ValueError: this is none.

    RFC 5280 4.1: Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version
    OPTIONAL, serialNumber, signature, issuer, validity, subject,
    subjectPublicKeyInfo, ...
    """
    _tag, start, _end = _element(der, 0)
    _tag, at, _end = _element(der, start)
    tag, _start, end = _element(der, at)
    if tag == _VERSION:
        at = end
    for _field in range(_BEFORE_SPKI):
        _tag, _start, at = _element(der, at)
    tag, _start, end = _element(der, at)
    if tag != _SEQUENCE:
        raise ValueError("no certificate: its public key is missing")
    return b64(hashlib.sha256(der[at:end]).digest())


def pin_of_file(certificate: Path) -> str:
    """Return the pin of the first certificate of a PEM file."""
    mark = "-----END CERTIFICATE-----"
    text = certificate.read_text("ascii").partition(mark)[0]
    begin = text.find("-----BEGIN CERTIFICATE-----")
    return pin_of(ssl.PEM_cert_to_DER_cert(text[begin:] + mark))


def self_made(directory: Path, host: str) -> tuple[Path, Path]:
    """Return certificate and key of this node, made on first use.

    Raises CertificateError where there is no ``openssl`` program.
    """
    certificate, key = directory / "tls.crt", directory / "tls.key"
    if certificate.exists() and key.exists():
        return certificate, key
    # Bland names: with a pin, a certificate's name says nothing.
    name = "".join(one for one in host if one.isalnum() or one in ".-")[:64] or "node"
    making = directory / "tls.key.new"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        f" -days 7300 -subj /CN={name} -keyout {making.name} -out {certificate.name}"
    )
    before = os.umask(0o077)
    try:
        subprocess.run(  # noqa: S603 - fixed words and a filtered name
            command.split(), cwd=directory, check=True, capture_output=True, timeout=60
        )
    except FileNotFoundError:
        raise CertificateError(
            "there is no openssl program to make a certificate with: apt install"
            " openssl, or name a certificate in [server] certificate and key"
        ) from None
    except (subprocess.SubprocessError, OSError) as problem:
        raise CertificateError(f"openssl made no certificate: {problem}") from None
    finally:
        os.umask(before)
    making.replace(key)  # the key last: both exist, or the next start makes both
    return certificate, key


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Return tag, start and end of the content of the DER element at ``at``."""
    if at + 2 > len(der):
        raise ValueError("no certificate: it ends too early")
    tag, length, start = der[at], der[at + 1], at + 2
    if length >= _LONG_FORM:
        size = length - _LONG_FORM
        length = int.from_bytes(der[start : start + size], "big")
        start += size
    if start + length > len(der):
        raise ValueError("no certificate: it ends too early")
    return tag, start, start + length

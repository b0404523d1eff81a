"""Signed tokens for links in mail: who is meant, until when, not forgeable.

48 characters that are safe in a URL and name nobody: 16 octets of the address's
digest, 4 of the time at which the token ends, 16 of keyed BLAKE2b (RFC 7693) over
both. Whoever holds the key can make and read them; nothing is stored.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from hashlib import blake2b

__all__ = ["LIFETIME", "derive", "read", "sign"]

LIFETIME = 30 * 86400.0  # seconds
_SIZE = 36
_LENGTH = 48
_MAC = 16


def derive(secret: bytes) -> bytes:
    """Return the key of tokens, which tells nothing about the secret it is of."""
    return blake2b(b"confirmation link", key=secret, digest_size=32).digest()


def sign(key: bytes, digest: str, ends: float) -> str:
    """Return a token for a digest of 32 hexadecimal digits."""
    body = bytes.fromhex(digest) + int(ends).to_bytes(4, "big")
    return base64.urlsafe_b64encode(body + _mac(key, body)).decode()


def read(key: bytes, token: str, now: float) -> str | None:
    """Return the digest that a token names, None when it is forged or ended."""
    if len(token) != _LENGTH or not token.isascii():
        return None
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    if len(raw) != _SIZE:
        return None
    body, mac = raw[:-_MAC], raw[-_MAC:]
    if not hmac.compare_digest(mac, _mac(key, body)):
        return None
    return body[:16].hex() if now < int.from_bytes(body[16:], "big") else None


def _mac(key: bytes, body: bytes) -> bytes:
    return blake2b(body, key=key, digest_size=_MAC).digest()

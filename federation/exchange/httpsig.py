"""Signed requests: one fixed profile of RFC 9421 with Ed25519.

A signature covers method, authority, path, query and the digest of the body's
bytes as sent (RFC 9530), and states when it was made, a nonce and the key. The
server compares with *its own* authority, whatever the Host field says, so that a
request cannot be replayed to a third. Other profiles of RFC 9421 are refused:
two that agree on one form need no negotiation.

Pure: time and nonce are arguments. Whether the key may ask is not decided here.
"""

from __future__ import annotations

import base64
import re
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from federation.format.errors import Refused
from federation.format.profile import b64, unb64
from federation.format.signing import verify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.format.signing import Signer

__all__ = ["NONCE", "Nonces", "Unsigned", "authority", "base", "check", "sign"]

NONCE: Final = 16
"""Bytes of a nonce."""

_COMPONENTS = '("@method" "@authority" "@path" "@query" "content-digest")'
_LABEL = "sm2tp"
_INPUT = re.compile(
    re.escape(f"{_LABEL}={_COMPONENTS}")
    + r';created=(0|[1-9][0-9]{0,11});nonce="([\w-]{22})";keyid="([\w-]{43})"'
    + r';alg="ed25519";tag="sm2tp-fed-1"',
    re.ASCII,
)
_SIGNATURE = re.compile(rf"{_LABEL}=:([A-Za-z0-9+/]{{86}}==):")
_HTTPS = ":443"


class Unsigned(Exception):  # noqa: N818 - says what the request is
    """A request without a valid, fresh signature; ``reason`` is a word for it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Signed:
    """Who signed a request, and the nonce that must be new."""

    key: bytes
    nonce: bytes
    created: int


def authority(host: str) -> str:
    """Return ``host[:port]`` as it is signed: lower case, without port 443.

    RFC 9421 2.2.3, RFC 9110 4.2.3.
    """
    return host.lower().removesuffix(_HTTPS)


def digest(body: bytes) -> str:
    """Return the Content-Digest of a body (RFC 9530 2)."""
    return f"sha-256=:{base64.b64encode(sha256(body).digest()).decode('ascii')}:"


def base(method: str, host: str, path: str, body: bytes, params: str) -> bytes:
    """Return the bytes that are signed (RFC 9421 2.5)."""
    lines = (
        f'"@method": {method}',
        f'"@authority": {authority(host)}',
        f'"@path": {path}',
        '"@query": ?',  # RFC 9421 2.2.7: absent is a lone question mark
        f'"content-digest": {digest(body)}',
        f'"@signature-params": {params}',
    )
    return "\n".join(lines).encode("ascii")


def sign(
    signer: Signer,
    method: str,
    host: str,
    path: str,
    body: bytes,
    *,
    created: int,
    nonce: bytes,
) -> dict[str, str]:
    """Return the three header fields of a signed request."""
    params = (
        f'{_COMPONENTS};created={created};nonce="{b64(nonce)}"'
        f';keyid="{b64(signer.public)}";alg="ed25519";tag="sm2tp-fed-1"'
    )
    # No context of ours before the base: RFC 9421 fixes its first bytes, and no
    # other text that is signed here begins with `"@method"`.
    mine = signer.sign(b"", base(method, host, path, body, params))
    return {
        "Content-Digest": digest(body),
        "Signature-Input": f"{_LABEL}={params}",
        "Signature": f"{_LABEL}=:{base64.b64encode(mine).decode('ascii')}:",
    }


def check(
    method: str,
    host: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: int,
    age: int,
) -> Signed:
    """Return who signed a request that this server, ``host``, received.

    Raises Unsigned("missing", "form", "stale", "digest" or "signature"). The
    caller refuses a nonce that it has seen (Nonces).
    """
    given = [headers.get(name) for name in ("signature-input", "signature")]
    sent_digest = headers.get("content-digest")
    if given[0] is None or given[1] is None or sent_digest is None:
        raise Unsigned("missing")
    params = _INPUT.fullmatch(given[0])
    signature = _SIGNATURE.fullmatch(given[1])
    if params is None or signature is None:
        raise Unsigned("form")
    try:
        nonce = unb64(params[2], NONCE)
        key = unb64(params[3], 32)
    except Refused:
        raise Unsigned("form") from None
    created = int(params[1])
    if abs(now - created) > age:
        raise Unsigned("stale")
    if sent_digest != digest(body):
        raise Unsigned("digest")
    text = given[0].removeprefix(f"{_LABEL}=")
    raw = base64.b64decode(signature[1])
    if not verify(key, b"", base(method, host, path, body, text), raw):
        raise Unsigned("signature")
    return Signed(key, nonce, created)


class Nonces:
    """Nonces seen lately; bounded, and a full memory refuses instead of forgetting.

    ``memory`` must be at least twice the greatest age of a request: a clock may
    be that much ahead or behind.
    """

    def __init__(self, memory: int, most: int = 100_000) -> None:
        self._memory = memory
        self._most = most
        self._seen: OrderedDict[tuple[bytes, bytes], int] = OrderedDict()

    def use(self, key: bytes, nonce: bytes, now: int) -> bool:
        """Remember a nonce of a key; False if it was used, or there is no room."""
        while self._seen:
            oldest, when = next(iter(self._seen.items()))
            if when > now - self._memory:
                break
            del self._seen[oldest]
        if (key, nonce) in self._seen or len(self._seen) >= self._most:
            return False
        self._seen[key, nonce] = now
        return True

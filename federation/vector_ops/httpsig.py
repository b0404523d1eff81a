"""Group httpsig: requests, signed and checked.

``do: check``: a server with the authority ``host`` receives ``requests`` one after
the other at their ``now``; ``words`` tells ``ok`` or the reason for 401 of each.
``do: sign``: the three header fields of a request. Bodies are base64url.
"""

from __future__ import annotations

from typing import Any

from federation.exchange.httpsig import Nonces, Unsigned, check, sign
from federation.format.limits import Limits
from federation.format.profile import unb64
from federation.format.signing import Signer

__all__ = ["answer"]


def answer(value: dict[str, Any]) -> dict[str, Any]:
    """Sign a request, or check several."""
    if value["do"] == "sign":
        return {
            "fields": sign(
                Signer(bytes.fromhex(value["seed"])),
                value["method"],
                value["host"],
                value["path"],
                unb64(value["body"]),
                created=value["created"],
                nonce=unb64(value["nonce"], 16),
            )
        }
    limits = Limits()
    nonces = Nonces(limits.nonce_memory)
    return {
        "words": [
            _check(value["host"], one, nonces, limits) for one in value["requests"]
        ]
    }


def _check(host: str, one: dict[str, Any], nonces: Nonces, limits: Limits) -> str:
    fields = {name.lower(): text for name, text in one["fields"].items()}
    try:
        signed = check(
            one["method"],
            host,
            one["path"],
            fields,
            unb64(one["body"]),
            now=one["now"],
            age=limits.request_age,
        )
    except Unsigned as refusal:
        return refusal.reason
    return "ok" if nonces.use(signed.key, signed.nonce, one["now"]) else "replay"

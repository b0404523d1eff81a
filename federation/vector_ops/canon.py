"""Group canon: which bytes are the canonical text of an object.

Also which base64url text is a binary field of some length.
"""

from __future__ import annotations

from typing import Any

from federation.format.errors import Refused
from federation.format.profile import decode, unb64
from federation.vector_ops._bytes import unspelled

__all__ = ["answer"]


def answer(value: dict[str, Any]) -> dict[str, Any]:
    """Answer ``{"code"}``, and for a good binary field ``{"hex"}``."""
    try:
        if "b64" in value:
            return {"hex": unb64(value["b64"], value["length"]).hex()}
        decode(unspelled(value))
    except Refused as refusal:
        return {"code": refusal.code}
    return {"code": "ok"}

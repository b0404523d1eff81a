"""Group addr: the canonical form of an address, and its tags by pepper."""

from __future__ import annotations

from typing import Any

from federation.format.profile import b64
from federation.format.tags import NotShareable, Pepper, canon

__all__ = ["answer"]


def answer(value: dict[str, Any]) -> dict[str, Any]:
    """Answer ``{"canon", "tags": [{"pk", "r", "s"}...]}`` or ``{"code"}``."""
    address = value["address"]
    try:
        form = canon(address)
    except NotShareable:
        return {"code": "not-shareable"}
    peppers = [Pepper(bytes.fromhex(secret)) for secret in value["peppers"]]
    tags = [
        {
            "pk": b64(pepper.id),
            "r": b64(pepper.recipient(address)),
            "s": b64(pepper.sender(address)),
        }
        for pepper in peppers
    ]
    return {"canon": form, "tags": tags}

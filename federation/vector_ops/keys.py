"""Group keys: public keys, signatures, and which signatures are valid.

Bytes are hexadecimal; a context is the text that is signed before the message.
"""

from __future__ import annotations

from typing import Any

from federation.format.signing import Signer, verify

__all__ = ["answer"]


def answer(value: dict[str, str]) -> dict[str, Any]:
    """Answer the question ``do``: public, sign or verify."""
    if value["do"] == "public":
        return {"public": Signer(bytes.fromhex(value["seed"])).public.hex()}
    context = value["context"].encode("ascii")
    message = bytes.fromhex(value["message"])
    if value["do"] == "sign":
        signer = Signer(bytes.fromhex(value["seed"]))
        return {"signature": signer.sign(context, message).hex()}
    key, signature = bytes.fromhex(value["key"]), bytes.fromhex(value["signature"])
    return {"valid": verify(key, context, message, signature)}

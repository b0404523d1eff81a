"""Group event: reading lines (V1 to V3, V5), their weight (V9), writing them.

Ids are base64url, as everywhere in the protocol.
"""

from __future__ import annotations

from typing import Any

from federation.format.errors import Refused
from federation.format.event import Stub, authentic, parse, write
from federation.format.kinds import defect
from federation.format.profile import b64, unb64
from federation.format.signing import Signer
from federation.vector_ops._bytes import unspelled

__all__ = ["answer"]


def answer(value: dict[str, Any]) -> dict[str, Any]:
    """Answer the question ``do``: read, stub or write."""
    try:
        match value["do"]:
            case "read":
                return _read(unspelled(value["line"]), value["net"])
            case "stub":
                return {
                    "code": "ok",
                    "id": b64(Stub.parse(unspelled(value["line"])).id),
                }
            case _:
                return _write(value)
    except Refused as refusal:
        return {"code": refusal.code}


def _read(line: bytes, net: str) -> dict[str, Any]:
    event = parse(line, net)
    if not authentic(event):
        return {"code": "bad-sig"}
    return {"code": "ok", "id": b64(event.id), "weight": not defect(event)}


def _write(value: dict[str, Any]) -> dict[str, Any]:
    head = value["header"]
    event = write(
        Signer(bytes.fromhex(value["seed"])),
        net=head["net"],
        org=unb64(head["org"], 32),
        st=head["st"],
        inc=head["inc"],
        seq=head["seq"],
        prev=unb64(head["prev"]),
        ts=head["ts"],
        k=head["k"],
        n=unb64(head["n"], 16),
        b=value["body"],
    )
    return {"code": "ok", "line": event.line.decode("ascii")}

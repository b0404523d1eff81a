"""What is wrong with a line, in the words of the protocol.

A refusal has one of a closed list of codes, which the answer to a push carries
back to the peer, and a sentence for people. Nothing here decides who is to
blame: a bad form or a bad signature is the peer's fault, since honest nodes
never relay it; everything later is the origin's (PROTOCOL.md 6).
"""

from __future__ import annotations

from typing import Final

__all__ = ["CODES", "PEERS_FAULT", "Refused"]

CODES: Final = frozenset(
    {
        "too-long",  # V1
        "bad-form",  # V2, V3
        "wrong-net",  # V3
        "refused",  # V4: this node does not want that organisation's data
        "bad-sig",  # V5
        "unknown-org",  # V6
        "bad-chain",  # V7, V8
        "fork",  # V7
        "future",  # V8
        "quota",  # V10
        "dup",  # the line is here already
    }
)

PEERS_FAULT: Final = frozenset({"too-long", "bad-form", "bad-sig"})
"""Codes of lines that no honest node passes on."""


class Refused(Exception):  # noqa: N818 - the name says what happened
    """A line, or a part of one, that is not accepted.

    ``code`` is one of CODES and goes over the wire; ``why`` is for people and
    never contains text from outside.
    """

    def __init__(self, code: str, why: str) -> None:
        if code not in CODES:
            raise ValueError(f"{code!r} is no code of the protocol")
        super().__init__(f"{code}: {why}")
        self.code = code
        self.why = why

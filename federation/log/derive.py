"""What the store keeps beside an event's line, so that it can be found and applied.

All of it follows from the line alone and is computed once, when the event is
stored, or again for all events when a later version knows more kinds (rebuild).
An event without weight by its form gives nothing. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

from federation.format.errors import Refused
from federation.format.event import Event, authentic, parse
from federation.format.kinds import defect
from federation.format.profile import unb64
from federation.log.chain import LogKey

__all__ = ["NOTHING", "Derived", "Proof", "check_proof", "derive", "make_proof"]


class Proof(NamedTuple):
    """A checked fork proof: two authentic lines with one place in one log."""

    which: LogKey
    seq: int
    orgs: tuple[bytes, bytes]  # of the two lines; nearly always the same
    lines: tuple[bytes, bytes]  # in order of their ids


@dataclass(frozen=True, slots=True)
class Derived:
    """What an event means to the store."""

    weight: bool = False
    tag: bytes | None = None
    takes_back: tuple[bytes, ...] = ()  # ids
    erases: bool = False
    introduces: bytes = b""
    proof: Proof | None = None


NOTHING = Derived()


def derive(event: Event) -> Derived:
    """Return what an event gives to the store. Verifies only inside a proof."""
    if defect(event):
        return NOTHING
    body = event.b
    match event.k:
        case "fix.retract":
            ids = cast("list[str]", body["ids"])
            return Derived(
                weight=True,
                takes_back=tuple(unb64(one, 32) for one in ids),
                erases=body["why"] == "erasure",
            )
        case "send.released":
            return Derived(weight=True, takes_back=(unb64(body["ref"], 32),))
        case "ctl.peer":
            peer = unb64(body["peer"], 32)
            # Nobody introduces himself.
            return Derived(weight=True, introduces=b"" if peer == event.org else peer)
        case "proof.fork":
            proof = check_proof(event)
            return NOTHING if proof is None else Derived(weight=True, proof=proof)
        case _:
            name = body.get("r", body.get("s"))
            tagged = event.k.startswith(("rcpt.", "send.")) and name is not None
            return Derived(weight=True, tag=unb64(name, 16) if tagged else None)


def check_proof(event: Event) -> Proof | None:
    """Return the proof in a ``proof.fork`` event, None if it proves nothing."""
    try:
        one, other = (parse(unb64(event.b[name]), event.net) for name in ("a", "b"))
    except Refused:
        return None
    if not (authentic(one) and authentic(other)):
        return None
    return make_proof(one, other)


def make_proof(one: Event, other: Event) -> Proof | None:
    """Return the proof that two authentic events make, None if they do not."""
    which = LogKey(one.key, one.st, one.inc)
    place = (one.key, one.st, one.inc, one.seq)
    if place != (other.key, other.st, other.inc, other.seq) or one.id == other.id:
        return None
    first, second = sorted((one, other), key=lambda event: event.id)
    return Proof(
        which=which,
        seq=one.seq,
        orgs=(first.org, second.org),
        lines=(first.line, second.line),
    )

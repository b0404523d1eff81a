"""Group sync: vectors compared, and whole sessions between two stores.

``do: compare``: ``ours`` and ``theirs`` are vectors (``headid`` of 16 bytes); told
are the digest of ours, and what to ``pull``, ``push``, take backwards (``below``)
and look at (``odd``), in order.

``do: session``: two stores hold ``ours`` and ``theirs``, lines in their order; each
admits the organisations of ``admit`` and refuses those of ``refuse``. Told are the
questions of the first session that our side starts, [path, body], a body of lines
as text; and both vectors at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from federation.exchange.replica import Replica
from federation.exchange.service import Service
from federation.exchange.session import Memory, session
from federation.exchange.sync import (
    compare,
    digest,
    read_vector,
    write_vector,
    write_wants,
)
from federation.format.limits import Limits
from federation.format.profile import b64, unb64
from federation.log.admission import Admission
from federation.log.chain import LogKey
from federation.log.store import Store

if TYPE_CHECKING:
    from federation.exchange.session import Answer

__all__ = ["answer"]

_NET = "test"
_PEER = bytes(32)


def answer(value: dict[str, Any]) -> dict[str, Any]:
    """Compare two vectors, or let two stores talk."""
    if value["do"] == "session":
        return _session(value)
    ours = {LogKey(*one[:3]): one for one in read_vector(value["ours"])}
    theirs = {LogKey(*one[:3]): one for one in read_vector(value["theirs"])}
    found = compare(ours, theirs)
    return {
        "digest": b64(digest(ours.values())),
        "pull": write_wants(found.pull),
        "push": write_wants(found.push),
        "below": write_wants(found.below),
        "odd": [[b64(log.key), log.st, log.inc] for log in found.odd],
    }


def _session(value: dict[str, Any]) -> dict[str, Any]:
    now = value["now"]
    ours, theirs = (
        _replica(value, value[side], value["refuse"][side], now)
        for side in ("ours", "theirs")
    )
    service = Service(theirs)
    dialogue = session(ours, _PEER, Memory(), lambda: now)
    asked: list[list[str]] = []
    reply: Answer | None = None
    while True:
        try:
            ask = next(dialogue) if reply is None else dialogue.send(reply)
        except StopIteration:
            break
        asked.append([ask.path, ask.body.decode("ascii")])
        reply = service.answer(ask.path, ask.body, peer=_PEER, now=now)
    vectors = [write_vector(one.vector()) for one in (ours, theirs)]
    for one in (ours, theirs):
        one.store.close()
    return {"asked": asked, "ours": vectors[0], "theirs": vectors[1]}


def _replica(
    value: dict[str, Any], lines: list[str], refuse: list[str], now: int
) -> Replica:
    limits = Limits()
    store = Store(":memory:", _NET, limits)
    for org in value["admit"]:
        store.set_trust(unb64(org, 32), "seen", now=0)
    admission = Admission(store, _NET, limits)
    if lines:
        taken = [f"{line}\n".encode("ascii") for line in lines]
        admission.take(taken, peer="vector", now=now)
    for org in refuse:
        store.set_trust(unb64(org, 32), "refused", now=0)
    return Replica(store, admission)

"""What becomes of lines: one question for the groups chain, fork, keysmgmt, time.

``input``: ``admit`` are organisations that the operator has at level ``seen``,
``steps`` are batches of lines (without LF), each offered at ``now``. Before each
batch, parked lines are tried again and what is too old expires.

``expect``: ``codes`` for each line of each step; ``vector``, the entries
[key, st, inc, floor, head, id of the head]; ``parked``, how many lines; ``frozen``,
organisations; ``counts``, the ids of the events of streams h and s that have
weight. Entries and ids are in ASCII order of their texts.
"""

from __future__ import annotations

from typing import Any

from federation.format.limits import Limits
from federation.format.profile import b64, unb64
from federation.log.admission import Admission
from federation.log.housekeeping import erase, expire
from federation.log.store import Store

__all__ = ["answer"]

_NET = "test"


def answer(value: dict[str, Any]) -> dict[str, Any]:
    """Offer the lines to an empty store and tell what it holds."""
    limits = Limits()
    store = Store(":memory:", _NET, limits)
    admission = Admission(store, _NET, limits)
    try:
        for org in value["admit"]:
            store.set_trust(unb64(org, 32), "seen", now=0)
        codes = []
        for step in value["steps"]:
            admission.retry(step["now"])
            while expire(store, step["now"]) or erase(store):
                pass
            lines = [line.encode("latin-1") + b"\n" for line in step["lines"]]
            codes.append(admission.take(lines, peer="vector", now=step["now"]))
        return {"codes": codes, **_state(store)}
    finally:
        store.close()


def _state(store: Store) -> dict[str, Any]:
    vector = sorted(
        [b64(key), st, inc, floor, head, b64(head_id)]
        for key, st, inc, floor, head, head_id in store.vector()
    )
    orgs = [row.org for row in store.trust_rows()]
    parked = store.row("SELECT count(*) FROM park")
    return {
        "vector": vector,
        "parked": parked[0] if parked else 0,
        "frozen": [b64(org) for org in orgs if store.identity(org).frozen],
        "counts": sorted(b64(one.id) for one in store.counting() if one.st != "c"),
    }

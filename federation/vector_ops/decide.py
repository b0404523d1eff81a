"""Group decide: trust table, claims, own evidence and time; what follows.

Organisations and ids are any strings here; ``share`` are thousandths left by the
audit, ``rules`` differ from the defaults where given.
"""

from __future__ import annotations

from typing import Any

from federation.log.claim import Claim
from federation.trust.decision import Own, Rules, decide
from federation.trust.levels import Level, Standing, Trust

__all__ = ["answer"]


def answer(value: dict[str, Any]) -> dict[str, Any]:
    """Return outcome, rule, evidence, who counts and since when."""
    table = {
        one["org"].encode(): Standing(Level(one["level"]), one.get("group", ""))
        for one in value["trust"]
    }
    shares = {
        one["org"].encode(): one["share"] for one in value["trust"] if "share" in one
    }
    claims = [
        Claim(
            one["org"].encode(),
            one["org"].encode(),
            "s" if one["k"] in {"rcpt.soft", "rcpt.ok"} else "h",
            0,
            1,
            one["id"].encode(),
            one["k"],
            one["b"],
            one["ts"],
            one["ts"],
        )
        for one in value["claims"]
    ]
    verdict = decide(
        claims,
        Own(**value.get("own", {})),
        Trust(table, shares),
        value["now"],
        Rules(**value.get("rules", {})),
    )
    return {
        "outcome": verdict.outcome.value,
        "rule": verdict.rule,
        "e": verdict.e,
        "by": [org.decode() for org in verdict.by],
        "since": verdict.since,
    }

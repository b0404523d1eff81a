"""What people and programs are shown of a node, as plain data for JSON.

Times are Unix seconds, weights whole or thousandths as named, keys and ids base64url.
The command line lays it out; the library returns it. Reads only.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from federation.format.profile import b64
from federation.log.claim import Claim
from federation.log.quota import admitted, left
from federation.trust import decision
from federation.trust.judge import worst
from federation.trust.levels import FULL, MILLI

if TYPE_CHECKING:
    from collections.abc import Iterator

    from federation.node import Node
    from federation.trust.decision import Verdict

__all__ = [
    "about",
    "benefit",
    "explain",
    "log",
    "lookup",
    "organisation",
    "peers",
    "scores",
    "status",
    "trust",
]

RULES = {
    "D1": "it lives, as our own mail or its owner says",
    "D2": "our own mail bounced",
    "D3": "enough of those we believe say so",
    "D4": "somebody we believe says so, not enough for more",
    "D5": "nothing speaks against it",
}


def organisation(node: Node, org: bytes) -> dict[str, Any]:
    """Return name, key and level of an organisation."""
    standing = node.judge.trust().standing(org)
    return {
        "name": node.name_of(org),
        "org": b64(org),
        "level": str(standing.level),
        "group": standing.group,
    }


def verdict_of(node: Node, address: str, now: int) -> Verdict:
    """Return what follows for an address: the strictest of its tags' verdicts."""
    found = worst(node.judge.verdicts(node.tags(address), now).values())
    return found or decision.Verdict(decision.Outcome.ALLOW, "D5")


def lookup(node: Node, address: str, now: int) -> dict[str, Any]:
    """Return what follows for mail to an address, and by whom."""
    verdict = verdict_of(node, address, now)
    return {
        "address": address,
        "outcome": str(verdict.outcome),
        "rule": verdict.rule,
        "why": RULES[verdict.rule],
        "evidence_milli": verdict.e,
        "by": [] if verdict.own else [node.name_of(org) for org in verdict.by],
        "since": verdict.since,
        "own": verdict.own,
    }


def explain(node: Node, address: str, now: int) -> dict[str, Any]:
    """Return who claims what about an address, with which weight, and what follows."""
    tags = node.tags(address)
    verdict = verdict_of(node, address, now)
    weights = {(part.org, part.k): part.value for part in verdict.parts}
    trust = node.judge.trust()
    claims = [
        {
            **organisation(node, claim.org),
            "kind": claim.k,
            "at": decision.claimed_at(claim),
            "received": claim.recv,
            "code": claim.body.get("code", ""),
            "count": claim.body.get("cnt", 1),
            "fresh_weight": trust.weight(claim.org) // MILLI,
            "weight_milli": weights.get((claim.org, claim.k), 0),
            "lives": decision.lives(claim, now),
            "id": b64(claim.id),
        }
        for claim in sorted(node.store.claims(tags), key=decision.claimed_at)
    ]
    own = node.evidence.known(tags)
    signals = node.judge.senders(now)
    said = [signals[tag] for tag in node.sender_tags(address) if tag in signals]
    probe = decision.probe_number(verdict.since, now) if verdict.since else 0
    return {
        **lookup(node, address, now),
        "claims": claims,
        "own_evidence": [{"what": what, "at": at} for what, at in own],
        "as_sender": [
            {
                "by": [node.name_of(org) for org in one.by],
                "why": one.why,
                "until": one.until,
            }
            for one in said
        ],
        "probe": probe if verdict.outcome is decision.Outcome.SUPPRESS else 0,
        "remote_counts": node.judge.rules(now).remote,
    }


def trust(node: Node) -> Iterator[dict[str, Any]]:
    """Yield each known organisation with its level, by name."""
    rows = {row.org: row for row in node.store.trust_rows()}
    known = {*rows, *node.orgs(), *(peer.org for peer in node.store.peers())}
    table = node.judge.trust()
    counts = _counts(node)
    for org in sorted(known, key=lambda one: (node.name_of(one).lower(), one)):
        identity = node.store.identity(org)
        sponsor = admitted(node.store, org)
        yield {
            **organisation(node, org),
            "share": table.shares.get(org, FULL),
            "since": rows[org].since if org in rows else 0,
            "note": rows[org].note if org in rows else "",
            "events": counts.get(org, 0),
            "by": node.name_of(sponsor.sponsor) if sponsor and sponsor.sponsor else "",
            "frozen": identity.frozen,
            "forks": len(identity.forks),
        }


def _counts(node: Node) -> dict[bytes, int]:
    return dict(
        node.store.rows("SELECT org, sum(max(0, head-floor)) FROM log GROUP BY org")
    )


def peers(node: Node) -> Iterator[dict[str, Any]]:
    """Yield the peers with how the daemon last found them."""
    for peer in node.store.peers():
        state = json.loads(peer.data)
        yield {
            **organisation(node, peer.org),
            "url": peer.url,
            "pinned": bool(peer.pin),
            "added": peer.added,
            "heard": state.get("seen", 0),
            "tried": state.get("tried", 0),
            "problem": state.get("problem", ""),
            "missing": state.get("behind", 0),
            "clock": state.get("offset", 0),
        }


def status(node: Node, daemon: dict[str, Any], now: int) -> dict[str, Any]:
    """Return how the node is; ``daemon`` is what its daemon wrote down last."""
    store = node.store
    events = dict(store.rows("SELECT st, sum(max(0, head-floor)) FROM log GROUP BY st"))
    (parked,) = store.row("SELECT count(*) FROM park") or (0,)
    levels: dict[str, int] = {}
    for row in trust(node):
        levels[row["level"]] = levels.get(row["level"], 0) + 1
    size = sum(path.stat().st_size for path in node.directory.glob("*.sqlite*"))
    return {
        **organisation(node, node.org),
        "network": node.net,
        "url": node.settings.server.url,
        "root_key_here": node.own.root is not None,
        "peppers": [b64(pepper.id) for pepper in node.peppers()],
        "events": {stream: int(events.get(stream) or 0) for stream in "chs"},
        "organisations": levels,
        "parked": parked,
        "outbox": node.evidence.waiting(),
        "bytes": size,
        "forks": list(forks(node)),
        "quotas": list(quotas(node, now)),
        "lowered": [
            {**organisation(node, org), "share": share}
            for org, share in sorted(node.judge.trust().shares.items())
        ],
        "breaker_until": max(0, node.judge.breaker_until),
        "remote_counts": node.judge.rules(now).remote,
        "daemon": daemon,
    }


def forks(node: Node) -> Iterator[dict[str, Any]]:
    """Yield the proven forks."""
    for org, st, inc, seq, seen in node.store.rows(
        "SELECT org, st, inc, seq, seen FROM fork ORDER BY seen, org"
    ):
        yield {
            **organisation(node, org),
            "stream": st,
            "incarnation": inc,
            "seq": seq,
            "seen": seen,
            "frozen": node.store.identity(org).frozen,
        }


def quotas(node: Node, now: int) -> Iterator[dict[str, Any]]:
    """Yield organisations that used more than half of what they may add now."""
    limits = node.limits
    for org, used, at in node.store.rows(
        "SELECT org, used, at FROM quota WHERE bucket='now' ORDER BY org"
    ):
        level = admitted(node.store, org)
        day = limits.per_day.get(level.level if level else "seen", 0)
        room = day * limits.burst
        taken = left(used, at, now, day)
        if room and taken > room / 2:
            share = min(1.0, taken / room)
            yield {**organisation(node, org), "used": round(share, 2)}


def log(
    node: Node, *, org: bytes | None, kind: str, limit: int
) -> Iterator[dict[str, Any]]:
    """Yield the newest events, the oldest of them first."""
    where = ["raw IS NOT NULL"]
    values: list[bytes | str] = []
    if org is not None:
        where.append("org=?")
        values.append(org)
    if kind:
        where.append("k=?")
        values.append(kind)
    rows = node.store.rows(
        "SELECT n, org, st, inc, seq, ts, recv, k, weight, seq>stop, raw"  # noqa: S608
        f" FROM ev JOIN log ON log.id=ev.log WHERE {' AND '.join(where)}"
        " ORDER BY n DESC LIMIT ?",
        *values,
        limit,
    )
    for _, whose, st, inc, seq, ts, recv, k, weight, ended, raw in reversed(rows):
        yield {
            **organisation(node, whose),
            "kind": k,
            "stream": st,
            "incarnation": inc,
            "seq": seq,
            "ts": ts,
            "received": recv,
            "form": bool(weight),
            "ended": bool(ended),
            "body": json.loads(raw)["b"],
        }


def scores(node: Node, now: int, days: int) -> Iterator[dict[str, Any]]:
    """Yield each organisation's numbers as it claims them, and what we saw."""
    claimed = node.judge.scores(now, days)
    records = node.judge.records
    table = node.judge.trust()
    orgs = {*claimed, *records, node.org}
    for org in sorted(orgs, key=lambda one: (one != node.org, node.name_of(one))):
        score, record = claimed.get(org), records.get(org)
        yield {
            **organisation(node, org),
            "days": score.days if score else 0,
            "sent": score.sent if score else 0,
            "hard": score.hard if score else 0,
            "stopped": score.supp if score else 0,
            "bounce_ratio": score.bounce_ratio if score else None,
            "complaint_ratio": score.complaint_ratio if score else None,
            "met": record.met if record else 0,
            "contradicted": record.contradicted if record else 0,
            "canary": org in node.judge.hit,
            "share": table.shares.get(org, FULL),
        }


def benefit(node: Node, now: int) -> Iterator[dict[str, Any]]:
    """Yield what each origin's claims spared us."""
    found = node.judge.benefit(now)
    for org in sorted(found, key=lambda one: (-found[one].stopped, node.name_of(one))):
        one = found[org]
        yield {
            **organisation(node, org),
            "stopped": one.stopped,
            "alone": one.alone,
            "right": one.right,
            "wrong": one.wrong,
            "spared": one.spared,
        }


def about(node: Node, address: str) -> dict[str, Any]:
    """Return everything that is stored about a person's address, for that person."""
    recipient, sender = node.tags(address), node.sender_tags(address)
    contacts = {
        event.org: str(event.body.get("contact", ""))
        for event in node.store.events("ctl.org")
    }
    events = [
        {
            **organisation(node, claim.org),
            "contact": contacts.get(claim.org, ""),
            "kind": claim.k,
            "at": claim.ts,
            "body": dict(claim.body),
            "id": b64(claim.id),
        }
        for claim in _stored(node, [*recipient, *sender])
    ]
    known = node.evidence.known([*recipient, *sender])
    return {
        "address": address,
        "tags": {"recipient": [*map(b64, recipient)], "sender": [*map(b64, sender)]},
        "events": events,
        "own": [{"what": what, "at": at} for what, at in known],
    }


def _stored(node: Node, tags: list[bytes]) -> list[Claim]:
    """Return every stored event about tags, whether it counts or not."""
    rows = node.store.among(
        "SELECT org, key, st, inc, seq, ev.id, k, raw, ts, recv FROM ev"
        " JOIN log ON log.id=ev.log WHERE raw IS NOT NULL AND tag IN (?)",
        tags,
    )
    return [
        Claim(org, key, st, inc, seq, ident, k, json.loads(raw)["b"], ts, recv)
        for org, key, st, inc, seq, ident, k, raw, ts, recv in sorted(
            rows, key=lambda one: one[8]
        )
    ]

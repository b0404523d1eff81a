"""Which of our facts become events, and in what form.

Few do. A bounce is told only with a status that speaks of the mailbox, and a
delivery only where somebody whom we believe calls the address dead: to tell of
others would publish our users' address books, and to anybody who asks by claiming.
Times are rounded down to the hour and publication waits for a random quarter of an
hour, so that nobody can match events with single messages. One event for a kind and
tag a day; ``cnt`` carries the rest.

PROTOCOL.md 4.1. Pure: the caller brings clock and randomness, and keeps the drafts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from federation.format.kinds import HARD_CODES, HOUR, SOFT_CODES, is_status
from federation.format.limits import DAY
from federation.format.profile import b64
from federation.trust.decision import LIFE, claimed_at, lives
from federation.trust.facts import (
    Blocked,
    Bounce,
    Complaint,
    Day,
    Delivered,
    Receiver,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from federation.format.tags import Pepper
    from federation.log.claim import Claim
    from federation.trust.facts import Fact
    from federation.trust.levels import Trust

__all__ = [
    "BETWEEN",
    "JITTER",
    "Draft",
    "Share",
    "disputed",
    "draft",
    "joined",
    "own_hard",
]

BETWEEN = DAY  # seconds between two events of one kind and tag
JITTER = HOUR // 4
_MOST_COUNTED = 9999
_BLOCKED_FOR = 30 * DAY
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Share:
    """What this host tells the others. Complaints are a person's act: off."""

    dead: bool = True
    soft: bool = True
    alive: bool = True
    complaints: bool = False
    senders: bool = True
    receivers: bool = True
    scores: bool = True


@dataclass(frozen=True, slots=True)
class Draft:
    """An event that is not yet one. ``subject`` is a tag, or what counts once."""

    kind: str
    subject: bytes
    body: dict[str, Any]
    wait: int = 0  # seconds of jitter at most


def draft(fact: Fact, pepper: Pepper, share: Share, now: int) -> Draft | None:
    """Return what a fact publishes by itself, None for nothing.

    A delivery publishes only where ``disputed`` says so too; a release needs the
    event that it ends. Raises NotShareable for an address that has no tag.
    """
    found: Draft | None = None
    match fact:
        case Bounce():
            found = _bounce(fact, pepper, share, now)
        case Delivered() if share.alive and fact.mail:
            last = {"last": _hour(fact.at, now)}
            found = _about(pepper, "rcpt.ok", fact.address, last)
        case Complaint() if share.complaints:
            said = {"src": fact.src, "cls": fact.cls}
            found = _about(pepper, "rcpt.complaint", fact.address, said)
        case Blocked() if share.senders:
            found = _blocked(fact, pepper, now)
        case Receiver() if share.receivers:
            found = _receiver(fact, now)
        case Day() if share.scores:
            found = _day(fact)
        case _:
            pass
    return found


def _bounce(fact: Bounce, pepper: Pepper, share: Share, now: int) -> Draft | None:
    kind = "rcpt.soft" if fact.soft else "rcpt.hard"
    codes = SOFT_CODES if fact.soft else HARD_CODES
    wanted = share.soft if fact.soft else share.dead
    # Never 5.7.x and the like: a refusal of the message or of us, not the address.
    if not wanted or fact.code not in codes or now - fact.at > LIFE[kind]:
        return None
    # A report without a reply code has the general one of its class.
    least = int(fact.code[0]) * 100
    smtp = fact.smtp if least <= fact.smtp < least + 100 else least + 50
    body: dict[str, Any] = {
        "code": fact.code,
        "smtp": smtp,
        "cnt": 1,
        "last": _hour(fact.at, now),
        "via": fact.via,
    }
    if _PROVIDER.fullmatch(fact.provider):
        body["prov"] = fact.provider
    return _about(pepper, kind, fact.address, body)


def _blocked(fact: Blocked, pepper: Pepper, now: int) -> Draft | None:
    until = _hour(fact.until, now + _BLOCKED_FOR)
    if until <= now:
        return None
    body = {
        "pk": b64(pepper.id),
        "s": b64(pepper.sender(fact.address)),
        "why": fact.why,
        "until": until,
    }
    # No jitter: a stolen password is tried at the next host within minutes.
    return Draft("send.blocked", fact.case.encode(), body)


def _receiver(fact: Receiver, now: int) -> Draft | None:
    if not fact.n or not _PROVIDER.fullmatch(fact.provider) or not is_status(fact.code):
        return None
    begin = _hour(fact.begin, now)
    end = max(_hour(fact.end, now), begin) + HOUR
    body = {
        "prov": fact.provider,
        "code": fact.code,
        "n": fact.n,
        "from": begin,
        "to": end,
    }
    return Draft("out.blocked", fact.provider.encode(), body, JITTER)


def _day(fact: Day) -> Draft | None:
    # An idle day says nothing, and half a day would be counted as a whole one.
    if not fact.sent + fact.suppressed or fact.begin % DAY:
        return None
    body = {
        "from": fact.begin,
        "to": fact.begin + DAY,
        "sent": fact.sent,
        "hard": fact.hard,
        "soft": fact.soft,
        "cmpl": fact.complaints,
        "supp": fact.suppressed,
        "m": 1,
    }
    return Draft("stat.score", str(fact.begin).encode(), body, JITTER)


def _about(pepper: Pepper, kind: str, address: str, body: dict[str, Any]) -> Draft:
    tag = pepper.recipient(address)
    return Draft(kind, tag, {"pk": b64(pepper.id), "r": b64(tag), **body}, JITTER)


def _hour(at: int, most: int) -> int:
    """Round down to the hour; a clock ahead of ours does not date us ahead."""
    at = min(at, most)
    return at - at % HOUR


def joined(old: Draft, new: Draft) -> Draft:
    """Return one draft for two of the same kind and subject.

    The newer bounce tells code and way; the counts add up.
    """
    if "last" not in new.body:
        return new
    newer, older = (new, old) if new.body["last"] >= old.body["last"] else (old, new)
    if "cnt" not in newer.body:
        return newer
    count = min(_MOST_COUNTED, newer.body["cnt"] + older.body["cnt"])
    return replace(newer, body={**newer.body, "cnt": count})


def disputed(claims: Iterable[Claim], trust: Trust, now: int) -> bool:
    """Whether somebody whom we believe claims that the address takes no mail.

    Without weight it does not matter what they say; and who could make us tell by
    claiming could ask us about any address.
    """
    return any(
        claim.k in {"rcpt.hard", "rcpt.soft"}
        and trust.weight(claim.org) > 0
        and lives(claim, now)
        for claim in claims
    )


def own_hard(claims: Iterable[Claim], own: bytes, at: int) -> list[bytes]:
    """Return our own events that a sign of life at ``at`` proves stale."""
    return sorted(
        claim.id
        for claim in claims
        if claim.org == own and claim.k == "rcpt.hard" and claimed_at(claim) <= at
    )

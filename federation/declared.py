"""Every metric: name, type, labels, meaning, and what to do when it moves.

The only place where a metric is named. ``metrics`` makes them from here,
docs/federation-monitoring.md is written from here, and tests hold dashboards and
alerts against it. Labels are bounded: a code, a kind, a level, a stream, a peer that
the operator added; never an address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ALL", "Declared"]


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric. ``act`` is for the operator; ``values`` explains the labels."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    act: str
    labels: tuple[str, ...] = ()
    values: str = ""


_P = "mailshaper_federation_"

ALL: tuple[Declared, ...] = (
    Declared(
        f"{_P}build_info",
        "gauge",
        "1; the labels tell the version.",
        "Nothing.",
        ("placement", "version"),
        "`placement`: `federation`",
    ),
    # -- exchange
    Declared(
        f"{_P}lines_total",
        "counter",
        "Lines from peers, by what became of them.",
        "`ok`, `dup` and `parked` are everyday. Many `bad-form` or `bad-sig`: a peer "
        "is broken or hostile, see its name in the log. `quota`: somebody floods, "
        "and lags.",
        ("code",),
        "`code`: `ok`, `dup`, `parked` or a refusal code of PROTOCOL.md 6",
    ),
    Declared(
        f"{_P}sessions_total",
        "counter",
        "Exchanges with peers that this host began.",
        "`failed` alone: `mailshaper federation peers` has the reason.",
        ("result",),
        "`result`: `done`, `failed`",
    ),
    Declared(
        f"{_P}peer_age_seconds",
        "gauge",
        "Time since the last exchange with a peer, by the name given to it.",
        "Hours: is it down, or did its address or key change? "
        "docs/runbooks/MailshaperFederationPeerSilent.md",
        ("peer",),
        "`peer`: as `mailshaper federation peers` shows it",
    ),
    Declared(
        f"{_P}missing_events",
        "gauge",
        "Events that a peer was seen to have and this host has not.",
        "A first copy or a long absence counts down; what stays hangs at a quota "
        "(`mailshaper federation status`).",
    ),
    Declared(
        f"{_P}clock_offset_seconds",
        "gauge",
        "Our clock minus the median of our peers' clocks.",
        "Over 120: repair the clock (chrony). Over 3600 nothing is accepted.",
    ),
    # -- what is stored
    Declared(
        f"{_P}events",
        "gauge",
        "Events stored, by stream.",
        "Grows for 180 days, then stays.",
        ("stream",),
        "`stream`: `c` (identity), `h` (hard facts), `s` (soft facts, numbers)",
    ),
    Declared(
        f"{_P}organisations",
        "gauge",
        "Organisations whose events are stored, by the level they have here.",
        "Many new `seen`: ask who introduced them (`mailshaper federation log "
        "--kind ctl.peer`). They have no weight.",
        ("level",),
        "`level`: `seen`, `known`, `trusted`, `sole`, `self`, `refused`",
    ),
    Declared(
        f"{_P}forks",
        "gauge",
        "Logs with two different events at one place, others' and our own.",
        "docs/runbooks/MailshaperFederationFork.md",
        ("whose",),
        "`whose`: `own`, `others`",
    ),
    Declared(
        f"{_P}parked_lines",
        "gauge",
        "Lines that wait: dated ahead, or of a key that nobody granted yet.",
        "They end by themselves within a day.",
    ),
    Declared(
        f"{_P}database_bytes",
        "gauge",
        "Size of the database file and its write-ahead log.",
        "About 800 octets an event; see the free space beside.",
    ),
    Declared(
        f"{_P}disk_free_bytes",
        "gauge",
        "Free space where the database lies.",
        "docs/runbooks/MailshaperFederationStoreFailing.md",
    ),
    Declared(
        f"{_P}store_failing",
        "gauge",
        "1 while the database cannot be written, 0 otherwise.",
        "docs/runbooks/MailshaperFederationStoreFailing.md",
    ),
    # -- what we say
    Declared(
        f"{_P}published_total",
        "counter",
        "Events of our own that were written, by kind.",
        "Zero for a day although mail bounces: is `[redis] url` set?",
        ("kind",),
        "`kind`: as in PROTOCOL.md 4",
    ),
    Declared(
        f"{_P}facts_total",
        "counter",
        "Facts taken from the shaper's stream.",
        "`refused` ones cannot be read: two versions that do not fit.",
        ("result",),
        "`result`: `taken`, `refused`",
    ),
    Declared(
        f"{_P}redis_up",
        "gauge",
        "1 while the shaper's Redis answers, 0 while it does not.",
        "docs/runbooks/MailshaperFederationRedisDown.md",
    ),
    # -- what follows
    Declared(
        f"{_P}verdicts",
        "gauge",
        "Recipients about whom something follows now.",
        "A jump: whose claims? `mailshaper federation benefit`, `scores`.",
        ("outcome",),
        "`outcome`: `suppress`, `caution`",
    ),
    Declared(
        f"{_P}blocked_senders",
        "gauge",
        "Senders that other hosts say they stopped.",
        "Nothing by itself: the shaper watches and tells, it blocks nobody for it.",
    ),
    Declared(
        f"{_P}stopped_recipients",
        "gauge",
        "Recipients of the last hour not written to only because of others.",
        "More than the breaker allows switches remote evidence off for six hours.",
    ),
    Declared(
        f"{_P}breaker_open",
        "gauge",
        "1 while what others say counts for nothing, 0 otherwise.",
        "docs/runbooks/MailshaperFederationBreakerOpen.md",
    ),
    Declared(
        f"{_P}lowered_organisations",
        "gauge",
        "Organisations from which the audit took weight.",
        "docs/runbooks/MailshaperFederationWeightLowered.md",
        ("why",),
        "`why`: `canary`, `contradicted`",
    ),
)

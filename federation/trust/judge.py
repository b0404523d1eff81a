"""Store, own evidence, trust and audit put together: what follows, and for whom.

Holds the trust table as it counts now, with what the audit left, and computes
verdicts from the stored events whenever asked. Nothing that it holds is truth: a new
one on the same file says the same. The unit of decision is the tag; while two
peppers live, an address has two, and claims under one do not add to the other's.

No I/O but the database; the caller brings the time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from federation.format.limits import DAY
from federation.format.profile import b64, unb64
from federation.trust import audit
from federation.trust.benefit import Benefit, Met, benefit
from federation.trust.decision import Outcome, Own, Rules, Verdict, decide
from federation.trust.levels import FULL, Level, Standing, Trust
from federation.trust.scores import Score, claimed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from federation.log.claim import Claim
    from federation.log.store import Store
    from federation.trust.evidence import Evidence

__all__ = ["Change", "Judge", "Signal", "worst"]

_BLOCK_LIVES = 30 * DAY
_ORDER = (Outcome.ALLOW, Outcome.CAUTION, Outcome.SUPPRESS)
_CHUNK = 500


class Change(NamedTuple):
    """What the audit changed: an organisation's share of its weight, and why."""

    org: bytes
    share: int
    why: str  # "canary", "contradicted", or "" when all of it is back


@dataclass(frozen=True, slots=True)
class Signal:
    """Organisations that stopped a sender, why, and until when (Unix seconds)."""

    by: tuple[bytes, ...]
    why: str
    until: int


class Judge:
    """Says what follows. ``canaries`` gives the tags of addresses known to live."""

    def __init__(
        self,
        store: Store,
        evidence: Evidence,
        own: bytes,
        rules: Rules,
        canaries: Callable[[], Iterable[bytes]] = tuple,
    ) -> None:
        """``own`` is this host's organisation."""
        self.records: dict[bytes, audit.Record] = {}
        self.hit: set[bytes] = set()
        self.breaker_until = 0
        self._store = store
        self._evidence = evidence
        self._own = own
        self._rules = rules
        self._canaries = canaries
        # With the epoch it was read at, in one place: threads replace it at once.
        self._table: tuple[int, dict[bytes, Standing]] = (-1, {})
        self._shares: dict[bytes, int] = {}

    # -- whom we believe

    def trust(self) -> Trust:
        """Return the table as it counts now."""
        epoch, table = self._store.epoch(), self._table
        if epoch != table[0]:
            rows = {
                row.org: Standing(Level(row.level), row.group, row.since)
                for row in self._store.trust_rows()
            }
            self._table = table = epoch, rows | {self._own: Standing(Level.SELF)}
        return Trust(table[1], self._shares)

    def audit(self, now: int) -> list[Change]:
        """Compare all claims with our own mail; return whose share changed.

        Reads every tag that both sides know; minutes between two calls are enough.
        """
        table = self.trust()
        self.records = audit.records(
            ((one.claims, one.signs) for one in self._met(now)), table
        )
        return self.watch(now)

    def watch(self, now: int) -> list[Change]:
        """Look at the canaries and the breaker; return whose share changed.

        Cheap enough for every batch of events.
        """
        table = self.trust()
        canaries = list(self._canaries())
        claims = self._store.claims(canaries) if canaries else []
        self.hit = audit.canaries_hit(claims, table)
        before, after = self._shares, audit.shares(self.hit, self.records)
        self._shares = after
        since = int(self._store.meta("breaker_reset") or 0)
        # An address counts once an hour, however often somebody tries.
        stops = {
            (tag, at // audit.HOUR): at
            for at, tag in self._evidence.stops(now - audit.BREAK_FOR - audit.HOUR)
        }
        self.breaker_until = audit.open_until(
            stops.values(),
            int(self._store.meta("sent_a_day") or 0),
            since,
        )
        return [
            Change(org, after.get(org, FULL), self._why(org, after))
            for org in sorted(before.keys() | after.keys())
            if before.get(org, FULL) != after.get(org, FULL)
        ]

    def _why(self, org: bytes, shares: dict[bytes, int]) -> str:
        if org in self.hit:
            return "canary"
        return "contradicted" if org in shares else ""

    def close_breaker(self, now: int) -> None:
        """Believe others again: the operator has looked at what was stopped."""
        self._store.set_meta("breaker_reset", now)
        self.watch(now)

    def rules(self, now: int) -> Rules:
        """Return the rules as they are now: an open breaker leaves own evidence."""
        return replace(self._rules, remote=now >= self.breaker_until)

    # -- what follows

    def verdicts(self, tags: Sequence[bytes], now: int) -> dict[bytes, Verdict]:
        """Return what follows for each tag."""
        trust, rules = self.trust(), self.rules(now)
        own = self._evidence.own(tags, now)
        by_tag = _by_tag(self._store.claims(tags))
        nothing = Own()
        return {
            tag: decide(by_tag.get(tag, ()), own.get(tag, nothing), trust, now, rules)
            for tag in tags
        }

    def senders(self, now: int) -> dict[bytes, Signal]:
        """Return what believed organisations say about senders, by sender tag.

        It never stops anybody: the shaper watches more closely, and tells.
        """
        found: dict[bytes, Signal] = {}
        trust = self.trust()
        for claim in self._store.events("send.blocked", after=now - _BLOCK_LIVES):
            until = min(claim.body["until"], claim.ts + _BLOCK_LIVES)
            if until <= now or not trust.weight(claim.org):
                continue
            tag = unb64(claim.body["s"], 16)
            old = found.get(tag, Signal((), "", 0))
            # The reason of the block that lasts longest; the word where equal.
            _, why = max((old.until, old.why), (until, claim.body["why"]))
            by = tuple(sorted({*old.by, claim.org}))
            found[tag] = Signal(by, why, max(old.until, until))
        return found

    # -- what it is worth

    def scores(self, now: int, days: int = 30) -> dict[bytes, Score]:
        """Return what organisations claim about their own mail."""
        return claimed(
            self._store.events("stat.score", after=now - days * DAY), now, days
        )

    def benefit(self, now: int) -> dict[bytes, Benefit]:
        """Return what each origin's claims did for us."""
        return benefit(self._met(now), self.trust())

    def names(self) -> dict[bytes, str]:
        """Return what to call organisations: the operator's name goes before theirs.

        Who is called as somebody else calls itself has the key behind its name.
        """
        said: dict[bytes, tuple[int, bytes, str]] = {}
        for event in self._store.events("ctl.org"):
            # Nobody looks like another by a space more.
            name = " ".join(str(event.body["name"]).split()) or b64(event.org)[:12]
            one = event.ts, event.id, name
            said[event.org] = max(said.get(event.org, one), one)
        names = {org: name for org, (_, _, name) in said.items()}
        given = {peer.org: peer.name for peer in self._store.peers() if peer.name}
        count = Counter((names | given).values())
        return {
            org: name if org in given or count[name] == 1 else f"{name} {b64(org)[:8]}"
            for org, name in (names | given).items()
        }

    def _met(self, now: int) -> Iterable[Met]:
        """Yield each tag that others claimed and our mail met, or was kept from."""
        signs = dict(self._evidence.met())
        stops: dict[bytes, list[int]] = {}
        for at, tag in self._evidence.stops(now - 180 * DAY):
            stops.setdefault(tag, []).append(at)
        tags = sorted(signs.keys() | stops.keys())
        for start in range(0, len(tags), _CHUNK):
            part = tags[start : start + _CHUNK]
            for tag, claims in _by_tag(self._store.claims(part)).items():
                yield Met(claims, signs.get(tag, []), stops.get(tag, []))


def worst(verdicts: Iterable[Verdict]) -> Verdict | None:
    """Return the strictest of several verdicts, as of one address's tags."""
    return max(verdicts, key=lambda one: _ORDER.index(one.outcome), default=None)


def _by_tag(claims: Iterable[Claim]) -> dict[bytes, list[Claim]]:
    found: dict[bytes, list[Claim]] = {}
    for claim in claims:
        tag = claim.body.get("r")
        if tag is not None:
            found.setdefault(unb64(tag, 16), []).append(claim)
    return found

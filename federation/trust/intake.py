"""From facts to own events: each fact once, whatever crashes in between.

A batch of facts, and the place in the stream up to which it reached, become durable
in one transaction of the same file: what is stored is past that place, what is not
will be read again. Facts are deleted from Redis only afterwards. What waits in the
outbox becomes an event in one transaction with its leaving the outbox, so no event
is written twice.

Also used without a shaper: ``take`` with facts from a command line has no place.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from federation.format.errors import Refused
from federation.format.kinds import HARD_CODES
from federation.format.profile import b64
from federation.format.tags import NotShareable, Pepper
from federation.trust.emitter import JITTER, Draft, Share, disputed, draft, own_hard
from federation.trust.facts import (
    BadFactError,
    Bounce,
    Day,
    Delivered,
    Fact,
    Released,
    Stopped,
    read,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from federation.log.own import OwnLog
    from federation.log.store import Store
    from federation.trust.evidence import Evidence
    from federation.trust.judge import Judge

__all__ = ["Intake", "Taken"]

log = logging.getLogger(__name__)

_PLACE = "facts"
_MOST_RETRACTED = 32  # ids in one event


@dataclass(slots=True)
class Taken:
    """What became of a batch: reasons of facts that were left out, tags touched."""

    refused: Counter[str] = field(default_factory=Counter)
    touched: set[bytes] = field(default_factory=set)


class Intake:
    """Takes facts and writes own events.

    ``peppers`` gives those that live, the one to publish under first. ``jitter``
    gives a random number of seconds, 0 to its argument.
    """

    def __init__(
        self,
        store: Store,
        own: OwnLog,
        evidence: Evidence,
        judge: Judge,
        peppers: Callable[[], Sequence[Pepper]],
        share: Share,
        jitter: Callable[[int], int],
    ) -> None:
        """All work on the same file."""
        self._store = store
        self._own = own
        self._evidence = evidence
        self._judge = judge
        self._peppers = peppers
        self._share = share
        self._jitter = jitter

    @property
    def ready(self) -> bool:
        """Whether tags can be made: facts before the first pepper wait in Redis."""
        return bool(self._peppers())

    def place(self) -> str:
        """Return the id of the last entry of the stream that was taken."""
        return str(self._store.meta(_PLACE) or "0-0")

    def take(
        self, facts: Sequence[bytes], now: int, place: str = "", after: str = ""
    ) -> Taken:
        """Take facts, and remember the place behind them, durably.

        ``after`` is the place they were read behind: if another process has gone on
        from there meanwhile, it has taken them, and nothing is done here.
        What cannot be read is left out and counted. Raises StoreFull; nothing is
        taken then.
        """
        taken = Taken()
        with self._store.writing(durable=True):
            if after and self.place() != after:
                return taken
            for raw in facts:
                try:
                    self._take(read(raw), now, taken)
                except BadFactError as error:
                    taken.refused[str(error)] += 1
                except NotShareable:
                    # Nobody else could know it: an address literal, and the like.
                    taken.refused["an address has no tag"] += 1
            if place:
                self._store.set_meta(_PLACE, place)
        return taken

    def _take(self, fact: Fact, now: int, taken: Taken) -> None:
        peppers = self._peppers()
        if not peppers:
            raise BadFactError("there is no pepper yet")
        match fact:
            case Bounce():
                self._bounced(fact, peppers, now, taken)
            case Delivered():
                self._alive(fact, peppers, now, taken)
            case Released():
                self._released(fact, now)
            case Stopped():
                tags = [pepper.recipient(fact.address) for pepper in peppers]
                claimed = {claim.body["r"] for claim in self._store.claims(tags)}
                # Under one tag only, or it would count twice.
                said = [tag for tag in tags if b64(tag) in claimed]
                self._evidence.stop((said or tags)[0], min(fact.at, now))
            case _:
                if isinstance(fact, Day):
                    self._store.set_meta("sent_a_day", fact.sent)
                self._enqueue(draft(fact, peppers[0], self._share, now), now)

    def _bounced(
        self, fact: Bounce, peppers: Sequence[Pepper], now: int, taken: Taken
    ) -> None:
        tags = [pepper.recipient(fact.address) for pepper in peppers]
        if not fact.soft and fact.code in HARD_CODES:
            self._evidence.see(tags, min(fact.at, now), alive=False)
            taken.touched.update(tags)
        self._enqueue(draft(fact, peppers[0], self._share, now), now)

    def _alive(
        self, fact: Delivered, peppers: Sequence[Pepper], now: int, taken: Taken
    ) -> None:
        tags = [pepper.recipient(fact.address) for pepper in peppers]
        at = min(fact.at, now)
        self._evidence.see(tags, at, alive=True)
        taken.touched.update(tags)
        for tag in tags:
            self._evidence.withdraw("rcpt.hard", tag)
            self._evidence.withdraw("rcpt.soft", tag)
        claims = self._store.claims(tags)
        if disputed(claims, self._judge.trust(), now):
            self._enqueue(draft(fact, peppers[0], self._share, now), now)
        stale = own_hard(claims, self._own.org, at)[:_MOST_RETRACTED]
        if stale:
            why = "stale" if fact.mail else "error"
            body = {"ids": [b64(one) for one in stale], "why": why}
            self._enqueue(Draft("fix.retract", tags[0], body, JITTER), now)

    def _released(self, fact: Released, now: int) -> None:
        case = fact.case.encode()
        if self._evidence.withdraw("send.blocked", case):
            return
        told = self._evidence.told("send.blocked", case)
        if told is not None and self._evidence.told("send.released", case) is None:
            self._enqueue(Draft("send.released", case, {"ref": b64(told)}), now)

    def _enqueue(self, found: Draft | None, now: int) -> None:
        if found is not None:
            wait = self._jitter(found.wait) if found.wait else 0
            self._evidence.enqueue(found, now, wait)

    def emit(self, now: int, most: int = 500) -> Counter[str]:
        """Write events whose time has come, durably; return their kinds.

        Raises StoreFull and Refused (our log is forked); they come again then.
        """
        done: Counter[str] = Counter()
        if not self._evidence.due(now, 1):
            return done
        with self._store.writing(durable=True):
            for one in self._evidence.due(now, most):
                if one.kind == "rcpt.ok" and not self._disputed(one, now):
                    self._evidence.withdraw(one.kind, one.subject)
                    continue
                st = "h" if one.kind == "fix.retract" else None
                try:
                    event = self._own.append(one.kind, one.body, now, st=st)
                except Refused as error:
                    if error.code != "bad-form":
                        raise
                    # It would hold up all others for ever.
                    log.error("a draft of %s was dropped: %s", one.kind, error)
                    self._evidence.withdraw(one.kind, one.subject)
                    continue
                self._evidence.publish(one, now, event.id)
                done[one.kind] += 1
        return done

    def _disputed(self, one: Draft, now: int) -> bool:
        """Whether a delivery still contradicts somebody: claims may have gone."""
        claims = self._store.claims([one.subject])
        return disputed(claims, self._judge.trust(), now)

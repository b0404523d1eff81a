"""Lines of a live log, Postfix's or Exim's, to the outcomes that count.

Left out is what blames nobody: verification probes, bounces of the MTA itself, what
our own server refused, and what was said between the MTA and mailshaper: handing a
message to the hop delivers it to nobody, and a refusal there was mailshaper's own.
Handed to a content filter of this host, which gave it back under another queue id,
it is delivered to nobody either; ``handed_on`` tells the two ids.
A message that expired in the queue becomes one outcome for each recipient that was
still waiting, and means what its server said last: five days of "your host has a bad
reputation" are no word about an address.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shaper.feedback.exim_log import EximLog, to_mailshaper
from shaper.feedback.logtime import LogClock
from shaper.feedback.postfix_line import (
    Delivery,
    Expired,
    Intake,
    Trouble,
    split_prefix,
)
from shaper.feedback.postfix_log import (
    DAEMONS,
    Message,
    PostfixLog,
    outcome_of_delivery,
    outcome_of_payload,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shaper.core.meaning import Table
    from shaper.core.outcome import Outcome
    from shaper.feedback.postfix_log import Said

__all__ = ["LiveLog"]

_PROBES = frozenset({"deliverable", "undeliverable", "undeliverable-but-not-cached"})
_MOST_WAITING = 1000  # recipients of one message that are remembered as waiting
_HOUR = 3600.0
_MOST_BACK = 10_000  # queue ids that came from this host and are remembered
# Postfix: name[address]:port or name[/path]; Exim: name [address]:port.
_RELAY = re.compile(r"\[([^\]\s]{1,200})\](?::(\d{1,5}))?")
_NEAR = re.compile(r"\[(?:127\.[\d.]{5,11}|::1)\]")
_EXIM_HOST = re.compile(r" H=\S{1,300} \[([^\]\s]{1,60})\](?::(\d{1,5}))?")


class LiveLog:
    """Feeds on the lines of one log, in order."""

    def __init__(
        self,
        table: Table,
        clock: Callable[[], float],
        hops: Iterable[str] = (),
        *,
        limit: int = 200_000,
    ) -> None:
        """``hops`` are the addresses on which mailshaper takes mail from the MTA.

        ``clock`` tells the year of times without one. ``limit`` bounds the messages
        that are open at a time.
        """
        self._table = table
        self._clock = clock
        self._hour = -_HOUR
        self._postfix = PostfixLog(table, limit=limit)
        self._exim = EximLog(table, limit=limit)
        self._hops = [_split(hop) for hop in hops]
        self._back: dict[str, None] = {}
        self.handed_on: tuple[str, str] | None = None
        self.lines = 0
        self.outcomes = 0

    @property
    def open_messages(self) -> int:
        """Messages whose end was not logged yet."""
        return len(self._postfix.messages) + len(self._exim.messages)

    def learn(self, line: str) -> None:
        """Take a line whose outcomes were told in an earlier life."""
        self.feed(line)

    def feed(self, line: str) -> list[Outcome]:
        """Take a line; return the outcomes that it tells."""
        self._keep_time()
        self.lines += 1
        self.handed_on = None
        split = split_prefix(line)
        found = (
            self._of_postfix(line, split)
            if split[1] in DAEMONS
            else self._of_exim(line)
        )
        self.outcomes += len(found)
        return found

    def _keep_time(self) -> None:
        now = self._clock()
        if not self._hour <= now < self._hour + _HOUR:
            self._hour = now
            latest = datetime.fromtimestamp(now, tz=UTC)
            self._postfix.clock = self._exim.clock = LogClock(latest=latest)

    # -- Postfix -------------------------------------------------------------------

    def _of_postfix(self, line: str, split: tuple[str, str, str]) -> list[Outcome]:
        event, message = self._postfix.read(line, split)
        if isinstance(event, Intake) and _NEAR.search(event.client):
            self._back[event.queue_id] = None
            if len(self._back) > _MOST_BACK:
                del self._back[next(iter(self._back))]
        if not isinstance(event, Delivery | Expired | Trouble):
            return []
        if message is not None and _nobodys(message):
            return []
        time = self._postfix.clock.read(line) if self._postfix.clock else None
        if isinstance(event, Delivery):
            return self._delivered(event, message, time)
        outcome = outcome_of_payload(event, self._table)
        if outcome is None:
            return []
        if message is not None:
            outcome = replace(
                outcome,
                sender=message.identity or outcome.sender,
                message_id=message.message_id,
            )
        outcome = replace(outcome, time=time)
        if isinstance(event, Trouble):
            return [] if self._is_hop(event.remote, loosely=True) else [outcome]
        waiting = message.recipients if message else {}
        return [_given_up(outcome, *one) for one in waiting.items()] or [outcome]

    def _delivered(
        self, event: Delivery, message: Message | None, time: float | None
    ) -> list[Outcome]:
        if event.status in _PROBES:
            return []
        hop = self._is_hop(event.relay)
        outcome = outcome_of_delivery(event, self._table, message, time)
        if message is not None:
            waiting = message.recipients
            if not event.status.startswith("deferred"):
                waiting.pop(event.recipient, None)
            elif event.recipient in waiting or len(waiting) < _MOST_WAITING:
                said = outcome.meaning, outcome.rule, outcome.reason
                waiting[event.recipient] = None if hop else said
        if event.next_queue_id and not hop and _NEAR.search(event.relay):
            self.handed_on = event.queue_id, event.next_queue_id
        # What is behind a tunnel of this host has queue ids that never come back.
        copied = self.handed_on and event.next_queue_id in self._back
        return [] if hop or copied else [outcome]

    def _is_hop(self, relay: str, *, loosely: bool = False) -> bool:
        """Whether a relay is mailshaper; ``loosely`` where no port is logged."""
        match = _RELAY.search(relay)
        if match is None:
            return False
        if match[1].startswith("/"):
            return any(path == match[1] for path, _ in self._hops)
        return self._at_hop(match[1], match[2] or "", loosely=loosely)

    def _at_hop(self, address: str, port: str, *, loosely: bool = False) -> bool:
        for host, at in self._hops:
            if (port == at or (loosely and not port)) and _same(host, address):
                return True
        return False

    # -- Exim ----------------------------------------------------------------------

    def _of_exim(self, line: str) -> list[Outcome]:
        outcome = self._exim.feed(line)
        if outcome is None or not outcome.queue_id:
            return []
        message = self._exim.messages.get(outcome.queue_id)
        if outcome.reason.startswith("refused by this server"):
            return []
        if message is not None and not message.sender and not message.client:
            return []
        host = _EXIM_HOST.search(line)
        hop = host is not None and self._at_hop(host[1], host[2] or "")
        if hop or to_mailshaper(line):
            return []
        if self._exim.within:
            self.handed_on = outcome.queue_id, outcome.next_queue_id
            return []
        return [outcome]


def _given_up(outcome: Outcome, recipient: str, said: Said | None) -> Outcome:
    """Return what an expiry means for a recipient: what its server said last."""
    if said is None:
        return replace(outcome, recipient=recipient)
    meaning, rule, reason = said
    return replace(
        outcome,
        recipient=recipient,
        meaning=meaning,
        rule=rule,
        reason=f"{outcome.reason}: {reason}",
    )


def _nobodys(message: Message) -> bool:
    """Whether the MTA made it; a client may write the same sender into its mail."""
    sender = message.sender
    null = sender == "" or (sender or "").startswith("double-bounce@")
    return null and not message.client


def _split(address: str) -> tuple[str, str]:
    if address.startswith("/"):
        return address, ""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), port


def _same(host: str, address: str) -> bool:
    """Whether a listening address takes connections to another."""
    try:
        listening, there = ipaddress.ip_address(host), ipaddress.ip_address(address)
    except ValueError:
        return host == address or (host == "localhost" and address in _LOOPBACK)
    return listening == there or (listening.is_unspecified and there.is_loopback)


_LOOPBACK = frozenset({"127.0.0.1", "::1"})

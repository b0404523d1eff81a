"""Recipients that are not written to any more: asked at RCPT, fed by outcomes.

``check`` costs nothing for a recipient that is not listed: an index of 64-bit
digests in memory answers. Only a hit reads the entry in Redis, and what cannot be
read refuses nobody, because no mail is refused without a reason that can be told.
Instances follow each other's changes on a stream (``refresh``) and read all names
anew when they missed some.

An outcome that Redis could not take waits in memory; a crash loses it, and the
address suppresses itself again with its next bounce. What an operator asks is the
duty of ``shaper.engine.suppressionlist``, the rules are ``shaper.core.suppression``'s.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from shaper.core.digests import Digests
from shaper.core.envelope import Envelope
from shaper.core.evidence import OutcomeKind, record_outcome
from shaper.core.identity import identify_early
from shaper.core.outcome import Kind, Meaning
from shaper.core.plain import loads
from shaper.core.ports import SpoolFullError, StateUnavailableError
from shaper.core.reply import Phase, Reply
from shaper.core.suppression import (
    Action,
    Entry,
    Event,
    Rules,
    Why,
    bulk_reason,
    counts,
    digest,
    fold,
    note,
    verdict,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shaper.core.envelope import Client
    from shaper.core.foreign import Foreign
    from shaper.core.outcome import Outcome
    from shaper.core.ports import SuppressionStore
    from shaper.core.record import Record
    from shaper.engine.context import Context
    from shaper.engine.gate import Watcher
    from shaper.engine.senders import Senders

__all__ = ["Suppression", "SuppressionSettings", "decode", "encode", "key"]

log = logging.getLogger(__name__)

_ROUNDS = 10  # of compare and set against other instances
_OWED = 10_000  # outcomes kept while Redis is away
_RELOAD = 6 * 3600.0  # seconds after which all names are read again in any case
# What no longer or not yet suppresses is forgotten by Redis itself.
_KEEP_SOFT = 180 * 86400
_KEEP_LIFTED = 30 * 86400
_GONE = 550
# Rules of the shipped table: what was deferred for our host's pace until it expired
# is no soft bounce of the mailbox.
_NOT_THE_MAILBOX = frozenset({"greylisted"})


@dataclass(frozen=True, slots=True)
class SuppressionSettings:
    """``enabled`` off only counts; ``own`` names the relays that are ourselves."""

    enabled: bool = True
    rules: Rules = field(default_factory=Rules)
    confirm_url: str = ""
    own: frozenset[str] = frozenset()
    trust_auth: bool = False
    login_header: str = ""


class Ask(Protocol):
    """Ask a recipient by mail whether it is alive (``shaper.engine.confirming``)."""

    async def __call__(self, entry: Entry, now: float) -> bool:
        """Return whether a mail was queued. Raises SpoolFullError."""


class ForeignWord(Protocol):
    """What other hosts say (``shaper.engine.foreign``)."""

    live: bool

    async def check(self, folded: str, sender: str) -> Reply | None:
        """Return the refusal of a recipient. Raises StateUnavailableError."""

    async def about(self, folded: str) -> Foreign | None:
        """Return what they say. Raises StateUnavailableError."""


class Suppression:
    """The suppression list of this instance."""

    def __init__(
        self,
        context: Context,
        senders: Senders,
        store: SuppressionStore | None,
        watcher: Watcher,
        login_of: Callable[[str], Awaitable[str | None]],
    ) -> None:
        """Without a ``store`` nothing is ever suppressed."""
        self.store = store
        self.settings = SuppressionSettings()
        self.index = Digests()
        self.ask: Ask | None = None
        self.foreign: ForeignWord | None = None
        self.overridden: Callable[[str], None] = lambda _address: None
        self.would = 0  # refusals that observing or being switched off has spared
        self.refused = 0
        self._context = context
        self._senders = senders
        self.watcher = watcher
        self._login_of = login_of
        self._owed: deque[tuple[str, Event, bool]] = deque(maxlen=_OWED)
        self._position = ""
        self._loaded = -_RELOAD

    # -- the way of mail -----------------------------------------------------------

    async def check(
        self, client: Client, envelope_sender: str, address: str
    ) -> Reply | None:
        """Return the refusal of a recipient, None when it may be written to.

        Never raises for a Redis that is away. A null envelope sender is never
        refused: a bounce that cannot be delivered helps nobody (RFC 5321 4.5.5).
        """
        foreign = self.foreign if self.foreign and self.foreign.live else None
        if not envelope_sender or not (len(self.index) or foreign):
            return None
        folded = fold(address)
        listed = bool(folded) and key(digest(folded)) in self.index
        if not folded or not (listed or foreign):
            return None
        sender = await self._sender(client, envelope_sender)
        try:
            reply = await self._judge(folded, sender) if listed else None
            if reply is None and foreign and not await self._settled(folded, listed):
                reply = await foreign.check(folded, sender)
        except StateUnavailableError as error:
            log.warning("suppression list not read, mail passes: %s", error)
            return None
        if reply is not None:
            self.watcher.suppressed(sender)
        return reply

    async def _settled(self, folded: str, listed: bool) -> bool:  # noqa: FBT001
        """Whether what we know ourselves says enough about an address."""
        entry = (await self.read(folded))[0] if listed else None
        return entry is not None and bool(
            entry.lifted or entry.since(self.settings.rules)
        )

    async def _sender(self, client: Client, envelope_sender: str) -> str:
        login = await self._login_of(client.ident) if client.ident else None
        return identify_early(
            Envelope(envelope_sender, ()),
            client,
            policy_login=login,
            login_header=self.settings.login_header,
            trust_auth=self.settings.trust_auth,
        )

    async def _judge(self, folded: str, sender: str) -> Reply | None:
        settings, now = self.settings, self._context.clock()
        enforced = settings.enabled and self._context.enforce
        bulk = await self.is_bulk(sender)
        for _ in range(_ROUNDS):
            entry, raw = await self.read(folded)
            found = verdict(
                entry,
                bulk=bulk,
                now=now,
                rules=settings.rules,
                confirm=settings.confirm_url if self.ask else "",
            )
            if entry is None or found.action is Action.PASS:
                return None
            if found.action is Action.REFUSE:
                break
            if not enforced:
                return None
            # One message over all instances: who stores the probe lets it through.
            probed = replace(
                entry,
                probed=now,
                probes=entry.probes + 1,
                probe=secrets.token_hex(4),
            )
            if await self._swap(folded, raw, probed):
                log.info(
                    "a probe goes to a suppressed address (probe %d)", probed.probes
                )
                return None
        else:
            return None
        if not enforced:
            self.would += 1
            return None
        self.refused += 1
        if found.evidence:
            await self.attempted(sender, OutcomeKind.SUPPRESSED_ATTEMPT)
        return Reply(_GONE, found.lines, Phase.RCPT)

    async def attempted(self, sender: str, kind: OutcomeKind) -> None:
        """Take an attempt to a dead address as evidence, though nothing is sent."""
        if not sender:
            return  # only the header would have told whose mail it is
        model, now = self._context.model, self._context.clock()

        def apply(record: Record) -> None:
            record_outcome(record.profile, model, kind, 1, now)

        if self._senders.cached(sender) is None:
            await self._senders.change(sender, apply, journal_first=False)
        else:
            self._senders.touch(sender, apply)

    async def is_bulk(self, sender: str) -> bool:
        """Whether a sender counts as one of bulk mail."""
        if not sender:
            return False
        return bool(bulk_reason((await self._senders.look(sender)).profile))

    # -- what became of mail -------------------------------------------------------

    async def note(self, outcome: Outcome, sender: str) -> None:
        """Take in what became of a recipient; ``sender`` is "" for mail not ours.

        A bounce that belongs to nothing we sent may be forged and changes nothing.
        """
        folded = fold(outcome.recipient)
        if not folded or (not sender and outcome.kind in {Kind.DSN, Kind.ARF}):
            return
        event = self._event(outcome)
        if event is None:
            return
        # Nearly all mail is delivered, and to addresses that are not listed.
        if event.meaning is Meaning.DELIVERED and key(digest(folded)) not in self.index:
            return
        bulk = False
        try:
            bulk = await self.is_bulk(sender)
            await self.apply(folded, event, bulk=bulk)
        except StateUnavailableError as error:
            log.warning("suppression list not changed yet: %s", error)
            self._owed.append((folded, event, bulk))

    def _event(self, outcome: Outcome) -> Event | None:
        if outcome.rule in _NOT_THE_MAILBOX:
            return None
        now = self._context.clock()
        event = Event(
            outcome.meaning,
            outcome.permanent,
            min(outcome.time or now, now),
            outcome.status or outcome.code,
            outcome.diagnostic,
            f"{outcome.kind.value} {outcome.remote_mta}".strip()[:200],
        )
        if outcome.meaning is Meaning.DELIVERED:
            return event if self._really(outcome) else None
        return event if counts(event) else None

    def _really(self, outcome: Outcome) -> bool:
        """Whether "delivered" means the recipient's server.

        Our own next hop's 250 is a promise only, and so is a log line about mail
        that went from the MTA to us.
        """
        if outcome.kind is Kind.REPLY:
            return False
        host = outcome.remote_mta.casefold()
        own = ("127.0.0.1", "::1", "localhost", *self.settings.own)
        return not any(name in host for name in own)

    async def apply(self, folded: str, event: Event, *, bulk: bool) -> None:
        """Take an event into an entry. Raises StateUnavailableError."""
        now = self._context.clock()
        before: Entry | None = None

        def change(entry: Entry | None) -> Entry | None:
            nonlocal before
            before = entry
            return note(entry, folded, event, bulk=bulk, now=now)

        after = await self.change(folded, change)
        if after is None or after == before:
            return
        rules = self.settings.rules
        began = after.since(rules) and not (before and before.since(rules))
        if began:
            log.info("an address is suppressed now: %s", after.why.value)
        if began and after.why is Why.SOFT and self.ask is not None:
            try:
                await self.ask(after, now)
            except SpoolFullError as error:
                log.error("a confirmation mail could not be queued: %s", error)

    # -- entries -------------------------------------------------------------------

    async def read(self, folded: str) -> tuple[Entry | None, bytes]:
        """Return an entry and its stored form. Raises StateUnavailableError.

        A damaged one counts as none, and is replaced by the next change.
        """
        if self.store is None:
            return None, b""
        name = digest(folded)
        raw = await self.store.get(name)
        # Also what was stored when Redis went away before it could answer.
        if raw:
            self.index.add(key(name))
        else:
            self.index.discard(key(name))
        return decode(raw), raw

    async def named(self, name: str) -> Entry | None:
        """Return the entry with a digest. Raises StateUnavailableError."""
        return None if self.store is None else decode(await self.store.get(name))

    async def change(
        self, folded: str, apply: Callable[[Entry | None], Entry | None]
    ) -> Entry | None:
        """Change an entry over all instances; return what stands now.

        ``apply`` may run several times and must only make its result; None
        removes. Raises StateUnavailableError.
        """
        for _ in range(_ROUNDS):
            entry, raw = await self.read(folded)
            new = apply(entry)
            if new == entry:
                return entry
            if await self._swap(folded, raw, new):
                return new
        raise StateUnavailableError("a suppression entry is changed by others too fast")

    async def _swap(self, folded: str, raw: bytes, new: Entry | None) -> bool:
        if self.store is None:
            return True
        name = digest(folded)
        ttl = 0
        if new is not None and not new.since(self.settings.rules):
            ttl = _KEEP_SOFT if new.soft else _KEEP_LIFTED
        done, _ = await self.store.swap(name, raw, encode(new), ttl)
        if done and new is not None:
            self.index.add(key(name))
        elif done:
            self.index.discard(key(name))
        return done

    # -- together with other instances ---------------------------------------------

    async def refresh(self) -> None:
        """Bring the index up to date, store what is owed.

        Raises StateUnavailableError.
        """
        if self.store is None:
            return
        now = self._context.clock()
        changes = await self.store.changes(self._position)
        due = not 0 <= now - self._loaded < _RELOAD
        if changes.reload or due:
            await self._reload()
            self._loaded = now
        for name in changes.digests:
            if not (number := key(name)):
                continue
            if await self.store.get(name):
                self.index.add(number)
            else:
                self.index.discard(number)
        self._position = changes.position
        while self._owed:
            folded, event, bulk = self._owed[0]
            await self.apply(folded, event, bulk=bulk)
            self._owed.popleft()

    async def _reload(self) -> None:
        if self.store is None:
            return
        numbers: list[int] = []
        async for page in self.store.names():
            numbers += map(key, page)
            await asyncio.sleep(0)  # mail passes on the same loop
        self.index = Digests(numbers)
        log.info("suppression list: %d addresses", len(self.index))


def key(name: str) -> int:
    """Return the number of a digest in the index, 0 for what is no digest."""
    try:
        return int(name[:16], 16)
    except ValueError:
        return 0


def encode(entry: Entry | None) -> bytes:
    """Return the stored form, b"" for none."""
    if entry is None:
        return b""
    return json.dumps(entry.to_json(), separators=(",", ":"), allow_nan=False).encode()


def decode(raw: bytes) -> Entry | None:
    """Return a stored entry; None for none and for a damaged one."""
    if not raw:
        return None
    try:
        return Entry.from_json(loads(raw))
    except ValueError as error:
        log.error("a suppression entry in Redis is damaged: %s", error)
        return None

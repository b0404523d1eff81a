"""What other hosts say, applied here: asked at RCPT, heard about senders.

The federation daemon's verdicts lie in Redis. While it is not ``alive`` there, or
Redis does not answer, nothing of it has any effect. What this host saw or was told
itself goes before: an entry of its own list settles an address.

A signal about one of our senders raises a floor under its evidence
(``shaper.core.foreign``) and is told to the admins, once for each signal. It can
slow nobody.
"""

from __future__ import annotations

import logging
import secrets
from base64 import urlsafe_b64decode
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shaper import journal
from shaper.core.evidence import OutcomeKind
from shaper.core.foreign import (
    address_of,
    raise_floor,
    read_foreign,
    read_sender,
    stop,
)
from shaper.core.ports import SpoolFullError
from shaper.core.reply import Phase, Reply
from shaper.core.suppression import Entry
from shaper.engine.gate import Watcher
from shaper.engine.tags import tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shaper.core.foreign import Foreign, ForeignSender
    from shaper.core.judgement import Judgement
    from shaper.core.message import Submission
    from shaper.core.ports import FederationStore
    from shaper.engine.context import Context
    from shaper.engine.notices import Notices
    from shaper.engine.senders import Senders
    from shaper.engine.suppression import Suppression

__all__ = ["ForeignWord"]

log = logging.getLogger(__name__)

_GONE = 550
_SENDERS = 20_000  # whose tags are remembered
_WAITING = 1000  # signals about senders that wait to be told
_ASK_AGAIN = 7 * 86400.0  # seconds between two mails to one address
_CLAIMED = 40 * 86400  # seconds; a signal lives 30 days at most
_PEPPER = 32  # octets


class ForeignWord(Watcher):
    """Off unless ``enabled``. ``suppression`` and ``notices`` are set before use.

    ``probes`` counts messages let through as a test, ``watched`` senders.
    """

    suppression: Suppression
    notices: Notices

    def __init__(
        self, context: Context, senders: Senders, store: FederationStore
    ) -> None:
        """Start without a word from anybody."""
        self.enabled = False
        self.live = False
        self.peppers: list[bytes] = []
        self.probes = self.watched = 0
        self._context = context
        self._senders = senders
        self._store = store
        self._signals: dict[str, ForeignSender] = {}
        self._about: OrderedDict[str, ForeignSender | None] = OrderedDict()
        self._waiting: dict[tuple[str, str], ForeignSender] = {}
        self._told: set[tuple[str, str]] = set()
        self.stopped: Callable[[str], None] = lambda _: None

    def restore(self, lines: Iterable[dict[str, Any]]) -> None:
        """Take over the journal's ``told`` lines about signals."""
        for line in lines:
            if line["case"] == "foreign":
                sender, _, mark = str(line["step"]).rpartition(" ")
                self._told.add((sender, mark))

    async def refresh(self) -> None:
        """See whether the federation is there. Raises StateUnavailableError."""
        if not self.enabled or not await self._store.alive():
            self.live = False
            return
        self.peppers = [one for one in map(_secret, await self._store.peppers()) if one]
        found = {
            tag: signal
            for tag, raw in (await self._store.senders()).items()
            if (signal := read_sender(raw)) is not None
        }
        if found != self._signals:
            self._signals = found
            self._about.clear()
        self.live = bool(self.peppers)

    # -- recipients

    async def check(self, folded: str, sender: str) -> Reply | None:
        """Return the refusal of a recipient. Raises StateUnavailableError."""
        found = await self.about(folded)
        return await self._apply(found, folded, sender) if found else None

    async def about(self, folded: str) -> Foreign | None:
        """Return what they say of an address. Raises StateUnavailableError."""
        names = tags(self.peppers, folded) if self.live else []
        if not names:
            return None
        said = await self._store.recipients(names)
        found = [one for raw in said if raw and (one := read_foreign(raw))]
        return max(found, key=lambda one: one.suppress, default=None)

    async def _apply(self, found: Foreign, folded: str, sender: str) -> Reply | None:
        suppression, now = self.suppression, self._context.clock()
        settings = suppression.settings
        verdict = stop(
            found,
            folded,
            bulk=await suppression.is_bulk(sender),
            now=now,
            confirm=settings.confirm_url if suppression.ask else "",
        )
        if verdict is None:
            return None
        # One message over all instances: the first that asks lets it through.
        if verdict.probe and await self._context.ours(
            f"federation probe {folded} {verdict.probe}",
            verdict.keep,
            secrets.token_hex(8),
        ):
            self.probes += 1
            suppression.watcher.foreign("probe")
            return None
        if not settings.enabled or not self._context.enforce:
            suppression.watcher.foreign("spared")
            return None
        suppression.watcher.foreign("refused")
        self.stopped(folded)  # the federation's breaker counts, and its benefit
        if found.suppress:
            # A poisoned list must not frame our customers: little evidence.
            await suppression.attempted(sender, OutcomeKind.FOREIGN_ATTEMPT)
            await self._ask(folded, now)
        return Reply(_GONE, verdict.lines, Phase.RCPT)

    async def _ask(self, folded: str, now: float) -> None:
        """Ask the recipient whether it is alive; nobody here saw it bounce."""
        suppression = self.suppression
        if suppression.ask is None:
            return
        entry = await suppression.change(folded, lambda found: found or Entry(folded))
        if entry is None or 0 <= now - entry.told < _ASK_AGAIN:
            return
        try:
            await suppression.ask(replace(entry, told=0.0), now)
        except SpoolFullError as error:
            log.error("a confirmation mail could not be queued: %s", error)

    # -- senders

    def judged(self, submission: Submission, judgement: Judgement) -> None:
        """See whether another host blocked this sender; mail is waiting."""
        del judgement
        if not self.live or not self._signals:
            return
        sender = submission.sender
        if sender not in self._about:
            self._about[sender] = self._signal(sender)
            if len(self._about) > _SENDERS:
                self._about.popitem(last=False)
        signal = self._about[sender]
        if signal is None or signal.until <= self._context.clock():
            return
        key = (sender, _mark(signal))
        if key not in self._told and len(self._waiting) < _WAITING:
            self._waiting[key] = signal

    def _signal(self, sender: str) -> ForeignSender | None:
        for tag in tags(self.peppers, address_of(sender), sender=True):
            if tag in self._signals:
                return self._signals[tag]
        return None

    async def tell(self) -> None:
        """Watch and tell of what was heard. Raises SpoolFullError; it comes again."""
        for key, signal in list(self._waiting.items()):
            sender, mark = key
            if await self._context.ours(f"foreign {sender} {mark}", _CLAIMED):
                await self._watch(sender, mark, signal)
            self._told.add(key)
            self._waiting.pop(key, None)

    async def _watch(self, sender: str, mark: str, signal: ForeignSender) -> None:
        def apply(record: Any) -> None:  # noqa: ANN401
            raise_floor(record.profile)

        await self._senders.change(sender, apply, journal_first=False)
        self.watched += 1
        by = ", ".join(signal.by)
        journal.sender_blocked_elsewhere(sender, by, signal.why)
        notices, now = self.notices, self._context.clock()
        if notices.compose is not None:
            mail = notices.compose.foreign(sender, signal, now)
            await notices.post(
                f"foreign.{mark}", mail, "notice: blocked at another host"
            )
        await notices.elsewhere(sender, mark, signal.by, signal.why)
        # Last: a crash before repeats the notice rather than losing it.
        await self._context.audit.append(
            "told", case="foreign", step=f"{sender} {mark}", by="foreign"
        )


def _mark(signal: ForeignSender) -> str:
    """Name a signal: another organisation or a renewed block is another one."""
    return f"{'+'.join(signal.by)}.{signal.until:.0f}".replace(" ", "_")


def _secret(raw: bytes) -> bytes:
    """Return a pepper, b"" for what is none."""
    try:
        found = urlsafe_b64decode(raw + b"=" * (-len(raw) % 4))
    except ValueError:
        return b""
    return found if len(found) == _PEPPER else b""

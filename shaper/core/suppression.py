"""Which recipients are not written to any more, why, and until when.

Pure: an ``Entry`` is all that is known of one address, ``note`` takes an outcome
into it, ``verdict`` says what happens to mail for it. Nothing here stores or sends.

Every outcome carries its own time, and an entry keeps the times themselves, so the
order in which logs, bounces and instances tell of them changes nothing. A lift (a
delivery, a confirmation, an operator's word) is a time as well: what happened before
it counts no more, also when it is told later.

Only two things suppress: a dead address (``Meaning.DEAD_ADDRESS``, given up), and soft
bounces (``TEMPORARY``, given up). A refused message or host, a deferral and anything
not understood never do, nor does a complaint: it speaks about one sender's mail.
"""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from shaper.core.outcome import Meaning
from shaper.core.plain import moment
from shaper.core.text import bland

if TYPE_CHECKING:
    from shaper.core.profile import Profile

__all__ = [
    "MARK",
    "Action",
    "Entry",
    "Event",
    "Rules",
    "Verdict",
    "Why",
    "bulk_reason",
    "counts",
    "digest",
    "fold",
    "next_probe",
    "note",
    "probe_due",
    "verdict",
]

_DAY = 86400.0
# The words of every refusal of ours, by which it is known again in logs and bounces:
# it must never become a reason of its own.
MARK = "is suppressed here (mailshaper)"
# Two mailings of one day expire together in the queue; a daily one, early or late by
# some hours, makes an occasion each day.
SEPARATE = 12 * 3600.0  # seconds
_HOUR = 3600.0
_MOST_TIMES = 64  # kept of each kind, the newest; one in an hour
_FADE = 180 * _DAY  # soft bounces longer apart than this are no series
_PROBES = (14 * _DAY, 28 * _DAY, 56 * _DAY)  # and every 56 days from then on
_LONGEST_TEXT = 200  # characters of a server's words
_LONGEST_ADDRESS = 320
_VERSION = 1
# The 99th percentile of correspondents of a person is 158 (docs/detection.md).
BULK = 300  # correspondents within two months
_TWO_MONTHS = 240  # units of shaper.core.contacts


class Why(StrEnum):
    """The reason that stands in an entry."""

    DEAD = "dead"
    SOFT = "soft"
    MANUAL = "manual"
    IMPORT = "import"
    LIFTED = "lifted"  # nothing is refused; remembered for what comes late


class Action(StrEnum):
    """What happens to mail for a recipient."""

    PASS = "pass"  # noqa: S105
    PROBE = "probe"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Rules:
    """``soft_bounces`` occasions suppress for bulk; ``soft_retry`` in seconds."""

    soft_bounces: int = 5
    soft_retry: float = _DAY


class Event(NamedTuple):
    """What became of a recipient, as far as it matters here.

    ``delivered`` must mean the recipient's own server, not our own queue.
    """

    meaning: Meaning
    permanent: bool
    at: float
    status: str = ""
    text: str = ""
    source: str = ""


class Verdict(NamedTuple):
    """``lines`` are the reply's without code; ``evidence``: it is dead, not full."""

    action: Action
    lines: tuple[str, ...] = ()
    evidence: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of an address. Times are Unix seconds, 0 for never.

    ``dead`` and ``soft`` are the times of such outcomes after the last lift, ``bulk``
    those of ``soft`` that met a bulk sender. ``placed`` is when an operator or an
    import put it here, ``manual`` tells which. ``status`` and ``text`` are of the
    newest outcome, ``source`` says who told. ``probe`` is a random word of the
    latest probe, so that of two in one moment only one is stored.
    """

    address: str
    dead: tuple[float, ...] = ()
    soft: tuple[float, ...] = ()
    bulk: tuple[float, ...] = ()
    placed: float = 0.0
    manual: bool = False
    lifted: float = 0.0
    lifted_by: str = ""
    probed: float = 0.0
    probes: int = 0
    probe: str = ""
    confirmed: float = 0.0
    told: float = 0.0
    status: str = ""
    text: str = ""
    source: str = ""
    by: str = ""
    reason: str = ""

    @property
    def why(self) -> Why:
        """The strongest reason."""
        if self.placed and self.manual:
            return Why.MANUAL
        if self.dead:
            return Why.DEAD
        if self.placed:
            return Why.IMPORT
        return Why.SOFT if self.soft else Why.LIFTED

    @property
    def for_all(self) -> bool:
        """Whether everybody's mail is refused, not only some senders'."""
        return bool(self.placed or self.dead)

    def since(self, rules: Rules) -> float:
        """Return when the suppression began; 0 while soft bounces are too few."""
        starts = [t for t in (self.placed, *self.dead[:1]) if t]
        if starts:
            return min(starts)
        return _nth_occasion(self.bulk, rules.soft_bounces)

    def occasions(self) -> int:
        """Count the separate occasions of soft bounces from bulk mail."""
        return len(_occasions(self.bulk))

    def lift(self, at: float, by: str) -> Entry:
        """Return the entry with nothing against the address up to ``at``."""
        if at <= self.lifted:
            return self
        placed = self.placed if self.placed > at else 0.0
        return replace(
            self,
            dead=_after(self.dead, at),
            soft=_after(self.soft, at),
            bulk=_after(self.bulk, at),
            placed=placed,
            manual=self.manual and bool(placed),
            lifted=at,
            lifted_by=by[:_LONGEST_TEXT],
            probed=0.0,
            probes=0,
            told=0.0,
        )

    def free(self, now: float, by: str) -> Entry:
        """Return the entry lifted now, also of what a clock that ran ahead wrote."""
        bare = replace(self, dead=(), soft=(), bulk=(), placed=0.0, lifted=0.0)
        return bare.lift(now, by)

    def place(self, at: float, by: str, reason: str, *, manual: bool) -> Entry:
        """Return the entry as an operator (``manual``) or an import puts it here."""
        if not manual and (self.for_all or at <= self.lifted):
            return self
        return replace(
            self,
            placed=max(at, math.nextafter(self.lifted, math.inf)),
            manual=manual,
            by=by[:_LONGEST_TEXT],
            reason=reason[: 5 * _LONGEST_TEXT],
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data without what is empty; ``from_json`` reads it."""
        found: dict[str, Any] = {"v": _VERSION, "address": self.address}
        for name in _FIELDS:
            if value := getattr(self, name):
                found[name] = list(value) if isinstance(value, tuple) else value
        return found

    @classmethod
    def from_json(cls, data: Any) -> Entry:  # noqa: ANN401
        """Rebuild an entry. Raises ValueError for anything else."""
        try:
            version = data["v"]
            values: dict[str, Any] = {}
            for name, kind in _FIELDS.items():
                if name in data:
                    values[name] = kind(data[name])
            address = str(data["address"])
        except (LookupError, TypeError, ArithmeticError, ValueError) as error:
            msg = f"this is no suppression entry: {error!r}"
            raise ValueError(msg) from error
        if version != _VERSION or fold(address) != address or not address:
            raise ValueError("this is no suppression entry of this version")
        return cls(address, **values)


def _times(value: Any) -> tuple[float, ...]:  # noqa: ANN401
    found = tuple(sorted(map(moment, value)))
    return found[-_MOST_TIMES:]


_FIELDS: dict[str, Any] = {
    "dead": _times, "soft": _times, "bulk": _times,
    "placed": moment, "manual": bool, "lifted": moment, "lifted_by": str,
    "probed": moment, "probes": int, "probe": str, "confirmed": moment, "told": moment,
    "status": str, "text": str, "source": str, "by": str, "reason": str,
}  # fmt: skip

_ADDRESS = re.compile(r'(?:[^@\s"]+|"(?:[^"\\]|\\.)*")@[^@\s"]+')


def fold(address: str) -> str:
    """Return the address as it is kept: lower case, "" when it is none.

    Case is the only thing that is taken as the same; dots and ``+`` tags name other
    mailboxes at many hosts (RFC 5321 2.4: only the host may interpret a local part),
    and casefold() would merge sharp s with ss, which make two domains.
    """
    folded = address.strip().removeprefix("<").removesuffix(">").lower()
    if len(folded) > _LONGEST_ADDRESS or not _ADDRESS.fullmatch(folded):
        return ""
    # Octets that are not UTF-8 are kept as surrogateescape writes them.
    if any(not c.isprintable() and not "\udc80" <= c <= "\udcff" for c in folded):
        return ""
    return folded


def digest(folded: str) -> str:
    """Return the name of an address in the store: 32 hexadecimal digits."""
    octets = folded.encode("utf-8", "surrogateescape")
    return blake2b(octets, digest_size=16).hexdigest()


def counts(event: Event) -> bool:
    """Whether an outcome speaks against its address.

    Only what has been given up. Our own refusal, or that of a colleague's list, is
    none: else a soft suppression would make itself a dead address.
    """
    if not event.permanent or MARK in event.text:
        return False
    return event.meaning in {Meaning.DEAD_ADDRESS, Meaning.TEMPORARY}


def note(
    entry: Entry | None, address: str, event: Event, *, bulk: bool, now: float
) -> Entry | None:
    """Return what is known after an outcome; the same object if nothing changed.

    ``bulk`` says that the mail was of a bulk sender. A delivery to an address that
    nothing is known about is not kept: nearly all mail is that.
    """
    at = min(event.at, now)
    if event.meaning is Meaning.DELIVERED:
        # What a person entered, only a person lifts.
        if entry is None or (entry.placed and entry.manual):
            return entry
        return entry.lift(at, event.source or "delivered")
    old = entry or Entry(address)
    if not counts(event) or at <= old.lifted:
        return entry
    if event.meaning is Meaning.DEAD_ADDRESS:
        new = replace(old, dead=_with(old.dead, at))
    else:
        new = replace(old, soft=_with(old.soft, at))
        if bulk:
            new = replace(new, bulk=_with(old.bulk, at))
    if new == old:
        return entry
    if at >= max((*old.dead, *old.soft), default=0.0):
        text = bland(event.text)[:_LONGEST_TEXT]
        new = replace(new, status=event.status[:16], text=text, source=event.source)
    return new


def verdict(
    entry: Entry | None, *, bulk: bool, now: float, rules: Rules, confirm: str = ""
) -> Verdict:
    """Say what happens to mail for an address. ``confirm`` is the page's URL."""
    if entry is None:
        return Verdict(Action.PASS)
    since = entry.since(rules)
    if not entry.for_all and (not bulk or not since):
        latest = max(entry.soft, default=0.0)
        # A full mailbox concerns every sender that wants an answer to a person's
        # mail; bulk mail has its own rule, the occasions.
        if bulk or not latest or now >= latest + rules.soft_retry:
            return Verdict(Action.PASS)
        again = latest + rules.soft_retry
        way = f"it may be tried again after {_stamp(again)}"
        return Verdict(Action.REFUSE, _lines(entry, latest, way, ""))
    if not (entry.placed and entry.manual) and probe_due(entry, since, now):
        return Verdict(Action.PROBE)
    return Verdict(Action.REFUSE, _lines(entry, since, "", confirm), entry.for_all)


def probe_due(entry: Entry, since: float, now: float) -> bool:
    """Whether a date of a probe has passed and no message was let through since."""
    date = 0.0
    for pause in _PROBES:
        if since + pause <= now:
            date = since + pause
    if date and now >= since + 2 * _PROBES[-1]:
        step = _PROBES[-1]
        date = since + step * math.floor((now - since) / step)
    return bool(date) and entry.probed < date


def next_probe(entry: Entry, since: float, now: float) -> float:
    """Return when the next probe may go; ``now`` when it may already."""
    if probe_due(entry, since, now):
        return now
    for pause in _PROBES:
        if since + pause > now:
            return since + pause
    step = _PROBES[-1]
    return since + step * (math.floor((now - since) / step) + 1)


def bulk_reason(profile: Profile) -> str:
    """Say why this sender counts as a bulk sender, "" when it does not."""
    recent = sum(age <= _TWO_MONTHS for age in profile.contacts.ages)
    if recent < BULK:
        return ""
    return f"it wrote to {recent} or more recipients within two months ({BULK} is bulk)"


def _with(times: tuple[float, ...], at: float) -> tuple[float, ...]:
    """Add a time; of one hour only the earliest is kept, of all the newest 64.

    Both do not depend on the order in which times come.
    """
    hours: dict[int, float] = {}
    for time in (*times, at):
        hour = int(time // _HOUR)
        hours[hour] = min(time, hours.get(hour, time))
    return tuple(sorted(hours.values()))[-_MOST_TIMES:]


def _after(times: tuple[float, ...], at: float) -> tuple[float, ...]:
    return tuple(time for time in times if time > at)


def _occasions(times: tuple[float, ...]) -> list[float]:
    """Return the times that are separate occasions of one series, oldest first."""
    found: list[float] = []
    for time in times:
        if found and time - found[-1] > _FADE:
            found = []
        if not found or time - found[-1] >= SEPARATE:
            found.append(time)
    return found


def _nth_occasion(times: tuple[float, ...], count: int) -> float:
    """Return when a series reached ``count`` occasions, 0 when it has not."""
    found = _occasions(times)
    return found[count - 1] if len(found) >= count else 0.0


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def _lines(entry: Entry, since: float, way: str, confirm: str) -> tuple[str, ...]:
    """Return the lines of a refusal: what, why and since when, the way out.

    Each stays under the 512 octets of RFC 5321 4.5.3.1.5 and repeats the status
    (RFC 2034 4), which is 5.1.1 also for a soft one: the MTA must not try again.
    """
    why = {
        Why.DEAD: "the address does not exist",
        Why.SOFT: "its mailbox took no mail",
        Why.MANUAL: "entered by the operator",
        Why.IMPORT: "imported as an address that does not exist",
    }[entry.why]
    said = f" ({_ascii(entry.text)[:_LONGEST_TEXT]})" if entry.text else ""
    quoted = shlex.quote(entry.address)
    ways = [way] if way else []
    ways.append(f"the operator can type: mailshaper suppress remove {_ascii(quoted)}")
    lines = [
        f"<{entry.address}> {MARK}",
        f"Reason: {why}, since {_stamp(since)}{said}",
        f"Way out: {'; '.join(ways)}",
    ]
    if confirm and entry.why is Why.SOFT:
        lines.append(f"The recipient can confirm with the link mailed from {confirm}")
    return tuple(f"5.1.1 {line}" for line in lines)

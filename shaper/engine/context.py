"""What every part of the engine shares: adapters, clock, model and rules.

The daemon fills it once. A reload replaces ``rules``, ``pace`` and the switches
in place, a refit replaces ``model``; parts read them at each use and keep no
copies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from shaper.core.contacts import contact_hash
from shaper.core.judgement import Rules
from shaper.core.model import Model
from shaper.core.outcome import Kind, Meaning, Outcome
from shaper.core.ports import StateUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from shaper.core.ports import Ledger, Spool
    from shaper.core.reply import Reply

__all__ = ["Audit", "Backoff", "Context", "Pace"]


class Damage(Protocol):
    """Octets of a journal file that are no intact record."""

    @property
    def file(self) -> str:
        """Name of the file."""

    @property
    def start(self) -> int:
        """Offset of the first such octet."""

    @property
    def end(self) -> int:
        """Offset behind the last."""


class Audit(Protocol):
    """The append-only journal; ``append`` returns once the line is fsync'd."""

    @property
    def damage(self) -> Sequence[Damage]:
        """What the latest complete replay could not read."""

    async def append(self, event: str, **fields: Any) -> None:  # noqa: ANN401
        """Write one record. Raises SpoolFullError."""

    def replay(self) -> Iterator[dict[str, Any]]:
        """Yield every record, oldest first; blocking."""

    async def prune(self, before: float, keep: Callable[[dict[str, Any]], bool]) -> int:
        """Drop older records that ``keep`` does not want. Raises SpoolFullError."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pause after a temporary failure: doubles from ``first`` to ``longest`` s."""

    first: float = 300.0
    longest: float = 4000.0

    def after(self, attempts: int) -> float:
        """Return the pause that follows attempt number ``attempts`` (1-based)."""
        # The exponent is capped before the power: a message tried by hand a
        # thousand times would leave the range of floats.
        return min(self.first * 2.0 ** min(max(attempts - 1, 0), 30), self.longest)


@dataclass(frozen=True, slots=True)
class Pace:
    """Pace of held mail. Times in seconds.

    ``interval`` is between two messages of a slowed sender, lengthened up to
    ``longest_interval`` while evidence stays; ``growth`` is the factor by which a
    recovered sender's mail speeds up with each message; ``longest_hold`` is the
    age at which held mail goes back to its sender; ``concurrency`` bounds the
    attempts under way.
    """

    interval: float = 60.0
    longest_interval: float = 3600.0
    growth: float = 2.0
    longest_hold: float = 5 * 86400.0
    concurrency: int = 20
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(slots=True)
class Context:
    """Shared parts. ``enforce`` off means: decide and record, hold nothing.

    ``language`` is that of mail to users (``en`` or ``fr``).

    ``outcome_of`` judges what the next hop answered for a recipient, ``retention``
    is how many seconds journal lines are kept that no longer matter, ``remember``
    how many a message that left. ``deliveries_from_log`` says that a log tells of
    deliveries, so that the 250 of a next hop that only queues is none.
    """

    ledger: Ledger
    spool: Spool
    audit: Audit
    clock: Callable[[], float]
    contact_key: bytes
    instance: str = "main"
    hostname: str = "localhost"
    model: Model = field(default_factory=Model.default)
    rules: Rules = field(default_factory=Rules)
    pace: Pace = field(default_factory=Pace)
    language: str = "en"
    enforce: bool = True
    placement: str = "hop"
    defer_when_unavailable: bool = False
    outcome_of: Callable[[Reply, str], Outcome] = lambda _reply, address: Outcome(
        Kind.REPLY, Meaning.UNKNOWN, address
    )
    retention: float = 90 * 86400.0
    remember: float = 7 * 86400.0
    deliveries_from_log: bool = False

    async def ours(self, what: str, seconds: int, holder: str = "") -> bool:
        """Whether this instance is the one to do a thing; also while Redis is away.

        A repeated question has the same answer, unless it asks as another
        ``holder``. The claim is forgotten after so many seconds.
        """
        try:
            return await self.ledger.claim(what, holder or self.instance, seconds)
        except StateUnavailableError:
            return True

    def hashes(self, addresses: Iterable[str]) -> list[int]:
        """Return the keyed hashes under which recipients are remembered."""
        key = self.contact_key
        return [contact_hash(key, address) for address in addresses]

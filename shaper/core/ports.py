"""What the engine asks of its adapters, and what the ingress asks of the engine.

Only shapes: no adapter imports another, each implements one of these. Failures
of an adapter reach the engine as the exceptions named here and no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from shaper.core.envelope import Client
    from shaper.core.message import (
        Decision,
        HeldMessage,
        RecipientFate,
        Submission,
    )
    from shaper.core.reply import Reply
    from shaper.core.sent import Sent

__all__ = [
    "FederationStore",
    "Gate",
    "Guests",
    "Ledger",
    "Recipients",
    "RouteStore",
    "SentMemory",
    "SentPlace",
    "ShaperError",
    "Spool",
    "SpoolCorruptError",
    "SpoolFullError",
    "SpoolWriter",
    "StateUnavailableError",
    "SuppressedChanges",
    "SuppressionStore",
]


class ShaperError(Exception):
    """Base of the failures that the engine knows how to answer."""


class StateUnavailableError(ShaperError):
    """Redis does not answer, or answers nonsense."""


class SpoolFullError(ShaperError):
    """The spool's own limit or the disk's is near; answered 452 4.3.1."""


class SpoolCorruptError(ShaperError):
    """A spool file is damaged; it has been set aside, never deleted."""


class SpoolWriter(Protocol):
    """A message on its way into the spool."""

    def write(self, chunk: bytes) -> None:
        """Take content as on the wire (dot-stuffed, CRLF), without the final dot."""

    async def drain(self) -> None:
        """Wait while more is in memory than the disk has taken."""

    async def commit(self) -> HeldMessage:
        """Make it durable (file and directory fsync'd); only then answer 250.

        Raises SpoolFullError; the partial file is gone then.
        """

    def abort(self) -> None:
        """Remove the partial file. Harmless after commit or abort."""


class Spool(Protocol):
    """Durable held messages of this instance, one file each."""

    def full(self) -> str:
        """Return why no new message would be taken, "" while there is room."""

    def begin(self, message: HeldMessage) -> SpoolWriter:
        """Open a new message (``message.size`` is ignored). Raises SpoolFullError."""

    def read(self, message_id: str) -> AsyncIterator[bytes]:
        """Yield the content as it came. Raises SpoolCorruptError, KeyError."""

    async def history(self, message_id: str) -> list[dict[str, Any]]:
        """Return the log of a held message. Raises KeyError, SpoolCorruptError."""

    async def note_attempt(self, message_id: str, *, not_before: float) -> HeldMessage:
        """Record durably, before dialling, that a further attempt begins."""

    async def note_fates(
        self,
        message_id: str,
        fates: Mapping[int, RecipientFate],
        replies: Mapping[int, Reply],
        *,
        not_before: float = 0.0,
    ) -> HeldMessage:
        """Record durably what became of recipients, with the replies they got."""

    async def note_told(self, message_id: str, positions: Sequence[int]) -> HeldMessage:
        """Record durably that the sender was told of these failures."""

    async def note_order(self, message_id: str, order: str) -> HeldMessage:
        """Record durably that an operator's order freed the message."""

    async def remove(self, message_id: str) -> None:
        """Forget a message that waits for nothing. Idempotent."""

    def get(self, message_id: str) -> HeldMessage | None:
        """Return a held message, or None."""

    def all(self) -> Sequence[HeldMessage]:
        """Return every held message in order of arrival."""

    def corrupt(self) -> list[tuple[str, str]]:
        """Return the files that were set aside, with what is wrong with each."""

    def damaged(self) -> list[tuple[str, str]]:
        """Return the held messages whose log lost lines, and which."""


SentPlace: TypeAlias = "tuple[str, Sent]"
"""Where a message is remembered, and what of it."""


class SentMemory(Protocol):
    """Messages that left, in Redis. Every method may raise StateUnavailableError.

    Ids and recipients are digests (``shaper.core.sent``), ``keep`` is in seconds.
    """

    async def note(
        self, messages: Sequence[tuple[Sent, tuple[bytes, ...]]], keep: float
    ) -> list[SentPlace]:
        """Store messages, each with the digests of the ids that lead to it."""

    async def find(self, key: bytes, now: float, keep: float) -> SentPlace | None:
        """Return a message by the digest of its trace id."""

    async def linked(self, one: bytes, now: float, keep: float) -> list[bytes]:
        """Return the keys of the messages that had an id, the newest first."""

    async def claim(
        self, place: str, key: bytes, mark: bytes, bit: int, known: int, keep: float
    ) -> int:
        """Return 0 when an outcome of a recipient is no news over all instances.

        Else 1 and the bits of what was told of it before.
        """

    async def forget(self, senders: Collection[str]) -> int:
        """Remove all messages of these senders; return how many there were."""


class Ledger(Protocol):
    """Shared state in Redis. Every method may raise StateUnavailableError."""

    @property
    def sent(self) -> SentMemory:
        """The messages that left."""

    async def load(self, sender: str) -> tuple[int, bytes]:
        """Return version and record of a sender, (0, b"") when it is new."""

    async def save(
        self, sender: str, version: int, record: bytes, state: str
    ) -> tuple[bool, int, bytes]:
        """Compare and set, in one round trip; idempotent.

        Returns (True, new version, b"") when ``version`` was still current or
        when this very record is already stored, else (False, current version,
        current record). ``state`` keeps the index of senders by state.
        """

    async def senders(self, state: str) -> list[str]:
        """Return the senders indexed under ``slowed`` or ``blocked``."""

    async def take_slot(self, sender: str, now: float, pause: float) -> float:
        """Claim the sender's next trickle release over all instances.

        Returns 0.0 when granted (the next one is then at ``now + pause``), else
        the seconds left to wait.
        """

    async def put_login(self, queue_id: str, login: str, ttl: float) -> None:
        """Remember which login owns an MTA queue id."""

    async def get_login(self, queue_id: str) -> str | None:
        """Return the login of a queue id."""

    async def put_case(self, case_id: str, sender: str, body: bytes) -> None:
        """Store an instance's part of a case as JSON, under ``case/instance``."""

    async def cases(self) -> list[bytes]:
        """Return all stored parts of cases."""

    async def put_held(self, instance: str, message_id: str, body: bytes) -> None:
        """Index a held message for the other instances."""

    async def drop_held(self, instance: str, message_id: str) -> None:
        """Take a message out of the index."""

    async def held(self, besides: str = "") -> dict[str, dict[str, bytes]]:
        """Return the index of held mail, by instance and id, one left out."""

    async def put_order(self, body: bytes) -> str:
        """Append an operator's order for all instances; return its position."""

    async def orders(self, after: str) -> list[tuple[str, bytes]]:
        """Return the orders behind a position ("" from the start)."""

    async def claim(self, what: str, instance: str, seconds: int) -> bool:
        """Have one instance do a thing: True for the first that asks, again too.

        The claim is forgotten after so many seconds.
        """

    async def claim_epoch(self, token: str) -> bool:
        """Set an instance's mark anew; True when that of the call before was not there.

        Redis that lost its contents or came back older has lost the mark too: True
        tells each instance once that it must store again what it knows.
        """

    async def forget(self, sender: str) -> None:
        """Remove every key of a sender and its parts of cases."""

    @property
    def suppressed(self) -> SuppressionStore:
        """The suppression list."""

    @property
    def routes(self) -> RouteStore:
        """The table of routes."""

    @property
    def federation(self) -> FederationStore:
        """Where the federation daemon meets us."""


class FederationStore(Protocol):
    """Where the federation daemon meets us. May raise StateUnavailableError."""

    async def put_facts(self, facts: Sequence[bytes]) -> None:
        """Append facts (JSON objects) to the stream."""

    async def alive(self) -> bool:
        """Whether the federation daemon was there within the last minutes."""

    async def peppers(self) -> list[bytes]:
        """Return the peppers under which tags are made, as base64url text."""

    async def recipients(self, tags: Sequence[str]) -> list[bytes]:
        """Return the verdict on each tag, b"" where there is none."""

    async def senders(self) -> dict[str, bytes]:
        """Return the signals about senders by tag."""

    async def count(self, day: str, counts: Mapping[str, int]) -> None:
        """Add to the host's numbers of a UTC day."""

    async def counted(self, day: str) -> dict[str, int]:
        """Return the host's numbers of a UTC day."""


class RouteStore(Protocol):
    """The table of routes. Every method may raise StateUnavailableError."""

    async def get(self) -> bytes:
        """Return the table, b"" when there is none."""

    async def swap(self, expected: bytes, new: bytes) -> tuple[bool, bytes]:
        """Replace the table if it is still ``expected``; b"" means none."""


class SuppressedChanges(NamedTuple):
    """What changed behind a position; ``reload`` when that cannot be told."""

    position: str
    digests: list[str]
    reload: bool


class SuppressionStore(Protocol):
    """Entries of the suppression list by digest, shared by all instances.

    Every method may raise StateUnavailableError.
    """

    async def get(self, name: str) -> bytes:
        """Return an entry, b"" when there is none."""

    async def swap(
        self, name: str, expected: bytes, new: bytes, ttl: int = 0
    ) -> tuple[bool, bytes]:
        """Replace an entry if it is still ``expected``; b"" means none.

        ``ttl`` in seconds, 0 for ever. Returns (True, b"") or (False, the current
        one). Idempotent.
        """

    async def put_new(self, entries: Mapping[str, bytes]) -> list[str]:
        """Store entries of addresses without one; return the names that have one."""

    async def announce(self) -> None:
        """Have every instance read all names again."""

    async def changes(self, after: str) -> SuppressedChanges:
        """Return what changed behind a position."""

    def names(self) -> AsyncIterator[list[str]]:
        """Yield the digests of all entries in pages; one may come twice."""

    def entries(self) -> AsyncIterator[Sequence[tuple[str, bytes]]]:
        """Yield digest and value of all entries in pages; one may come twice."""


class Recipients(Protocol):
    """The suppression list, as the SMTP ingress sees it."""

    async def check(
        self, client: Client, envelope_sender: str, address: str
    ) -> Reply | None:
        """Return the refusal of a recipient, None when it may be written to."""


class Guests(Protocol):
    """Friendly hosts whose mail is taken, as the SMTP ingress sees them."""

    def room(self, friend: str, recipients: int) -> bool:
        """Whether so many recipients more are within the friend's daily quota."""


class Gate(Protocol):
    """The engine, as the SMTP ingress sees it."""

    async def login_of(self, queue_id: str) -> str | None:
        """Return the login that the policy service saw with this queue id."""

    async def decide(self, submission: Submission) -> Decision:
        """Judge a message whose header is known and whose body is not."""

    def hold(self, submission: Submission, decision: Decision) -> SpoolWriter:
        """Open a spool file for a message that is to be held. Raises SpoolFullError."""

    async def passed(
        self, submission: Submission, refused: Mapping[str, Reply], end: Reply
    ) -> None:
        """Tell how the next hop ended a message of which it took the recipients.

        ``refused`` are the addresses that it did not take, which are not in the
        submission, with its replies. Only accepted mail teaches.
        """

    async def refused(
        self, submission: Submission, refused: Mapping[str, Reply]
    ) -> None:
        """Tell of recipients that the next hop refused when no message passed.

        ``submission`` has no header facts when there was no DATA.
        """

    async def held(self, message: HeldMessage) -> None:
        """Tell that a message is durable in the spool."""

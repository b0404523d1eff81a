"""Everything by which outcomes come in later: logs, journal, LMTP, Maildir, stdin.

Starts what the configuration names and gives each outcome to one function, the
engine's. A source that cannot be read is a warning that names the cure; mail passes
without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from shaper.addresses import split_address
from shaper.core.ports import ShaperError
from shaper.durable.files import private_directory
from shaper.feedback.follow import LogFollower
from shaper.feedback.journalctl import JournalFollower
from shaper.feedback.live import LiveLog
from shaper.feedback.lmtp import LmtpListener
from shaper.feedback.maildir import MaildirReader
from shaper.feedback.returns import read_return

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
    from pathlib import Path

    from shaper.config import Settings
    from shaper.core.meaning import Table
    from shaper.core.outcome import Outcome

__all__ = ["Feedback", "Source"]

log = logging.getLogger(__name__)

_MOST_TOLD = 10  # bugs
_GRACE = 5.0  # seconds to finish a line or a mail when the daemon stops


class _Follower(Protocol):
    """What follows a log or the journal."""

    trouble: str
    last_line: float | None
    lines: int

    @property
    def lag(self) -> int: ...

    async def run(
        self,
        take: Callable[[str], Awaitable[None]],
        stop: asyncio.Event,
        learn: Callable[[str], None] | None = None,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Source:
    """How one source is: octets to be read, time of its last line, its trouble."""

    name: str
    lag: int
    last_line: float | None
    lines: int
    trouble: str


class Feedback:
    """The sources of outcomes of one daemon."""

    def __init__(
        self,
        settings: Settings,
        table: Table,
        take: Callable[[Outcome], Awaitable[str]],
        *,
        line: Callable[[str], Awaitable[None]] | None = None,
        past: Callable[[str], object] | None = None,
        handed_on: Callable[[str, str], object] = lambda _one, _other: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``take`` gets each outcome, ``line`` before it each line of a log.

        ``past`` gets some lines of an earlier life, for the messages still open,
        ``handed_on`` the two queue ids of what a content filter gives back.
        """
        self._settings = settings
        self._table = table
        self._take = take
        self._line = line
        self._past = past
        self._handed_on = handed_on
        self._clock = clock
        self._bugs = 0
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._followers: dict[str, _Follower] = {}
        self._lmtp: LmtpListener | None = None
        self._maildir: MaildirReader | None = None

    def sources(self) -> Iterable[Source]:
        """Return how each log and the journal is, for metrics."""
        for name, one in self._followers.items():
            yield Source(name, one.lag, one.last_line, one.lines, one.trouble)

    def troubles(self) -> dict[str, str]:
        """Return the sources that cannot be read now, and why."""
        found = {one.name: one.trouble for one in self.sources() if one.trouble}
        if self._maildir is not None and self._maildir.trouble:
            found[str(self._maildir.path)] = self._maildir.trouble
        return found

    async def intake(
        self, data: bytes, recipients: Sequence[str] = ()
    ) -> list[tuple[Outcome, str]]:
        """Take a mail that came back; return its outcomes and what became of each.

        Raises ShaperError when they cannot be taken now.
        """
        outcomes = await asyncio.to_thread(read_return, data, self._table, recipients)
        return [(outcome, await self._take(outcome)) for outcome in outcomes]

    async def start(self) -> None:
        """Open the listeners and begin to follow. Raises OSError for an address."""
        wanted = self._settings.feedback
        places = self._settings.daemon.state_directory / "feedback"
        if wanted.logs or wanted.journal:
            private_directory(places)
        for path in wanted.logs:
            place = _place(places, str(path))
            self._follow(str(path), LogFollower(path, place, sleep=self._pause))
        if wanted.journal:
            name = " ".join(sorted(wanted.journal))
            place = _place(places, name)
            follower = JournalFollower(wanted.journal, place, sleep=self._pause)
            self._follow("journal", follower)
        if wanted.lmtp:
            await self._listen(wanted.lmtp)
        if wanted.maildir is not None:
            self._maildir = MaildirReader(
                wanted.maildir, self.intake, sleep=self._pause
            )
            self._begin(str(wanted.maildir), self._maildir.run(self._stop))

    async def stop(self) -> None:
        """End what was started; places and mails are left so that nothing is lost."""
        self._stop.set()
        if self._lmtp is not None:
            await self._lmtp.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_GRACE)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not longer than until the daemon stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    async def _listen(self, addresses: Iterable[str]) -> None:
        self._lmtp = LmtpListener(self.intake, self._settings.hostname)
        for address in addresses:
            try:
                if address.startswith("/"):
                    await self._lmtp.listen_unix(address)
                else:
                    await self._lmtp.listen(*split_address(address))
            except OSError as error:
                text = f"feedback.lmtp: cannot listen on {address}: {error.strerror}"
                raise OSError(error.errno, text) from error

    def _follow(self, name: str, follower: _Follower) -> None:
        parser = LiveLog(self._table, self._clock, self._settings.hop.listen)
        self._followers[name] = follower
        take, learn = partial(self._apply, parser), partial(self._learn, parser)
        self._begin(name, follower.run(take, self._stop, learn))

    def _learn(self, parser: LiveLog, text: str) -> None:
        try:
            if self._past is not None:
                self._past(text)
            parser.learn(text)
        except Exception as error:  # noqa: BLE001 - per attempt, as below
            self._bug(error)

    async def _apply(self, parser: LiveLog, text: str) -> None:
        try:
            if self._line is not None:
                await self._line(text)
            outcomes = parser.feed(text)
            if parser.handed_on:
                self._handed_on(*parser.handed_on)
            for outcome in outcomes:
                await self._take(outcome)
        except ShaperError:
            raise  # the line is given again
        except Exception as error:  # noqa: BLE001 - per attempt: the next may be good
            self._bug(error)

    def _bug(self, error: Exception) -> None:
        self._bugs += 1
        if self._bugs <= _MOST_TOLD:  # ours may be the log that is followed
            log.error("a line of a log met a bug and is skipped", exc_info=error)

    def _begin(self, name: str, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work, name=f"feedback {name}")
        task.add_done_callback(partial(_ended, name))
        self._tasks.append(task)


def _ended(name: str, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error(
            "outcomes from %s stopped because of a bug; restart the daemon",
            name,
            exc_info=error,
        )


def _place(directory: Path, name: str) -> Path:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8)
    return directory / f"{digest.hexdigest()}.place"

"""Follow units in systemd's journal, by ``journalctl`` as a child process.

Each entry becomes a line as syslog would have written it, so that the parsers of
logs read both. The cursor of the last entry that was taken is kept in a file; after
a restart the child goes on behind it. When the child ends it is started again after
a pause that grows up to a minute. systemd.journal-fields(7), journalctl(1).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shaper.core.ports import ShaperError
from shaper.core.text import bland

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["JournalFollower", "line_of"]

log = logging.getLogger(__name__)

_MACHINE = Path("/etc/machine-id")
_HINT = (
    "; mailshaper's user must be in the group systemd-journal or adm "
    "to read the journal"
)
_LONGEST_ENTRY = 1024 * 1024
_PAST = 20_000  # entries read again at the start, for the open messages
_SAVED_EVERY = 1.0
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_AGAIN = 10.0
_ENDING = 5.0


def line_of(entry: dict[str, Any]) -> str:
    """Return an entry as a line of syslog (RFC 3339 time), or "" without a text."""
    message = entry.get("MESSAGE")
    if isinstance(message, list):  # octets that are not UTF-8, as numbers
        with contextlib.suppress(ValueError, TypeError):
            message = bytes(message).decode("utf-8", "replace")
    if not isinstance(message, str) or not message:
        return ""
    program = str(entry.get("SYSLOG_IDENTIFIER") or entry.get("_COMM") or "-")
    number = entry.get("SYSLOG_PID") or entry.get("_PID") or "0"
    host = entry.get("_HOSTNAME") or "-"
    try:
        moment = datetime.fromtimestamp(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, UTC)
    except (KeyError, ValueError, TypeError, OverflowError, OSError):
        return ""
    stamp = moment.isoformat(timespec="microseconds")
    line = f"{stamp} {host} {program}[{number}]: {message}"
    return line.replace("\n", " ").replace("\0", "")


class JournalFollower:
    """Follows ``units``; its cursor is kept in ``place``."""

    def __init__(
        self,
        units: Sequence[str],
        place: Path,
        *,
        command: Sequence[str] = ("journalctl",),
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """``command`` is journalctl, with options that choose another journal."""
        self.units = tuple(units)
        self._place = place
        # --merge: following means "of this boot" without it, so what was written
        # before the machine was started again would be passed over, and all of it
        # where our /proc is not the one of journald (a container). It also opens the
        # journals of other machines, if there are any: _MACHINE_ID keeps them out.
        self._base = [
            *command, "--quiet", "--no-pager", "--output=json", "--merge",
            *(f"--unit={unit}" for unit in units), *_of_this_machine(),
        ]  # fmt: skip
        self._clock = clock
        self._sleep = sleep
        self._cursor = ""
        self._saved = 0.0
        self._unsaved = False
        self.trouble = ""
        self.last_line: float | None = None
        self.lines = 0

    @property
    def lag(self) -> int:
        """0: the journal does not tell how much there is to come."""
        return 0

    async def run(
        self,
        take: Callable[[str], Awaitable[None]],
        stop: asyncio.Event,
        learn: Callable[[str], None] | None = None,
    ) -> None:
        """Give each entry as a line to ``take`` until ``stop`` is set."""
        with contextlib.suppress(FileNotFoundError):
            self._cursor = self._place.read_text().strip()
        pause = _FIRST_PAUSE
        if learn is not None:
            await self._remember(learn)
        while not stop.is_set():
            before = self.lines
            try:
                await self._follow(take, stop)
            except OSError as error:
                self._failed(f"{self._base[0]}: {error.strerror or error}")
            if stop.is_set():
                break
            pause = _FIRST_PAUSE if self.lines > before else pause
            await self._sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _remember(self, learn: Callable[[str], None]) -> None:
        """Read some entries up to the cursor again, whose outcomes were told."""
        where = [f"--cursor={self._cursor}"] if self._cursor else []
        entries: list[dict[str, Any]] = []
        try:
            async with self._child("--reverse", f"--lines={_PAST}", *where) as child:
                entries = [entry async for entry in _entries(child)]
        except OSError as error:
            self._failed(f"{self._base[0]}: {error.strerror or error}")
        if entries and not self._cursor:
            self._cursor = str(entries[0].get("__CURSOR", ""))
        for entry in reversed(entries):
            learn(line_of(entry))

    async def _follow(
        self, take: Callable[[str], Awaitable[None]], stop: asyncio.Event
    ) -> None:
        where = f"--after-cursor={self._cursor}" if self._cursor else "--lines=0"
        try:
            async with self._child("--follow", where) as child:
                stopping = asyncio.create_task(_end(child, stop))
                try:
                    async for entry in _entries(child):
                        if not await self._apply(entry, take, stop):
                            break
                finally:
                    stopping.cancel()
                if not stop.is_set():
                    said = (await _said(child)) or "it ended"
                    self._failed(f"journalctl: {said}")
        finally:
            await asyncio.to_thread(self._save)

    async def _apply(
        self,
        entry: dict[str, Any],
        take: Callable[[str], Awaitable[None]],
        stop: asyncio.Event,
    ) -> bool:
        line = line_of(entry)
        while line:
            try:
                await take(line)
                break
            except ShaperError as error:
                log.warning("the journal: a line waits: %s", bland(str(error)))
                await self._sleep(_AGAIN)
                if stop.is_set():
                    return False
        self.lines += bool(line)
        self.last_line = self._clock()
        self.trouble = ""
        cursor = entry.get("__CURSOR")
        if isinstance(cursor, str):
            self._cursor, self._unsaved = cursor, True
        if self._clock() - self._saved >= _SAVED_EVERY:
            await asyncio.to_thread(self._save)
        return not stop.is_set()

    @contextlib.asynccontextmanager
    async def _child(self, *arguments: str) -> Any:  # noqa: ANN401
        child = await asyncio.create_subprocess_exec(
            *self._base,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LONGEST_ENTRY,
        )
        try:
            yield child
        finally:
            if child.stdout is None or not child.stdout.at_eof():
                with contextlib.suppress(ProcessLookupError):
                    child.terminate()
            try:
                async with asyncio.timeout(_ENDING):
                    await child.communicate()
            except TimeoutError:
                child.kill()
                await child.wait()

    def _save(self) -> None:
        if not self._unsaved:
            return
        new = self._place.with_name(f"{self._place.name}.new")
        try:
            with new.open("w") as file:
                file.write(self._cursor)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._place)
        except OSError as error:
            self._failed(f"{self._place}: {error.strerror}", "")
            return
        self._saved, self._unsaved = self._clock(), False

    def _failed(self, text: str, hint: str = _HINT) -> None:
        if text != self.trouble:
            self.trouble = text
            log.warning("feedback.journal: %s%s", bland(text), hint)


def _of_this_machine() -> list[str]:
    """Return the match for our own entries (machine-id(5))."""
    try:
        machine = _MACHINE.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return []
    return [f"_MACHINE_ID={machine}"] if machine else []


async def _entries(child: asyncio.subprocess.Process) -> Any:  # noqa: ANN401
    """Yield entries until the child ends; what is no entry is skipped."""
    output = child.stdout
    while output is not None:
        try:
            line = await output.readline()
        except ValueError:  # longer than the limit; its octets are gone
            continue
        if not line:
            return
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield entry


async def _end(child: asyncio.subprocess.Process, stop: asyncio.Event) -> None:
    """End the child when we stop; its output then ends."""
    await stop.wait()
    with contextlib.suppress(ProcessLookupError):
        child.terminate()


async def _said(child: asyncio.subprocess.Process) -> str:
    """Return the last line of what a child that ended complained of."""
    if child.stderr is None:
        return ""
    text = (await child.stderr.read(4096)).decode("utf-8", "replace")
    return next(iter(reversed(text.strip().splitlines())), "")

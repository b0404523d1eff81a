"""Follow one log file live, over rotations and restarts.

Rotation by renaming: the old file is read to its end, and some time longer, while
the new one is followed. Rotation by copying (copytruncate): the file shrinks or
begins differently; what was not read yet is found in the copy. Where we are is kept
in a small file, written when the lines before were applied. What was rotated away
while we were down is found by its first octets and finished first.

While running no line is lost or given twice. After a crash the lines since the last
save, at most some seconds of them, are given again: whoever takes them counts each
outcome once. Lost is what a rotation loses itself (copytruncate between copying and
cutting), and what was deleted before it was read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from shaper.core.ports import ShaperError
from shaper.core.text import bland
from shaper.feedback.logfile import Mark, Source, open_source, siblings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

__all__ = ["LogFollower"]

log = logging.getLogger(__name__)

_LINGER = 60.0  # seconds that a rotated file may stay silent before it is let go
_BACK = 8 * 1024 * 1024  # octets read again at the start, for the open messages
_SAVED_EVERY = 1.0  # seconds
_FINISHED = 64  # files that are known to be done
_TURN = 100  # lines applied before others on the loop have a turn
_MOST_OPEN = 64
_AGAIN = 10.0  # seconds after a failure


class LogFollower:
    """Follows ``path``; its place is kept in ``place``, a file of its own."""

    def __init__(
        self,
        path: Path,
        place: Path,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        interval: float = 1.0,
        back: int = _BACK,
    ) -> None:
        """Nothing is opened yet. ``interval`` is between two looks, in seconds."""
        self.path = path
        self._place = place
        self._clock = clock
        self._sleep = sleep
        self._interval = interval
        self._back = back
        self._begun = False
        self._current: Source | None = None
        self._old: list[tuple[Source, float]] = []  # and when it last gave lines
        self._done: deque[Mark] = deque(maxlen=_FINISHED)
        self._saved = -_SAVED_EVERY
        self._unsaved = False
        self._applied = True
        self.trouble = ""
        self.last_line: float | None = None
        self.lines = 0

    @property
    def lag(self) -> int:
        """Octets that are written and not yet given out; archives count 0."""
        sources = [source for source, _ in self._old]
        if self._current is not None:
            sources.append(self._current)
        return sum(source.behind for source in sources)

    async def run(
        self,
        take: Callable[[str], Awaitable[None]],
        stop: asyncio.Event,
        learn: Callable[[str], None] | None = None,
    ) -> None:
        """Give each line to ``take`` until ``stop`` is set.

        A ShaperError of ``take`` is waited out and the line given again. ``learn``
        gets, before the first line, some lines that were taken in an earlier life.
        """
        try:
            while not stop.is_set():
                try:
                    more = await self._round(take, stop, learn)
                except OSError as error:
                    self._failed(error)
                    more = False
                if not more:
                    await self._sleep(_AGAIN if self.trouble else self._interval)
        finally:
            if self._unsaved and self._applied:
                with suppress(OSError):  # then these lines come again
                    self.save()
            self.close()

    async def _round(
        self,
        take: Callable[[str], Awaitable[None]],
        stop: asyncio.Event,
        learn: Callable[[str], None] | None,
    ) -> bool:
        """Take a block of lines; return whether there were any. Raises OSError."""
        if not self._begun:
            past = await asyncio.to_thread(self.begin)
            for number, line in enumerate(past if learn else ()):
                if learn:
                    learn(line)
                if number % _TURN == 0:
                    await asyncio.sleep(0)
        self._applied = False
        lines = await asyncio.to_thread(self.advance)
        for number, line in enumerate(lines):
            if number % _TURN == 0:
                await asyncio.sleep(0)
            if not await self._apply(line, take, stop):
                return False  # not saved, so it comes again
        self._applied = True
        self._unsaved = self._unsaved or bool(lines)
        due = not lines or self._clock() - self._saved >= _SAVED_EVERY
        if self._unsaved and due:
            await asyncio.to_thread(self.save)
        self.trouble = ""
        return bool(lines)

    async def _apply(
        self, line: str, take: Callable[[str], Awaitable[None]], stop: asyncio.Event
    ) -> bool:
        while not stop.is_set():
            try:
                await take(line)
            except ShaperError as error:
                log.warning("%s: a line waits: %s", self.path, bland(str(error)))
                await self._sleep(_AGAIN)
            else:
                return True
        return False

    def _failed(self, error: OSError) -> None:
        """Tell once what is wrong and what to do about it."""
        text = f"{error.filename or self.path}: {error.strerror or error}"
        if text == self.trouble:
            return
        self.trouble = text
        cure = ""
        if isinstance(error, PermissionError):
            cure = (
                "; let mailshaper read it: `adduser mailshaper adm` on Debian, "
                "then restart the daemon"
            )
        elif isinstance(error, FileNotFoundError):
            cure = "; waiting until it is there (does the MTA log elsewhere?)"
        log.warning("feedback.logs: %s%s", bland(text), cure)

    # -- what follows may block and is called in threads --------------------------

    def begin(self) -> list[str]:
        """Go to the saved place; return some lines before it.

        Without one, begin at the end of what is there: the past is for
        `mailshaper replay`.
        """
        try:
            data = json.loads(self._place.read_text())
            marks = [Mark(**one) for one in data["marks"]]
            self._done.extend(Mark(**one) for one in data["done"])
        except FileNotFoundError:
            return self._first()
        except (ValueError, KeyError, TypeError) as error:
            log.warning(
                "%s is damaged (%s): %s is read from its beginning",
                self._place,
                error,
                self.path,
            )
            marks = []
        self._begun = True
        for mark in marks:
            self._resume(mark, newer=mark is marks[-1])
        sources = [*(source for source, _ in self._old), self._current]
        return [
            line for source in sources if source for line in source.past(self._back)
        ]

    def _first(self) -> list[str]:
        with suppress(FileNotFoundError):
            self._current = open_source(self.path)
            self._current.to_end()
        self._begun = True
        self.save()  # what appears later was not there: it is read from its beginning
        return self._current.past(self._back) if self._current else []

    def _resume(self, mark: Mark, *, newer: bool) -> None:
        """Open what a mark of an earlier life speaks of, where it left off."""
        with suppress(FileNotFoundError):
            source = open_source(self.path)
            same = mark.names(source.head) or (
                not mark.known and source.inode == mark.inode
            )
            if same and source.behind >= mark.offset and self._current is None:
                source.skip_to(mark.offset)
                self._current = source
                return
            source.close()
        self._rest_of(mark, newer=newer)

    def _rest_of(self, mark: Mark, *, newer: bool) -> None:
        """Find the rotated file of a mark, and with ``newer`` those written since."""
        self._overwritten()
        paths = siblings(self.path)
        found = self._marked(mark, paths)
        since = found.written if found else mark.written
        if not found and mark.known:
            log.warning(
                "%s was cut or rotated, and its old part is not beside it: what was "
                "written there after the last look is not read",
                self.path,
            )
        later = self._written_since(since, found, paths) if newer else []
        now = self._clock()
        sources = [*([found] if found else []), *reversed(later)]
        self._old.extend((source, now) for source in sources)

    def _marked(self, mark: Mark, paths: list[Path]) -> Source | None:
        # The plain file first: an archive of it may be in the making.
        for path in sorted(paths, key=lambda path: path.suffix in (".gz", ".xz")):
            with suppress(OSError):
                source = open_source(path)
                same = mark.names(source.head) or (
                    not mark.known and source.inode == mark.inode
                )
                if same and source.inode not in self._open_inodes():
                    long_enough = source.packed or source.behind >= mark.offset
                    if long_enough and source.skip_to(mark.offset):
                        return source
                source.close()
        return None

    def _written_since(
        self, since: int, found: Source | None, paths: Iterable[Path]
    ) -> list[Source]:
        """Open files that nobody has read yet, the newest first."""
        known = self._open_inodes() | ({found.inode} if found else set())
        heads = [found.head] if found else []
        heads += [source.head for source, _ in self._old]
        if self._current is not None:
            heads.append(self._current.head)
        sources: list[Source] = []
        for path in paths:
            with suppress(OSError):
                if path.stat().st_mtime_ns < since or len(sources) >= _MOST_OPEN:
                    break
                source = open_source(path)
                seen = any(_alike(head, source.head) for head in heads)
                seen = seen or any(mark.names(source.head) for mark in self._done)
                if source.inode in known or seen or not source.head:
                    source.close()
                else:
                    heads.append(source.head)
                    sources.append(source)
        return sources

    def _open_inodes(self) -> set[int]:
        inodes = {source.inode for source, _ in self._old}
        if self._current is not None:
            inodes.add(self._current.inode)
        return inodes

    def advance(self) -> list[str]:
        """Return the next lines, oldest file first; [] when there are none for now."""
        if not self._begun:
            self.begin()
        lines = self._from_old() or self._from_current()
        if lines:
            self.last_line = self._clock()
            self.lines += len(lines)
        return lines

    def _overwritten(self) -> None:
        """Let copies go into which a later copy was written: it is another file."""
        for entry in [entry for entry in self._old if entry[0].restarted()]:
            self._old.remove(entry)
            entry[0].close()

    def _from_old(self) -> list[str]:
        now = self._clock()
        self._overwritten()
        for entry in list(self._old):
            source, since = entry
            source.look()
            if lines := source.lines():
                self._old[self._old.index(entry)] = (source, now)
                return lines
            if source.packed or now - since > _LINGER or len(self._old) > _MOST_OPEN:
                lines = source.last()
                if source.damaged:
                    log.warning("%s: a rotated archive ends too early", self.path)
                self._done.append(source.mark())
                self._old.remove(entry)
                self._unsaved = True
                source.close()
                if lines:
                    return lines
        return []

    def _from_current(self) -> list[str]:
        while True:
            current = self._current
            if current is None:
                self._current = current = open_source(self.path)
            if current.restarted():
                mark = current.mark()
                current.rewind()
                self._rest_of(mark, newer=True)
                if lines := self._from_old():
                    return lines
            current.look()
            if lines := current.lines():
                return lines
            if not self._replaced(current):
                return []
            if lines := self._from_old():
                return lines

    def _replaced(self, current: Source) -> bool:
        """Turn to the file that has taken the name, if there is one with lines."""
        try:
            if self.path.stat().st_ino == current.inode:
                return False
            new = open_source(self.path)
        except FileNotFoundError:
            return False  # the writer has not made the new one yet
        if not new.head:
            new.close()
            return False  # empty so far: the old one may still be written
        if _alike(current.head, new.head) and new.behind >= current.offset:
            # The same lines under another inode: somebody copied or edited it.
            new.skip_to(current.offset)
            current.close()
            self._current = new
            return True
        mark = current.mark()
        self._current = new
        later = self._written_since(mark.written, current, siblings(self.path))
        now = self._clock()
        self._old.append((current, now))
        self._old.extend((source, now) for source in reversed(later))
        return True

    def save(self) -> None:
        """Keep the place of the lines that were given out. Raises OSError."""
        if not self._begun:
            return
        sources = [source for source, _ in self._old]
        if self._current is not None:
            sources.append(self._current)
        data: dict[str, Any] = {
            "path": str(self.path),
            "marks": [asdict(source.mark()) for source in sources],
            "done": [asdict(mark) for mark in self._done],
        }
        new = self._place.with_name(f"{self._place.name}.new")
        with new.open("w") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._place)
        self._saved, self._unsaved = self._clock(), False

    def close(self) -> None:
        """Let all files go."""
        for source, _ in self._old:
            source.close()
        if self._current is not None:
            self._current.close()
        self._old, self._current, self._begun = [], None, False


def _alike(one: bytes, other: bytes) -> bool:
    """Whether two files begin alike, as far as the shorter beginning tells."""
    short = min(len(one), len(other))
    return short > 0 and one[:short] == other[:short]

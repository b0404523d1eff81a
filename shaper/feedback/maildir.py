"""Read bounces and complaints out of a Maildir that the MTA delivers into.

A mail is moved from ``new`` to ``cur``, marked as seen, after its outcomes were
taken. A crash between lets it be taken again; whoever takes outcomes counts each
once. What cannot be read, or meets a bug of ours, is moved to ``unreadable`` beside
them, so that it is told once and keeps no other waiting. Nothing is ever deleted.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
from typing import TYPE_CHECKING

from shaper.core.ports import ShaperError
from shaper.core.text import bland

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

__all__ = ["MaildirReader"]

log = logging.getLogger(__name__)

_MOST_READ = 4 * 1024 * 1024  # octets; parsers look at the first 2 MiB only
_TOGETHER = 200  # mails between two looks at ``stop``
_INTERVAL = 2.0
_AGAIN = 10.0


class MaildirReader:
    """Gives each new mail to ``intake``."""

    def __init__(
        self,
        path: Path,
        intake: Callable[[bytes, Sequence[str]], Awaitable[object]],
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """``intake`` raises ShaperError when it cannot take a mail now."""
        self.path = path
        self._intake = intake
        self._sleep = sleep
        self._left: set[str] = set()  # unreadable, and not to be moved either
        self.trouble = ""
        self.mails = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Look for new mail until ``stop`` is set."""
        while not stop.is_set():
            pause = _INTERVAL
            try:
                if await self.look(stop):
                    continue
                self.trouble = ""
            except ShaperError as error:
                log.warning("%s waits: %s", self.path, bland(str(error)))
                pause = _AGAIN
            except OSError as error:
                self._failed(error)
                pause = _AGAIN
            await self._sleep(pause)

    async def look(self, stop: asyncio.Event) -> int:
        """Take what is new; return how many. Raises OSError and ShaperError."""
        names = await asyncio.to_thread(self._names)
        for name in names:
            if stop.is_set():
                break
            try:
                data = await asyncio.to_thread(self._read, name)
            except FileNotFoundError:
                continue  # another reader was quicker
            except OSError as error:
                await asyncio.to_thread(self._set_aside, name, error)
                continue
            if await self._taken(name, data):
                self.mails += 1
                await asyncio.to_thread(self._seen, name)
        return len(names)

    async def _taken(self, name: str, data: bytes) -> bool:
        """Hand a mail in; false when it met a bug. Raises ShaperError."""
        try:
            await self._intake(data, ())
        except ShaperError:
            raise
        except Exception:  # per attempt: the mails behind it are not to wait
            log.exception("a returned mail met a bug")
            bug = OSError(errno.EIO, "it met a bug of mailshaper")
            await asyncio.to_thread(self._set_aside, name, bug)
            return False
        return True

    def _names(self) -> list[str]:
        with os.scandir(self.path / "new") as entries:
            names = [entry.name for entry in entries if entry.name not in self._left]
        return sorted(name for name in names if not name.startswith("."))[:_TOGETHER]

    def _read(self, name: str) -> bytes:
        # Neither links nor FIFOs: the MTA makes neither.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self.path / "new" / name, flags)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "is no regular file")
            return file.read(_MOST_READ)

    def _seen(self, name: str) -> None:
        base = name.partition(":")[0]
        try:
            (self.path / "new" / name).rename(self.path / "cur" / f"{base}:2,S")
        except FileNotFoundError:
            if not (self.path / "cur").is_dir():
                raise
            # Another reader of the same Maildir was quicker.
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            self._set_aside(name, error)

    def _set_aside(self, name: str, error: OSError) -> None:
        reason = error.strerror or str(error)
        where = self.path / "unreadable"
        try:
            where.mkdir(mode=0o700, exist_ok=True)
            (self.path / "new" / name).rename(where / name)
        except OSError:
            if len(self._left) < _TOGETHER:
                self._left.add(name)
            where = self.path / "new"
        log.warning("a returned mail cannot be read (%s): %s", reason, where / name)

    def _failed(self, error: OSError) -> None:
        text = f"{error.filename or self.path}: {error.strerror or error}"
        if text == self.trouble:
            return
        self.trouble = text
        cure = (
            "; it must be a Maildir (new, cur, tmp) that mailshaper's user may change"
        )
        log.warning("feedback.maildir: %s%s", bland(text), cure)

"""Has the population refitted once a day, and keeps the result over restarts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from typing import TYPE_CHECKING

from shaper import journal
from shaper.core.model import Model

if TYPE_CHECKING:
    from pathlib import Path

    from shaper.engine.context import Context

__all__ = ["Refits"]

log = logging.getLogger(__name__)

_FIRST = 900.0  # seconds after the start, when the rush is over
_EVERY = 86400.0
_LONGEST = 3600.0  # a refit that takes longer has gone wrong


class Refits:
    """Runs ``shaper.refit`` and puts the model into the engine."""

    def __init__(self, context: Context, path: Path, url: str, prefix: str) -> None:
        """``path`` keeps the newest model."""
        self._context = context
        self.path = path
        self._request = json.dumps({"url": url, "prefix": prefix}).encode() + b"\n"

    def load(self) -> None:
        """Take the last model over; without one, or with damage, the shipped."""
        try:
            self._context.model = Model.from_json(self.path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            log.error("%s: %s; going on with the shipped model", self.path, error)

    async def refit(self) -> None:
        """Refit now. A failure is logged and leaves the model as it is."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "shaper.refit",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_LONGEST):
                out, _ = await process.communicate(self._request)
            if process.returncode:
                raise ValueError(f"exit status {process.returncode}")  # noqa: TRY301
            model = Model.from_json(out)
            await asyncio.to_thread(self._save, out)
        except (TimeoutError, OSError, ValueError) as error:
            log.error("the baselines could not be refitted: %s", error)
            return
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        self._context.model = model
        journal.refit_done(model.sender_days)

    async def run(self, stop: asyncio.Event) -> None:
        """Refit at its pace until ``stop`` is set."""
        pause = _FIRST
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()
                    return
            await self.refit()
            pause = _EVERY

    def _save(self, text: bytes) -> None:
        new = self.path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)

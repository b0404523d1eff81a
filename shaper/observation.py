"""Remembers since when nothing is held, over restarts, and ends it in order.

A file in the state directory says since when an instance observes (``enforce =
false`` or placement ``watch``). When it is to hold mail again, states that the
machine gave since then lapse first; then the file goes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from shaper.engine.assembly import Engine

__all__ = ["switch"]

log = logging.getLogger(__name__)

_NAME = "observing"


async def switch(engine: Engine, state: Path) -> None:
    """Note that observation goes on, or end it; raises OSError.

    Whether mail is to be held is ``engine.context.enforce``; it holds none before
    the old states have lapsed.
    """
    mark, now = state / _NAME, engine.context.clock()
    if not engine.context.enforce:
        if not mark.exists():
            mark.write_text(f"{now:.0f}\n")
        return
    if not mark.exists():
        return
    try:
        since = float(mark.read_text())
    except ValueError:
        log.error("%s is damaged: it should tell a time", mark)
        since = mark.stat().st_mtime
    engine.context.enforce = False
    try:
        lapsed = await engine.observing.ended(since)
    finally:
        engine.context.enforce = True
    mark.unlink(missing_ok=True)
    log.warning(
        "mail is held from now on; %d senders that were conspicuous while "
        "observing are normal again",
        len(lapsed),
    )

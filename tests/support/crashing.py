"""Kills an engine at one chosen call of an adapter, before or after its effect.

    killer = Killer(at=17, after=True)
    box.wrap = killer.wrap                 # before the box starts
    ... Killed is raised at the 17th call, and by every later one ...
    killer.call                            # e.g. "spool.note_fates"

``Killed`` is no Exception, so nothing in the product can catch it by accident; a
life that was killed does nothing more, as after SIGKILL. What the killed call
had begun has either wholly happened (``after``) or not at all; torn writes are the
business of the spool's own tests.
"""

from __future__ import annotations

import inspect
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

__all__ = ["Killed", "Killer", "worth_a_kill"]


class Killed(BaseException):
    """The process is gone."""


class Killer:
    """Counts the calls of all wrapped adapters; kills at number ``at`` (from 1)."""

    def __init__(self, at: int = 0, *, after: bool = False) -> None:
        """``at`` 0 only writes the names of the calls down, in ``calls``."""
        self.at = at
        self.after = after
        self.calls: list[str] = []
        self.armed = True
        self.dead = False
        self.call = ""

    def disarm(self) -> None:
        """Count and kill no more: the story is over."""
        self.armed = False

    def wrap(self, name: str, adapter: Any) -> Any:
        """Return the adapter with its effectful calls guarded."""
        if inspect.iscoroutinefunction(getattr(adapter, "func", None)):
            return self._guarded(name, adapter)
        return _Proxy(self, name, adapter)

    def _before(self, name: str) -> bool:
        if not self.armed:
            return False
        if self.dead:
            raise Killed
        self.calls.append(name)
        mine = len(self.calls) == self.at
        if mine:
            self.call = name
            if not self.after:
                self.dead = True
                raise Killed
        return mine

    def _behind(self, *, mine: bool) -> None:
        if mine:
            self.dead = True
        if self.dead and self.armed:
            raise Killed

    def _guarded(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*words: Any, **named: Any) -> Any:
            mine = self._before(name)
            result = await work(*words, **named)
            self._behind(mine=mine)
            return result

        return call

    async def _reading(self, name: str, chunks: AsyncIterator[bytes]) -> Any:
        mine = self._before(name)
        async for chunk in chunks:
            yield chunk
        self._behind(mine=mine)


class _Proxy:
    def __init__(self, killer: Killer, name: str, adapter: Any) -> None:
        self._killer = killer
        self._name = name
        self._adapter = adapter

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._adapter, attribute)
        name = f"{self._name}.{attribute}"
        if inspect.iscoroutinefunction(found):
            return self._killer._guarded(name, found)
        if inspect.isasyncgenfunction(found):
            return lambda *words: self._killer._reading(name, found(*words))
        if attribute == "sent":
            return _Proxy(self._killer, name, found)
        if attribute == "begin":
            return lambda message: _Proxy(
                self._killer, f"{self._name}.writer", found(message)
            )
        return found


def worth_a_kill(calls: list[str], known: int = 3) -> Iterator[int]:
    """Yield the numbers of calls whose ``known`` predecessors are not an old story.

    Sixty messages of a blast are sixty times the same few calls.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    for at in range(1, len(calls) + 1):
        context = tuple(calls[max(0, at - known - 1) : at])
        seen[context] += 1
        if seen[context] == 1:
            yield at

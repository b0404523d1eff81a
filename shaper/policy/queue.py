"""Asks the privileged queue helper (``shaper.queuehelper``) about mail on hold.

One connection per request over its unix socket, as its docstring describes. The
helper changes nothing that is not on hold, so every request may be asked again:
after a lost answer, ``states`` tells what became of the message.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from shaper.core.ports import ShaperError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["QueueHelper", "QueueState", "QueueTroubleError"]

_MOST_IDS = 50  # of one request, as the helper has it
_MOST_ALONE = 1000  # ids that are remembered as of a request that failed
_MOST_ANSWER = 64 * 1024  # octets
# Seconds. Longer than the helper's own limit for two commands of the MTA, so that
# an answer is not missed while it works.
_PATIENCE = 75.0


class QueueTroubleError(ShaperError):
    """The helper does not answer, or could not do it: nothing is known."""


class QueueState(StrEnum):
    """Where the MTA has a message."""

    HELD = "held"
    QUEUED = "queued"  # on its way, or deferred
    ABSENT = "absent"  # delivered, deleted, returned, or never there


@dataclass(slots=True, eq=False)
class _Wanted:
    """A change that waits for its turn; then what the helper said about it."""

    verb: str
    queue_id: str
    said: str = ""
    trouble: str = ""


class QueueHelper:
    """The helper at a socket; it holds no connection open."""

    def __init__(self, path: Path, patience: float = _PATIENCE) -> None:
        """``patience``: seconds to wait for one answer."""
        self._path = path
        self._patience = patience
        # The helper hears one after the other. A connection beyond its backlog
        # fails, and a release of everything asks for hundreds at once.
        self._turn = asyncio.Lock()
        self._mute = 0  # requests that waited for an answer in vain
        self._wanted: list[_Wanted] = []
        # One message that the MTA cannot move fails the request of all that are in
        # it. So those of such a request go alone when they are asked for again.
        self._alone: set[str] = set()

    async def states(self, queue_ids: Iterable[str]) -> dict[str, QueueState]:
        """Tell where each message is. Raises QueueTroubleError."""
        ids = list(dict.fromkeys(queue_ids))
        found: dict[str, QueueState] = {}
        for begin in range(0, len(ids), _MOST_IDS):
            part = ids[begin : begin + _MOST_IDS]
            *lines, last = await self._ask(" ".join(["state", *part]))
            if last != "done":
                raise QueueTroubleError(f"queue helper at {self._path}: {last}")
            for line in lines:
                queue_id, _, state = line.partition(" ")
                found[queue_id] = self._state(state)
            if missing := [one for one in part if one not in found]:
                raise self._nonsense(missing)
        return found

    async def release(self, queue_id: str) -> QueueState:
        """Let a held message go on now.

        Returns HELD when this did it; else where the message was found, and
        nothing was changed. Raises QueueTroubleError. What waits for its turn here
        goes in one request with others of its kind; so do the changes below.
        """
        return await self._change("release", queue_id)

    async def requeue(self, queue_id: str) -> QueueState:
        """Like ``release``, with a new life time; Postfix gives it a new id."""
        return await self._change("requeue", queue_id)

    async def drop(self, queue_id: str) -> QueueState:
        """Delete a held message and tell nobody; returns as ``release`` does."""
        return await self._change("drop", queue_id)

    async def give_back(self, queue_id: str) -> QueueState:
        """Have the MTA return it to its sender; returns as ``release`` does."""
        return await self._change("return", queue_id)

    async def _change(self, verb: str, queue_id: str) -> QueueState:
        mine = _Wanted(verb, queue_id)
        self._wanted.append(mine)
        try:
            mute = self._mute
            async with self._turn:
                while mine in self._wanted:
                    self._check(mute)
                    await self._change_some(mine)
        finally:
            if mine in self._wanted:
                self._wanted.remove(mine)
        if mine.trouble:
            raise QueueTroubleError(mine.trouble)
        return self._changed(queue_id, mine.said)

    async def _change_some(self, mine: _Wanted) -> None:
        """Ask for those of its kind that have waited longest; the turn is ours."""
        alike = [one for one in self._wanted if one.verb == mine.verb]
        some = [one for one in alike if one.queue_id not in self._alone][:_MOST_IDS]
        if mine.queue_id in self._alone:
            some = [mine]
        self._wanted = [one for one in self._wanted if one not in some]
        ids = list(dict.fromkeys(one.queue_id for one in some))
        trouble = "the request to the queue helper was interrupted"
        said: dict[str, str] = {}
        try:
            lines = await self._exchange(" ".join([mine.verb, *ids]))
            if len(ids) == 1 or lines[-1] != "done":
                said = dict.fromkeys(ids, lines[0])
            else:
                said = {one: word for one, _, word in (x.partition(" ") for x in lines)}
            self._remember(ids, lines[0])
            trouble = ""
        except QueueTroubleError as error:
            trouble = str(error)
        finally:
            for one in some:
                one.said, one.trouble = said.get(one.queue_id, ""), trouble

    def _remember(self, ids: list[str], first: str) -> None:
        """Note which of them go alone the next time."""
        if not first.startswith(("failed ", "refused ")):
            self._alone.difference_update(ids)
        elif len(ids) > 1:
            if len(self._alone) > _MOST_ALONE:  # they were not asked for again
                self._alone.clear()
            self._alone.update(ids)

    def _changed(self, queue_id: str, said: str) -> QueueState:
        if said == "done":
            return QueueState.HELD
        word, _, rest = said.partition(" ")
        if word == "not-held":
            state = self._state(rest)
            if state is QueueState.HELD:  # it went on hold in between
                raise QueueTroubleError(f"{queue_id} was not on hold, now it is")
            return state
        raise QueueTroubleError(f"queue helper at {self._path}: {said}")

    async def _ask(self, request: str) -> list[str]:
        mute = self._mute
        async with self._turn:
            self._check(mute)
            return await self._exchange(request)

    def _check(self, mute: int) -> None:
        """Raise QueueTroubleError when a request got no answer since ``_mute`` was so.

        Who waited behind it has waited long enough: if each then asked on its own,
        many would keep notices and operators waiting for half an hour.
        """
        if self._mute != mute:
            raise self._no_answer()

    async def _exchange(self, request: str) -> list[str]:
        """Return the lines of the answer, at least one; the turn is ours."""
        try:
            async with asyncio.timeout(self._patience):
                answer = await self._answer(f"{request}\n".encode("ascii"))
        except TimeoutError:
            self._mute += 1
            raise self._no_answer() from None
        except OSError as error:
            raise QueueTroubleError(
                f"queue helper at {self._path}: {error.strerror or error}"
            ) from None
        except UnicodeEncodeError:
            raise QueueTroubleError(f"{request!r} has no queue id") from None
        lines = answer.decode("ascii", "replace").splitlines()
        if not lines or not answer.endswith(b"\n"):
            raise QueueTroubleError(
                f"queue helper at {self._path} hung up: is the daemon's user the one"
                " that it was started for (--user)?"
            )
        return lines

    async def _answer(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        try:
            writer.write(request)
            answer = b""
            while len(answer) < _MOST_ANSWER:
                more = await reader.read(_MOST_ANSWER - len(answer))
                if not more:
                    break
                answer += more
            return answer
        finally:
            writer.close()

    def _state(self, word: str) -> QueueState:
        try:
            return QueueState(word)
        except ValueError:
            raise self._nonsense(word) from None

    def _no_answer(self) -> QueueTroubleError:
        return QueueTroubleError(f"queue helper at {self._path} does not answer")

    def _nonsense(self, what: object) -> QueueTroubleError:
        return QueueTroubleError(
            f"queue helper at {self._path} answers nonsense: {what!r}"
        )

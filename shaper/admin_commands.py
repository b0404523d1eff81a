"""What the commands of the admin socket mean: names and plain data to Control.

Checks the kind of every argument, so that ``Control`` only meets what its types
promise; an argument that no command knows is refused, not ignored. Knows nothing
of sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from shaper import journal
from shaper.admin_arguments import Arguments
from shaper.core.order import OrderAction
from shaper.engine.control import RefusedError

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Iterable,
        Mapping,
    )

    from shaper.engine.control import Control

__all__ = ["Answer", "Command", "Commands", "Request", "canonical"]

_LONGEST_UID = 10  # digits; uid_t has 32 bits
_FRIEND = re.compile(r"[A-Za-z0-9_-]{1,40}")  # as in `[friends.NAME]`


@dataclass(frozen=True, slots=True)
class Request:
    """A command with its arguments, and the user name that the client claims."""

    command: str
    arguments: Mapping[str, Any]
    claim: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A result, and the rows that go before it one by one.

    A result that the rows make is a function, called after the last of them.
    """

    result: Any
    rows: AsyncIterator[Any] | Iterable[Any] = field(default=())


Command: TypeAlias = "Callable[[Arguments, str], Awaitable[Answer]]"
"""Does what a request asks, for the user that the kernel names."""


class Commands:
    """The dispatch table."""

    def __init__(
        self,
        control: Control,
        *,
        journal: Callable[[], Iterable[dict[str, Any]]],
        forget: Callable[[str], Awaitable[Any] | Any],
        more: Mapping[str, Command] | None = None,
    ) -> None:
        """See ``shaper.admin.AdminServer``; ``more`` are commands of other parts."""
        self._control = control
        self._journal = journal
        self._forget_address = forget
        self._table: dict[str, Command] = {
            "status": self._status,
            "cases": self._cases,
            "show": self._show,
            "explain": self._explain,
            "queue.list": self._queue_list,
            "queue.show": self._queue_show,
            "queue.order": self._order,
            "release": self._release,
            "block": self._block,
            "exempt": self._exempt,
            "plan": self._plan,
            "audit": self._audit,
            "forget": self._forget,
            "complete": self._complete,
        }
        self._table |= more or {}

    async def run(self, request: Request, user: str) -> Answer:
        """Do what is asked. Raises RefusedError and whatever the engine raises."""
        command = self._table.get(request.command)
        if command is None:
            raise RefusedError(
                f"the daemon knows no command {request.command[:64]!r}",
                "command and daemon may be of different versions: restart the daemon",
                64,
            )
        arguments = Arguments(request.arguments)
        answer = await command(arguments, user)
        reason = request.arguments.get("reason")
        if isinstance(reason, str) and not request.arguments.get("dry_run"):
            # Who is forgotten may stand in the reason: it is to be nowhere any more.
            told = "" if request.command == "forget" else reason
            journal.operator_acted(user, request.command, told)
        return answer

    # -- reading -----------------------------------------------------------------

    async def _status(self, arguments: Arguments, _user: str) -> Answer:
        arguments.finish()
        return Answer(self._control.status())

    async def _cases(self, arguments: Arguments, _user: str) -> Answer:
        closed = arguments.flag("closed")
        arguments.finish()
        return Answer(await self._control.cases(closed=closed))

    async def _show(self, arguments: Arguments, _user: str) -> Answer:
        name = arguments.needed("name")
        arguments.finish()
        try:
            return Answer(await self._control.show(canonical(name) or name))
        except RefusedError:
            # Somebody who looks for an address means the sender behind it.
            known = await self._known(name)
            if not known:
                raise
            return Answer(await self._control.show(known[0]))

    async def _explain(self, arguments: Arguments, _user: str) -> Answer:
        sender = await self._sender(arguments.needed("sender"))
        arguments.finish()
        return Answer(await self._control.explain(sender))

    async def _queue_list(self, arguments: Arguments, _user: str) -> Answer:
        text, sender = arguments.text("filter"), arguments.text("sender")
        arguments.finish()
        sender = sender and await self._sender(sender)
        total = {"messages": 0, "recipients": 0}

        async def rows() -> AsyncIterator[dict[str, Any]]:
            async for row in self._control.queue(text):
                if not sender or row["sender"] == sender:
                    total["messages"] += 1
                    total["recipients"] += row["waiting"]
                    yield row

        return Answer(lambda: total, rows())

    async def _queue_show(self, arguments: Arguments, _user: str) -> Answer:
        message_id = arguments.needed("id")
        arguments.finish()
        return Answer(await self._control.message(message_id))

    async def _audit(self, arguments: Arguments, _user: str) -> Answer:
        since, sender = arguments.number("since"), arguments.text("sender")
        arguments.finish()
        sender = canonical(sender) or sender  # or a case

        def collect() -> list[dict[str, Any]]:
            return [
                line
                for line in self._journal()
                if _time(line) >= since and (not sender or _concerns(line, sender))
            ]

        # Months of journal take a while to read, and mail must not wait for it.
        rows = await asyncio.to_thread(collect)
        return Answer({"lines": len(rows)}, rows)

    async def _complete(self, arguments: Arguments, _user: str) -> Answer:
        arguments.finish()
        cases = await self._control.cases(closed=False)
        senders = {case["sender"] for case in cases}
        senders |= {row["sender"] async for row in self._control.queue()}
        return Answer(
            {"senders": sorted(senders), "cases": [case["id"] for case in cases]}
        )

    # -- changing ----------------------------------------------------------------

    async def _order(self, arguments: Arguments, user: str) -> Answer:
        change = arguments.change(user)
        action = arguments.needed("action")
        if action not in set(OrderAction) - {OrderAction.HOLD}:
            raise RefusedError("an order is release, drop or bounce", code=64)
        sender, text = arguments.text("sender"), arguments.text("filter")
        rate = arguments.number("rate")
        arguments.finish()
        sender = sender and await self._sender(sender)
        return Answer(
            await self._control.order(
                change, action, sender=sender, filter=text, rate=rate
            )
        )

    async def _release(self, arguments: Arguments, user: str) -> Answer:
        change, given = arguments.change(user), arguments.needed("sender")
        rate = arguments.number("rate")
        arguments.finish()
        sender = await self._sender(given)
        done = await self._control.release(change, sender, rate)
        return Answer(done | {"sender": sender})

    async def _block(self, arguments: Arguments, user: str) -> Answer:
        change, given = arguments.change(user), arguments.needed("sender")
        arguments.finish()
        sender = await self._sender(given)
        done = await self._control.block(change, sender)
        return Answer(done | {"sender": sender})

    async def _exempt(self, arguments: Arguments, user: str) -> Answer:
        change, given = arguments.change(user), arguments.needed("sender")
        until = arguments.number("until")
        arguments.finish()
        sender = await self._sender(given)
        return Answer(await self._control.exempt(change, sender, until))

    async def _plan(self, arguments: Arguments, user: str) -> Answer:
        change, given = arguments.change(user), arguments.needed("sender")
        start, end = arguments.number("from"), arguments.number("to")
        messages = int(arguments.number("messages"))
        arguments.finish()
        sender = await self._sender(given)
        return Answer(await self._control.plan(change, sender, start, end, messages))

    async def _forget(self, arguments: Arguments, user: str) -> Answer:
        change, address = arguments.change(user), arguments.needed("address")
        arguments.finish()
        change.check()
        if sender := canonical(address):
            address = sender.partition(":")[2]
        wanted = address.casefold()
        found = {
            "held": sum([_names(row, wanted) async for row in self._control.queue()]),
            "cases": sum(
                case["sender"].partition(":")[2] == wanted
                for case in await self._control.cases(closed=True)
            ),
        }
        result = {"address": address, "found": found}
        if not change.dry_run:
            done = self._forget_address(address)
            if inspect.isawaitable(done):
                done = await done
            if isinstance(done, dict):
                result |= done
            await self._control.forgotten(change, address)
        return Answer(result)

    # -- names -------------------------------------------------------------------

    async def _sender(self, text: str) -> str:
        """Return a sender as the engine writes it.

        Raises RefusedError for anything else: a block of a name that no mail ever
        bears would look like protection.
        """
        if sender := canonical(text):
            return sender
        known = await self._known(text)
        raise RefusedError(
            f"{text!r} is not the name of a sender",
            f"did you mean {' or '.join(known)}?"
            if known
            else "write login:NAME (an account), uid:NUMBER (a local user), "
            "from:ADDRESS (an envelope sender) or friend:NAME (a friendly host)",
        )

    async def _known(self, text: str) -> list[str]:
        """Return the senders that somebody may mean who left out the kind."""
        found = []
        for kind in ("login", "from"):
            sender = f"{kind}:{text.casefold()}"
            with contextlib.suppress(RefusedError):
                await self._control.explain(sender)
                found.append(sender)
        return found


def canonical(text: str) -> str:
    """Return the sender that a text names, "" if it names none.

    As ``shaper.core.identity`` writes them: letters folded, numbers plain.
    """
    kind, _, name = text.partition(":")
    kind = kind.lower()
    if kind == "uid":
        valid = name.isascii() and name.isdigit() and len(name) <= _LONGEST_UID
        return f"uid:{int(name)}" if valid else ""
    if kind == "friend":  # in the configuration's own letters
        return f"friend:{name}" if _FRIEND.fullmatch(name) else ""
    if kind == "login":
        name = name.strip()
    return f"{kind}:{name.casefold()}" if kind in {"login", "from"} and name else ""


def _time(line: Mapping[str, Any]) -> float:
    at = line.get("at", 0.0)
    return float(at) if isinstance(at, int | float) else 0.0


def _concerns(line: Mapping[str, Any], sender: str) -> bool:
    return sender in {line.get("sender"), line.get("case")} or (
        # An order is kept in its stored form, a text of JSON.
        line.get("event") == "order" and sender in str(line.get("order", ""))
    )


def _names(row: Mapping[str, Any], address: str) -> bool:
    envelope = row["envelope"]
    named = [envelope["sender"], *(r[0] for r in envelope["recipients"])]
    return any(address == name.casefold() for name in named)

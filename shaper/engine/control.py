"""What an operator may ask of the engine: look, release, block, allow, forget.

Translates between plain data and the engine: the transport is ``shaper.admin``,
the presentation ``shaper.cli``. Every change needs a reason, names the person in
the journal, and may be tried without effect (``dry_run``). A change carries an id
made by the client; asking twice is asking once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from posixpath import normpath
from typing import TYPE_CHECKING, Any

from shaper.core.evidence import acquit, convict, sentence, standing
from shaper.core.filter import FilterError, parse
from shaper.core.judgement import Transition, move
from shaper.core.order import Order, OrderAction
from shaper.core.plain import moment
from shaper.core.ports import ShaperError
from shaper.core.record import Exemption, Plan
from shaper.core.state import TRANSITIONS, Event, State
from shaper.engine.orders import selector
from shaper.engine.overview import elsewhere, everywhere

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from shaper.core.case import Case
    from shaper.core.message import HeldMessage
    from shaper.core.record import Record, Run
    from shaper.engine.assembly import Engine

__all__ = ["Control", "RefusedError"]


class RefusedError(ShaperError):
    """A request that makes no sense; ``code`` is of sysexits, ``hint`` a way on."""

    def __init__(self, message: str, hint: str = "", code: int = 65) -> None:
        """65 is EX_DATAERR, 64 EX_USAGE."""
        super().__init__(message)
        self.hint = hint
        self.code = code


@dataclass(frozen=True, slots=True)
class Change:
    """Who asks for a change, why, and whether only to see what it would do."""

    by: str
    reason: str
    id: str
    dry_run: bool = False

    def check(self) -> None:
        """Raise RefusedError without a reason."""
        if not self.reason.strip():
            raise RefusedError("a change needs a reason", "add --reason '...'", 64)


class Control:
    """Operators' requests, one method each; all return plain data."""

    def __init__(
        self, engine: Engine, unread: Callable[[], dict[str, str]] = dict
    ) -> None:
        """Work on ``engine``; ``unread`` are sources of outcomes and their trouble."""
        self._engine = engine
        self._context = engine.context
        self._unread = unread

    # -- reading -----------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return how this instance is."""
        engine = self._engine
        held = [m for m in engine.held.all() if not m.notice]
        notices = sum(m.notice for m in engine.held.all())
        return {
            "instance": self._context.instance,
            "hostname": self._context.hostname,
            "enforce": self._context.enforce,
            "placement": self._context.placement,
            "senders": {
                state.value: len(engine.senders.names(state.value))
                for state in (State.SLOWED, State.BLOCKED)
            },
            "open_cases": sum(not case.closed for case in engine.casebook.all()),
            "held": _counts(held)
            | {
                "bytes": sum(m.size for m in held),
                "oldest": min((m.submission.received for m in held), default=None),
            },
            "notices": notices,
            "host_alarm": engine.host.status(),
            "receivers_refusing": [one.receiver for one in engine.receivers.open()],
            "redis_unavailable_since": engine.senders.unavailable_since or None,
            "damaged_files": self._damaged_files(),
            "spool_full": self._context.spool.full() or None,
            "unread_sources": self._unread(),
            "queue_helper": (engine.reconcile and engine.reconcile.trouble) or None,
            "model": self._context.model.source,
        }

    def _damaged_files(self) -> list[dict[str, str]]:
        """Return what was set aside or is partly unreadable, and why."""
        spool, audit = self._context.spool, self._context.audit
        found = [(f"spool/corrupt/{name}", why) for name, why in spool.corrupt()]
        found += [(f"spool/held/{name}", why) for name, why in spool.damaged()]
        found += [
            (f"audit/{one.file}", f"octets {one.start} to {one.end} are damaged")
            for one in audit.damage
        ]
        return [{"file": normpath(name), "problem": why} for name, why in found]

    async def cases(self, *, closed: bool = False) -> list[dict[str, Any]]:
        """Return open cases, or all of them, oldest first."""
        theirs = await self._elsewhere(lambda m: not m.order)
        return [
            self._case(case, theirs)
            for case in await self._engine.casebook.read()
            if closed or not case.closed
        ]

    async def show(self, name: str) -> dict[str, Any]:
        """Return everything about a case, or about a sender and its latest case."""
        found = [
            case
            for case in await self._engine.casebook.read()
            if name in {case.id, case.sender}
        ]
        sender = found[-1].sender if found else name
        record, seen = await self._engine.senders.read(sender)
        if not found and not seen:
            raise RefusedError(
                f"no case and no sender is called {name!r}",
                "senders are written login:NAME, uid:NUMBER or from:ADDRESS; "
                "`mailshaper cases` lists cases",
            )
        theirs = await self._waiting_elsewhere(sender)
        result: dict[str, Any] = {"sender": self._sender(record, theirs)}
        if found:
            case = found[-1]
            result["case"] = self._case(case, theirs) | {
                "steps": [step.to_json() for step in case.steps],
                "subjects": case.subjects,
                "domains": case.domains.most_common(10),
                "clients": case.clients.most_common(10),
            }
        return result

    async def explain(self, sender: str) -> dict[str, Any]:
        """Return the evidence of a sender now, part by part."""
        record, seen = await self._engine.senders.read(sender)
        if not seen:
            raise RefusedError(
                f"no sender is called {sender!r}",
                "senders are written login:NAME, uid:NUMBER or from:ADDRESS",
            )
        return self._sender(record, await self._waiting_elsewhere(sender))

    async def queue(self, text: str = "") -> AsyncIterator[dict[str, Any]]:
        """Give held messages of all instances that match a filter."""
        now = self._context.clock()
        wanted = _parsed(text)
        async for instance, message in everywhere(self._context, self._engine.held):
            if wanted is None or wanted.matches(message, now):
                yield self._message(message, instance)

    async def message(self, message_id: str) -> dict[str, Any]:
        """Return a held message with the start of its content."""
        message = self._engine.held.get(message_id)
        if message is None:
            raise await self._not_here(message_id)
        content = b""
        async for chunk in self._context.spool.read(message_id):
            content += chunk
            if len(content) > _MOST_SHOWN:
                break
        text = content[:_MOST_SHOWN].replace(b"\r\n..", b"\r\n.")
        if message.by_mta:
            # What the MTA's client wrote is the MTA's to show, and only to root.
            text = _ELSEWHERE.format(message.submission.client.ident).encode()
        return self._message(message, self._context.instance) | {
            "content": text.decode("utf-8", "replace"),
            "truncated": message.size > _MOST_SHOWN and not message.by_mta,
        }

    async def _not_here(self, message_id: str) -> RefusedError:
        async for instance, message in everywhere(self._context, self._engine.held):
            if message.id == message_id:
                return RefusedError(
                    f"message {message_id!r} lies in the spool of instance "
                    f"{instance!r}; its content is to be had only there",
                    "name that instance's socket with --socket; it can be released, "
                    "dropped and bounced from here",
                )
        return RefusedError(
            f"no held message is called {message_id!r}", "see `mailshaper queue list`"
        )

    # -- changing ----------------------------------------------------------------

    async def order(
        self,
        change: Change,
        action: str,
        *,
        sender: str = "",
        filter: str = "",  # noqa: A002 - the word of the grammar
        rate: float = 0.0,
    ) -> dict[str, Any]:
        """Release, drop or bounce held mail."""
        change.check()
        _parsed(filter)
        if not sender and not filter:
            raise RefusedError(
                "this would concern all held mail",
                "name a sender or a filter; `age>0s` matches everything",
                64,
            )
        order = Order(
            change.id,
            self._context.clock(),
            OrderAction(action),
            change.by,
            change.reason,
            sender,
            filter,
            rate,
        )
        orders = self._engine.orders
        # Theirs are counted before they hear of the order, and not a second time.
        known = orders.given(order.id) is not None
        named = selector(order, order.at)
        theirs = [] if known else await self._elsewhere(named)
        ours = orders.matching(order) if change.dry_run else await orders.submit(order)
        return _counts([*ours, *theirs])

    async def release(self, change: Change, sender: str, rate: float) -> dict[str, Any]:
        """Find a sender innocent: back to normal, held mail freed, lesson learned."""
        change.check()
        record, seen = await self._engine.senders.read(sender)
        held = self._engine.held.of_sender(sender)
        if not seen and not held:
            raise RefusedError(
                f"no sender is called {sender!r}", "`mailshaper cases` lists them"
            )
        if change.dry_run:
            free = [m for m in held if not m.order]
            free += await self._waiting_elsewhere(sender)
            return _counts(free) | {"state": record.state.value}
        # The same id again is no new verdict: a block that came since stays. One
        # that a crash cut short after its order is completed.
        given = self._engine.orders.given(change.id)
        verdict = given is None or record.since <= given
        # The order first: else the held mail would leave at the pace of recovery.
        counts = await self.order(change, "release", sender=sender, rate=rate)
        if verdict and Event.RELEASED in TRANSITIONS[record.state]:
            await self._move(sender, Event.RELEASED, change)
        await self._engine.senders.assure(sender)
        record, _ = await self._engine.senders.read(sender)
        return counts | {"state": record.state.value}

    async def block(self, change: Change, sender: str) -> dict[str, Any]:
        """Hold everything of a sender until a person releases it: it is a theft.

        A sender that blocked itself may be confirmed too: what the thief did is
        then unlearned, so that a later release does not make it normal.
        """
        change.check()
        record, seen = await self._engine.senders.read(sender)
        if not change.dry_run and not record.confirmed:
            await self._move(sender, Event.CONFIRMED, change)
        # Said a second time after a full disk, it must be written all the same.
        await self._engine.senders.assure(sender)
        theirs = await self._elsewhere(lambda m: m.submission.sender == sender)
        ours = self._engine.held.of_sender(sender)
        if not change.dry_run and any(m.order for m in [*ours, *theirs]):
            # What was released and has not left waits again.
            await self.order(change, OrderAction.HOLD, sender=sender)
        waiting = [*self._engine.held.of_sender(sender), *theirs]
        state = record.state if change.dry_run else State.BLOCKED
        enforce = self._context.enforce
        told = {"state": state.value, "enforce": enforce, "seen": seen}
        return _counts(waiting) | told

    async def exempt(self, change: Change, sender: str, until: float) -> dict[str, Any]:
        """Let a sender's mail pass unjudged until a time; 0 ends an exemption."""
        change.check()
        now = self._context.clock()
        if until and until <= now:
            raise RefusedError("the end of the exemption is in the past", code=64)
        record, _ = await self._engine.senders.read(sender)
        if until and record.state is State.BLOCKED:
            raise RefusedError(
                f"{sender} is blocked, and an exemption lets none of its mail pass",
                "release it first: mailshaper release SENDER --reason '...'",
            )
        if not _has_date(until):
            raise RefusedError("the end of the exemption has no date", code=64)
        exemption = Exemption(until, change.by, change.reason) if until else None

        def apply(record: Record) -> None:
            record.exemption = exemption

        if not change.dry_run:
            await self._engine.senders.change(
                sender, apply, journal_first=True, **_why(change, "exempt")
            )
        return {"sender": sender, "until": until or None}

    async def plan(
        self, change: Change, sender: str, start: float, end: float, messages: int
    ) -> dict[str, Any]:
        """Expect a burst: up to so many messages between two times."""
        change.check()
        sensible = start < end and end > self._context.clock() and _has_date(end)
        if not sensible or not 1 <= messages <= _MOST_PLANNED:
            raise RefusedError(
                "a plan needs a start before its end, an end in the future "
                f"and between one message and {_MOST_PLANNED:,}",
                code=64,
            )
        plan = Plan(start, end, messages, change.by, change.reason)

        def apply(record: Record) -> None:
            # Asking again, after a crash say, is not asking for more.
            known = {(p.start, p.end, p.messages) for p in record.plans}
            if (start, end, messages) not in known:
                record.plans = (*record.plans, plan)

        if not change.dry_run:
            await self._engine.senders.change(
                sender, apply, journal_first=True, **_why(change, "plan")
            )
        return {"sender": sender, "from": start, "to": end, "messages": messages}

    async def forgotten(self, change: Change, address: str) -> None:
        """Journal that somebody was forgotten: by whom and why, but not who."""
        nameless = re.compile(re.escape(address), re.IGNORECASE)
        reason = nameless.sub("(the address)", change.reason)
        await self._context.audit.append(
            "forget", by=change.by, reason=reason, id=change.id
        )

    async def _elsewhere(
        self, wanted: Callable[[HeldMessage], bool]
    ) -> list[HeldMessage]:
        """Return messages of other instances; an order reaches them within seconds."""
        others = elsewhere(self._context)
        return [message async for _, message in others if wanted(message)]

    async def _waiting_elsewhere(self, sender: str) -> list[HeldMessage]:
        return await self._elsewhere(
            lambda m: m.submission.sender == sender and not m.order
        )

    async def _move(self, sender: str, event: Event, change: Change) -> None:
        fresh = self._engine.gate.new_case_id()
        apply = partial(self._apply, event, fresh)
        _, (transition, case_id, run) = await self._engine.senders.change(
            sender, apply, journal_first=False, **_why(change, event.value)
        )
        if transition is not None:
            self._engine.gate.moved(
                sender, case_id, run, transition, change.by, change.reason
            )
        await self._engine.senders.assure(sender)

    def _apply(
        self, event: Event, fresh: str, record: Record
    ) -> tuple[Transition | None, str, Run]:
        """Change a record by an operator's word; also what its profile learned."""
        model, now = self._context.model, self._context.clock()
        run = record.run
        if event not in TRANSITIONS[record.state]:
            return None, record.case, run  # somebody else was faster
        evidence = standing(record.profile, model, now)
        transition = move(record, event, now, evidence)
        case_id = record.case or fresh
        if event is Event.RELEASED:
            acquit(record.profile, model, now)
            record.case = ""
        else:
            convict(record.profile, model, now)
            record.case = case_id
        return transition, case_id, run

    # -- plain data --------------------------------------------------------------

    def _case(self, case: Case, theirs: list[HeldMessage]) -> dict[str, Any]:
        return {
            "id": case.id,
            "sender": case.sender,
            "state": case.state.value,
            "onset": case.onset or None,
            "opened": case.opened,
            "closed": case.closed or None,
            "outcome": case.outcome,
            "escaped": _pair(case.escaped),
            "held": _pair(case.held),
            "delivered": _pair(case.delivered),
            "bounces": case.bounces,
            "complaints": case.complaints,
            "waiting": self._waiting(case.sender, theirs),
            "why": _reason(case),
            "enforce": self._context.enforce,
        }

    def _sender(self, record: Record, theirs: list[HeldMessage]) -> dict[str, Any]:
        evidence = standing(record.profile, self._context.model, self._context.clock())
        return record.standing_json() | {
            "evidence": evidence.to_json(),
            "sentence": sentence(evidence),
            "waiting": self._waiting(record.sender, theirs),
            "enforce": self._context.enforce,
            "placement": self._context.placement,
        }

    def _waiting(self, sender: str, theirs: list[HeldMessage]) -> dict[str, int]:
        """Count what waits of a sender, here and among other instances' mail."""
        ours = [m for m in self._engine.held.of_sender(sender) if not m.order]
        return _counts([*ours, *(m for m in theirs if m.submission.sender == sender)])

    @staticmethod
    def _message(message: HeldMessage, instance: str) -> dict[str, Any]:
        return message.meta_json() | {
            "size": message.size,
            "attempts": message.attempts,
            "not_before": message.not_before or None,
            "order": message.order,
            "waiting": len(message.waiting),
            "instance": instance,
        }


_MOST_SHOWN = 16 * 1024
_ELSEWHERE = (
    "The mail server keeps this message on hold as {0}; root sees it with\r\n"
    "postcat -qbh {0}   or   exim -Mvh {0}; exim -Mvb {0}\r\n"
)
_MOST_PLANNED = 1_000_000_000


def _has_date(at: float) -> bool:
    try:
        moment(at)
    except ValueError:
        return False
    return True


def _parsed(text: str) -> Any:  # noqa: ANN401
    if not text:
        return None
    try:
        return parse(text)
    except FilterError as error:
        raise RefusedError(str(error), code=64) from error


def _reason(case: Case) -> str:
    """Return why a case is open: the evidence, or who opened it by hand and why."""
    if step := case.by_hand:
        return f"Blocked by {step.by or 'an operator'}: {step.reason}"
    evidence = next((s.evidence for s in reversed(case.steps) if s.evidence), None)
    return sentence(evidence) if evidence else ""


def _why(change: Change, what: str) -> dict[str, str]:
    return {"change": what, "by": change.by, "reason": change.reason}


def _pair(pair: tuple[int, int]) -> dict[str, int]:
    return {"messages": pair[0], "recipients": pair[1]}


def _counts(messages: Iterable[HeldMessage]) -> dict[str, int]:
    listed = list(messages)
    return {
        "messages": len(listed),
        "recipients": sum(len(m.waiting) for m in listed),
    }

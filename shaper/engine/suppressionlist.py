"""What operators ask of the suppression list; each change has a reason and is audited.

All return plain data. Rows of a list come page by page from Redis, in no order: a
million entries are neither sorted nor held in memory.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shaper.core.plain import moment
from shaper.core.suppression import Entry, Why, digest, fold, next_probe, verdict
from shaper.engine.control import RefusedError
from shaper.engine.suppression import decode, encode, key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from shaper.core.ports import SuppressionStore
    from shaper.engine.context import Context
    from shaper.engine.control import Change
    from shaper.engine.suppression import Suppression

__all__ = ["SuppressionList"]

_USAGE = 64


class SuppressionList:
    """Operators' requests about the list of an instance."""

    def __init__(self, context: Context, suppression: Suppression) -> None:
        """Work on the parts of an engine."""
        self._context = context
        self._list = suppression

    @property
    def _store(self) -> SuppressionStore:
        if self._list.store is None:
            raise RefusedError("this daemon keeps no suppression list")
        return self._list.store

    async def rows(
        self, *, text: str = "", why: str = "", limit: int = 0, everything: bool = False
    ) -> AsyncIterator[dict[str, Any]]:
        """Give what is suppressed; ``text`` is a part of the address.

        ``everything`` also gives single soft bounces and what was lifted.
        """
        if why and why not in set(Why):
            raise RefusedError(f"a reason is one of {', '.join(Why)}", code=_USAGE)
        seen: set[int] = set()
        wanted = text.lower()
        async for page in self._store.entries():
            for name, raw in page:
                entry = decode(raw)
                if entry is None or key(name) in seen:
                    continue  # SCAN may tell a key twice
                seen.add(key(name))
                row = self._row(entry)
                if not everything and not row["since"] and not why:
                    continue
                if (why and row["why"] != why) or wanted not in entry.address:
                    continue
                yield row
                limit -= 1
                if limit == 0:
                    return

    async def explain(self, text: str) -> dict[str, Any]:
        """Return everything about an address and what happens to mail for it."""
        address = _address(text)
        entry, _ = await self._list.read(address)
        if entry is None:
            foreign = await self._foreign(address)
            return {"address": address, "listed": False, "foreign": foreign}
        now, rules = self._context.clock(), self._list.settings.rules
        since = entry.since(rules)
        would = {}
        for name, bulk in (("bulk", True), ("personal", False)):
            found = verdict(entry, bulk=bulk, now=now, rules=rules)
            would[name] = {"action": found.action.value, "reply": list(found.lines)}
        manual = entry.why is Why.MANUAL
        return self._row(entry) | {
            "listed": True,
            "verdict": would,
            "soft_bounces": list(entry.soft),
            "soft_needed": rules.soft_bounces,
            "soft_retry_at": max(entry.soft, default=0.0) + rules.soft_retry
            if entry.soft and not entry.for_all
            else None,
            "dead_reported": list(entry.dead),
            "next_probe": next_probe(entry, since, now)
            if since and not manual
            else None,
            "last_probe": entry.probed or None,
            "probes": entry.probes,
            "asked": entry.told or None,
            "confirmed": entry.confirmed or None,
            "lifted": entry.lifted or None,
            "lifted_by": entry.lifted_by,
            "foreign": await self._foreign(address),
            "enforced": self._list.settings.enabled and self._context.enforce,
        }

    def _row(self, entry: Entry) -> dict[str, Any]:
        since = entry.since(self._list.settings.rules)
        return {
            "address": entry.address,
            "why": entry.why.value,
            "for": "all" if entry.for_all else "bulk" if since else "nobody",
            "since": since or None,
            "occasions": entry.occasions(),
            "status": entry.status,
            "text": entry.text,
            "source": entry.source,
            "by": entry.by,
            "reason": entry.reason,
        }

    async def add(self, change: Change, text: str) -> dict[str, Any]:
        """Put an address on the list, until an operator takes it off."""
        change.check()
        address = _address(text, domain=True)
        now = self._context.clock()
        before, _ = await self._list.read(address)
        result = {"address": address, "was": before.why.value if before else None}
        if change.dry_run or (before and before.why is Why.MANUAL):
            return result

        def place(entry: Entry | None) -> Entry:
            entry = entry or Entry(address)
            return entry.place(now, change.by, change.reason, manual=True)

        await self._list.change(address, place)
        await self._audit(change, "add", address=address)
        return result

    async def remove(self, change: Change, text: str) -> dict[str, Any]:
        """Take an address off the list; what happened so far counts no more."""
        change.check()
        address = _address(text)
        now = self._context.clock()
        before, _ = await self._list.read(address)
        foreign = await self._foreign(address)
        if (before is None or before.why is Why.LIFTED) and not foreign:
            raise RefusedError(
                f"{address} is not on the suppression list",
                "`mailshaper suppress list` shows what is",
            )
        listed = before is not None and before.why is not Why.LIFTED
        was = before.why.value if before is not None and listed else "foreign"
        result = {"address": address, "was": was}
        if change.dry_run:
            return result

        def lift(entry: Entry | None) -> Entry | None:
            entry = entry or (Entry(address) if foreign else None)
            return entry and entry.free(now, f"{change.by}: {change.reason}")

        await self._list.change(address, lift)
        self._list.overridden(address)
        await self._audit(change, "remove", address=address)
        return result

    async def _foreign(self, address: str) -> dict[str, Any]:
        """Return what trusted hosts say of an address, {} for nothing."""
        foreign = self._list.foreign
        found = await foreign.about(address) if foreign else None
        if found is None:
            return {}
        return {
            "says": "suppress" if found.suppress else "caution",
            "by": list(found.by),
            "since": found.since,
        }

    async def confirm(self, change: Change, text: str) -> dict[str, Any]:
        """Mail the confirmation link to an address by hand."""
        change.check()
        address = _address(text)
        entry, _ = await self._list.read(address)
        if self._list.ask is None:
            raise RefusedError(
                "no confirmation page is configured",
                "set confirm_url and confirm_listen in [suppression], "
                "or use `mailshaper suppress remove`",
            )
        if entry is None or entry.why in {Why.LIFTED, Why.MANUAL}:
            raise RefusedError(
                f"{address} is not there to be confirmed",
                "an address that was added by hand is taken off with "
                "`mailshaper suppress remove`",
            )
        result: dict[str, Any] = {"address": address, "queued": False}
        if change.dry_run:
            return result
        result["queued"] = await self._list.ask(entry, self._context.clock())
        await self._audit(change, "confirm", address=address)
        return result

    async def import_(
        self, change: Change, rows: Iterable[Iterable[Any]], *, last: bool
    ) -> dict[str, Any]:
        """Take a batch of dead addresses: address, since, status, text, source.

        ``last`` tells the others and writes the audit line; with an empty batch it
        only does that.
        """
        change.check()
        now = self._context.clock()
        found: dict[str, Entry] = {}
        bad = 0
        for row in rows:
            try:
                text, since, status, said, source = row
                entry = Entry(_address(str(text)))
                at = min(moment(since) or now, now)
            except (ValueError, TypeError, RefusedError):
                bad += 1
                continue
            entry = replace(
                entry,
                status=str(status)[:16],
                text=str(said)[:200],
                source=str(source)[:200],
            )
            entry = entry.place(at, change.by, change.reason, manual=False)
            found.setdefault(entry.address, entry)
        known, added = 0, 0
        if change.dry_run:
            for address in found:
                known += key(digest(address)) in self._list.index
            added = len(found) - known
        elif found:
            added, known = await self._store_new(found)
        if last and not change.dry_run:
            await self._store.announce()
            await self._audit(change, "import")
        return {"added": added, "known": known, "bad": bad}

    async def _store_new(self, found: dict[str, Entry]) -> tuple[int, int]:
        """Store entries; those of addresses with one are taken into it."""
        by_name = {digest(address): entry for address, entry in found.items()}
        raw = {name: encode(entry) for name, entry in by_name.items()}
        taken = await self._store.put_new(raw)
        for name in by_name:
            self._list.index.add(key(name))
        merged = 0
        for name in taken:
            new = by_name[name]

            def merge(entry: Entry | None, new: Entry = new) -> Entry:
                if entry is None:
                    return new
                return entry.place(new.placed, new.by, new.reason, manual=False)

            before, _ = await self._list.read(new.address)
            merged += await self._list.change(new.address, merge) != before
        return len(found) - len(taken) + merged, len(taken) - merged

    async def forget(self, text: str) -> int:
        """Remove an entry without a trace; return how many there were."""
        address = fold(text)
        if not address or self._list.store is None:
            return 0
        entry, _ = await self._list.read(address)
        await self._list.change(address, lambda _: None)
        return int(entry is not None)

    async def _audit(self, change: Change, action: str, **more: str) -> None:
        await self._context.audit.append(
            "suppress", action=action, by=change.by, reason=change.reason,
            id=change.id, **more,
        )  # fmt: skip


def _address(text: str, *, domain: bool = False) -> str:
    """Return a folded address. Raises RefusedError."""
    address = fold(text)
    if "@" not in address or (domain and not address.rpartition("@")[2]):
        raise RefusedError(
            f"{text[:100]!r} is no mail address", "write user@example.org", _USAGE
        )
    return address

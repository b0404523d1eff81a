"""The command of the admin socket that computes every kept alarm again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from shaper.admin_commands import Answer, canonical
from shaper.core.evidence import sentence
from shaper.core.proof import check

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from shaper.admin_arguments import Arguments
    from shaper.admin_commands import Command

__all__ = ["proof_commands"]


def proof_commands(
    journal: Callable[[], Iterable[dict[str, Any]]],
) -> dict[str, Command]:
    """Return the command by name; ``journal`` yields the audit journal's lines."""

    async def verify(arguments: Arguments, _user: str) -> Answer:
        name, since = arguments.text("sender"), arguments.number("since")
        arguments.finish()
        wanted = {name, canonical(name)}
        total = {"alarms": 0, "same": 0}

        def lines() -> list[dict[str, Any]]:
            return [
                line
                for line in journal()
                if line.get("event") == "evidence"
                and line.get("at", 0.0) >= since
                and (not name or wanted & {line.get("sender"), line.get("case")})
            ]

        async def rows() -> AsyncIterator[dict[str, Any]]:
            for line in await asyncio.to_thread(lines):
                row = await asyncio.to_thread(_row, line)
                total["alarms"] += 1
                total["same"] += row["same"]
                yield row

        return Answer(lambda: total, rows())

    return {"audit.verify": verify}


def _row(line: dict[str, Any]) -> dict[str, Any]:
    kept = line.get("proof")
    found = check(kept if isinstance(kept, dict) else {})
    return {
        "seq": line.get("seq"),
        "at": line.get("at"),
        "sender": line.get("sender"),
        "case": line.get("case"),
        "same": found.same,
        "why": found.why,
        "written": found.written.to_json() if found.written else None,
        "again": found.again.to_json() if found.again else None,
        "says": sentence(latest) if (latest := found.again or found.written) else "",
    }

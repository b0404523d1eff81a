"""The commands of the admin socket about the suppression list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shaper.admin_commands import Answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from shaper.admin_arguments import Arguments
    from shaper.admin_commands import Command
    from shaper.engine.control import Change
    from shaper.engine.suppressionlist import SuppressionList

__all__ = ["suppress_commands"]


def suppress_commands(entries: SuppressionList) -> dict[str, Command]:
    """Return the commands by name."""

    async def listed(arguments: Arguments, _user: str) -> Answer:
        text, why = arguments.text("text"), arguments.text("why")
        limit, everything = int(arguments.number("limit")), arguments.flag("all")
        arguments.finish()
        total = {"addresses": 0}

        async def rows() -> AsyncIterator[dict[str, Any]]:
            found = entries.rows(text=text, why=why, limit=limit, everything=everything)
            async for row in found:
                total["addresses"] += 1
                yield row

        return Answer(lambda: total, rows())

    async def explain(arguments: Arguments, _user: str) -> Answer:
        address = arguments.needed("address")
        arguments.finish()
        return Answer(await entries.explain(address))

    def changing(act: Callable[[Change, str], Awaitable[dict[str, Any]]]) -> Command:
        async def command(arguments: Arguments, user: str) -> Answer:
            change, address = arguments.change(user), arguments.needed("address")
            arguments.finish()
            return Answer(await act(change, address))

        return command

    async def import_(arguments: Arguments, user: str) -> Answer:
        change, rows = arguments.change(user), arguments.rows("rows")
        last = arguments.flag("last")
        arguments.finish()
        return Answer(await entries.import_(change, rows, last=last))

    return {
        "suppress.list": listed,
        "suppress.explain": explain,
        "suppress.add": changing(entries.add),
        "suppress.remove": changing(entries.remove),
        "suppress.confirm": changing(entries.confirm),
        "suppress.import": import_,
    }

"""The command of the admin socket that takes what a replay learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.admin_commands import Answer

if TYPE_CHECKING:
    from shaper.admin_arguments import Arguments
    from shaper.admin_commands import Command
    from shaper.engine.learned import Learned

__all__ = ["learn_commands"]


def learn_commands(learned: Learned) -> dict[str, Command]:
    """Return the command by name."""

    async def learn(arguments: Arguments, user: str) -> Answer:
        change, rows = arguments.change(user), arguments.rows("rows")
        arguments.finish()
        return Answer(await learned.take(change, rows))

    return {"learn": learn}

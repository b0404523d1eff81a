"""The command of the admin socket about friendly hosts whose mail we deliver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.admin_commands import Answer

if TYPE_CHECKING:
    from shaper.admin_arguments import Arguments
    from shaper.admin_commands import Command
    from shaper.engine.friends import Friends

__all__ = ["friend_commands"]


def friend_commands(friends: Friends) -> dict[str, Command]:
    """Return the command by name."""

    async def listed(arguments: Arguments, _user: str) -> Answer:
        arguments.finish()
        return Answer(friends.rows())

    return {"friends": listed}

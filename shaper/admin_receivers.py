"""The command of the admin socket about receivers that refuse this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.admin_commands import Answer

if TYPE_CHECKING:
    from shaper.admin_arguments import Arguments
    from shaper.admin_commands import Command
    from shaper.engine.receivers import Receivers

__all__ = ["receiver_commands"]


def receiver_commands(receivers: Receivers) -> dict[str, Command]:
    """Return the command by name."""

    async def listed(arguments: Arguments, _user: str) -> Answer:
        arguments.finish()
        return Answer(receivers.rows())

    return {"receivers": listed}

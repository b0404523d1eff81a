"""The command of the admin socket that hands in a mail that came back."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from shaper.admin_commands import Answer
from shaper.engine.control import RefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from shaper.admin_arguments import Arguments
    from shaper.admin_commands import Command
    from shaper.core.outcome import Outcome

__all__ = ["intake_commands"]

_USAGE = 64


def intake_commands(
    intake: Callable[[bytes, Sequence[str]], Awaitable[list[tuple[Outcome, str]]]],
) -> dict[str, Command]:
    """Return the commands by name."""

    async def handed_in(arguments: Arguments, _user: str) -> Answer:
        rows, recipient = arguments.rows("mail"), arguments.text("recipient")
        arguments.finish()
        try:
            data = b"".join(base64.b64decode(row[0], validate=True) for row in rows)
        except (IndexError, TypeError, binascii.Error) as error:
            raise RefusedError("mail must be rows of base64", code=_USAGE) from error
        taken = await intake(data, [recipient] if recipient else [])
        return Answer(
            {"outcomes": len(taken)},
            [outcome.to_json() | {"result": word} for outcome, word in taken],
        )

    return {"intake": handed_in}

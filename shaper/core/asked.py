"""What an MTA asks about mail that it keeps itself, and what it is told.

The same for Postfix and Exim; how either writes it is the duty of
``shaper.policy.request``. Everything in a question is the MTA's word about its
client, so addresses and names in it are outside text.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shaper.core.envelope import Client
    from shaper.core.reply import Reply

__all__ = ["HOLD", "PASS", "Answer", "Question", "Stage"]


class Stage(StrEnum):
    """When the MTA asks."""

    RCPT = "rcpt"  # for each recipient
    END = "end"  # once, when it has the whole message


@dataclass(frozen=True, slots=True)
class Question:
    """One request. ``client.ident`` is the queue id, ``client.login`` the login.

    ``instance`` is what the requests about one message share, "" where the MTA
    asks once only. ``recipients`` are those that this request names, ``count`` how
    many the message has (0: not told), ``size`` its octets (0: not told), ``userid``
    the digits of the local user who handed it in, "" for mail by SMTP.
    """

    stage: Stage
    instance: str
    sender: str
    recipients: tuple[str, ...]
    client: Client
    count: int = 0
    size: int = 0
    userid: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the MTA is to do: hold the message, refuse with ``reply``, or go on."""

    hold: bool = False
    reply: Reply | None = None


PASS = Answer()
HOLD = Answer(hold=True)

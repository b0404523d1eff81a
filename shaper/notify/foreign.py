"""The words of a notice that another host blocked one of our senders, in en and fr."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shaper.core.quote import shell
from shaper.core.text import bland
from shaper.notify.page import Command, Page

if TYPE_CHECKING:
    from shaper.core.foreign import ForeignSender

__all__ = ["foreign_page"]

_WORDS = {
    "en": {
        "title": "{sender} was blocked at another host",
        "lead": "A host of the federation blocked a sender with this address. Here it "
        "is watched more closely, and nothing of it is slowed or blocked because of "
        "that. Does somebody use one password at both hosts?",
        "sender": "Sender here",
        "by": "Told by",
        "why": "Reason given there",
        "until": "Until",
        "next": "What to type",
        "explain": "what it sends here, and whether that is unusual",
        "block": "it is stolen here too",
    },
    "fr": {
        "title": "{sender} a été bloqué chez un autre hébergeur",
        "lead": "Un hébergeur de la fédération a bloqué un expéditeur avec cette "
        "adresse. Ici il est surveillé de plus près, et rien n'est ralenti ni bloqué "
        "pour cette raison. Le même mot de passe sert-il aux deux "
        "endroits\N{NO-BREAK SPACE}?",
        "sender": "Expéditeur ici",
        "by": "Dit par",
        "why": "Raison donnée là-bas",
        "until": "Jusqu'au",
        "next": "À taper",
        "explain": "ce qu'il envoie ici, et si c'est inhabituel",
        "block": "il est volé ici aussi",
    },
}


def foreign_page(sender: str, signal: ForeignSender, language: str) -> Page:
    """Return the notice about a signal."""
    words = _WORDS[language]
    page = Page(words["title"].format(sender=bland(sender)), "slowed", language)
    page.lead.append(words["lead"])
    until = datetime.fromtimestamp(signal.until, UTC)
    page.rows = [
        (words["sender"], bland(sender)),
        (words["by"], bland(", ".join(signal.by))),
        (words["why"], bland(signal.why)),
        (words["until"], f"{until:%Y-%m-%d %H:%M} UTC"),
    ]
    name = shell(sender)
    page.commands = (
        words["next"],
        [
            Command(f"mailshaper explain {name}", words["explain"]),
            Command(f"mailshaper block {name} --reason '...'", words["block"]),
        ],
    )
    return page

"""The words of a notice about a receiver that refuses this host, in en and fr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.core.quote import shell
from shaper.core.text import bland
from shaper.notify.page import Command, Page
from shaper.notify.text import number

if TYPE_CHECKING:
    from collections.abc import Callable

    from shaper.core.receivers import ReceiverTrouble

__all__ = ["trouble_page"]

_WORDS = {
    "en": {
        "begun": "{receiver} refuses mail from this host",
        "over": "{receiver} takes mail from this host again, or is silent",
        "lead": "Not one sender's mail but this host or its domain is refused. The "
        "mail of innocent senders bounces until it is cleared up.",
        "over_lead": "No such refusal came any more. A route that you set stays until "
        "you remove it.",
        "receiver": "Receiver",
        "since": "Since",
        "messages": "Messages refused",
        "senders": "Innocent senders",
        "text": "It says",
        "next": "What to type",
        "see": "all such receivers",
        "cases": "is one of your senders the reason?",
        "route": "send its mail by another next hop",
        "remove": "and back, when it is over",
    },
    "fr": {
        "begun": "{receiver} refuse le courrier de ce serveur",
        "over": "{receiver} accepte à nouveau le courrier de ce serveur, ou se tait",
        "lead": "Ce n'est pas le courrier d'un expéditeur mais ce serveur ou son "
        "domaine qui est refusé. Le courrier d'expéditeurs innocents revient tant que "
        "ce n'est pas réglé.",
        "over_lead": "Aucun refus de ce genre n'est plus arrivé. Une route que vous "
        "avez posée reste jusqu'à ce que vous la retiriez.",
        "receiver": "Destination",
        "since": "Depuis",
        "messages": "Messages refusés",
        "senders": "Expéditeurs innocents",
        "text": "Elle dit",
        "next": "À taper",
        "see": "toutes ces destinations",
        "cases": "un de vos expéditeurs en est-il la cause\N{NO-BREAK SPACE}?",
        "route": "faire passer son courrier par un autre relais",
        "remove": "et retour, quand c'est fini",
    },
}


def trouble_page(
    trouble: ReceiverTrouble, language: str, time: Callable[[float], str]
) -> Page:
    """Return the notice; ``time`` puts Unix seconds into words."""
    words = _WORDS[language]
    name = bland(trouble.receiver)
    state = "over" if trouble.ended else "begun"
    page = Page(
        words[state].format(receiver=name),
        "normal" if trouble.ended else "blocked",
        language,
    )
    page.lead.append(words["over_lead" if trouble.ended else "lead"])
    page.rows = [
        (words["receiver"], name),
        (words["since"], time(trouble.since)),
        (words["messages"], number(trouble.messages, language)),
        (words["senders"], number(trouble.senders, language)),
        (words["text"], bland(trouble.text)),
    ]
    target = shell(trouble.receiver)
    found = [Command("mailshaper receivers", words["see"])]
    if trouble.ended:
        line = f"mailshaper route remove {target} --reason '...'"
        found.append(Command(line, words["remove"]))
    else:
        found.append(Command("mailshaper cases", words["cases"]))
        line = f"mailshaper route add {target} RELAY --reason '...'"
        found.append(Command(line, words["route"]))
    page.commands = words["next"], found
    return page

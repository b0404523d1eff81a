"""The words of a notice that many senders deviate together, in en and fr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.core.host import DEVIATES
from shaper.core.quote import shell
from shaper.core.text import bland
from shaper.notify.page import Command, Page
from shaper.notify.text import number, percent

if TYPE_CHECKING:
    from shaper.core.host import HostDay

__all__ = ["host_page"]

_WORDS = {
    "en": {
        "title": "Many senders look unusual together",
        "lead": "More senders than usual came near their own limits on one day. "
        "Either many accounts are stolen and each is kept quiet, or one harmless "
        "cause moves many, such as the Monday after a failure or a campaign. This "
        "alarm slows nobody, and comes once a day.",
        "day": "Day",
        "deviating": "Senders past {share} of their limits",
        "active": "Senders that wrote",
        "evidence": "Evidence",
        "nats": "{total} nats; alarm at {limit}",
        "share": "{share} of its limit",
        "next": "What to type",
        "cases": "who is slowed or blocked already",
        "explain": "what is unusual about a sender (each of those above)",
        "block": "it is stolen",
    },
    "fr": {
        "title": "Beaucoup d'expéditeurs sortent ensemble de l'ordinaire",
        "lead": "Plus d'expéditeurs que d'habitude se sont approchés de leurs propres "
        "limites le même jour. Soit beaucoup de comptes sont volés et chacun reste "
        "discret, soit une cause anodine en touche beaucoup, comme le lundi après une "
        "panne ou une campagne. Cette alarme ne ralentit personne et vient une fois "
        "par jour.",
        "day": "Jour",
        "deviating": "Expéditeurs au-delà de {share} de leurs limites",
        "active": "Expéditeurs qui ont écrit",
        "evidence": "Indices",
        "nats": "{total} nats\N{NO-BREAK SPACE}; alarme à {limit}",
        "share": "{share} de sa limite",
        "next": "À taper",
        "cases": "qui est déjà ralenti ou bloqué",
        "explain": "ce qu'un expéditeur a d'inhabituel (chacun des précédents)",
        "block": "le compte est volé",
    },
}


def host_page(alarm: HostDay, language: str) -> Page:
    """Return the notice of a day."""
    words, evidence = _WORDS[language], alarm.evidence
    page = Page(words["title"], "slowed", language)
    page.lead.append(words["lead"])
    page.rows = [
        (words["day"], alarm.day),
        (
            words["deviating"].format(share=percent(DEVIATES, language)),
            number(evidence.deviating, language),
        ),
        (words["active"], number(evidence.active, language)),
        (
            words["evidence"],
            words["nats"].format(
                total=number(evidence.total, language, 1),
                limit=number(evidence.limit, language, 1),
            ),
        ),
    ]
    for sender, share in alarm.senders:
        text = words["share"].format(share=percent(share, language))
        page.lists.append(
            (bland(sender), [text, f"mailshaper explain {shell(sender)}"])
        )
    found = [Command("mailshaper cases", words["cases"])]
    if alarm.senders:
        name = shell(alarm.senders[0][0])
        found += [
            Command(f"mailshaper explain {name}", words["explain"]),
            Command(f"mailshaper block {name} --reason '...'", words["block"]),
        ]
    page.commands = words["next"], found
    return page

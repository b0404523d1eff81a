"""The words of a notice, in English and French, without any layout.

Everything that a notice says about a case is put into words here; numbers and
outside text are arguments. A language that is missing a word is a KeyError in the
tests, not a blank in somebody's mail.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from shaper.core.text import bland

if TYPE_CHECKING:
    from shaper.core.evidence import Evidence

__all__ = ["LANGUAGES", "WORDS", "part_name", "why"]

LANGUAGES = ("en", "fr")

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "slowed": "{sender} is slowed: its mail no longer looks like its own",
        "blocked": "{sender} is blocked: all its mail waits for your review",
        "normal": "{sender} is back to normal",
        "observed": "Observation mode: nothing was held back.",
        "who": "Sender",
        "case": "Case",
        "since": "Since",
        "alarm": "Alarm",
        "why": "Why",
        "evidence": "Evidence",
        "escaped": "Sent before the alarm",
        "held": "Held so far",
        "subjects": "Subjects",
        "domains": "Recipient domains",
        "clients": "Client addresses",
        "counts": "{messages} message(s) to {recipients} recipient(s)",
        "next": "What to type",
        "look": "look closer",
        "innocent": "innocent: release everything",
        "stolen": "stolen: hold everything, then change the password",
        "outcome_faded": "The anomaly has faded; held mail leaves at a growing pace.",
        "outcome_innocent": "An operator found it innocent.",
        "sentence": "{part}: {value} {unit}, {share} of the {limit} that is this "
        "sender's own limit.",
        "nothing": "nothing unusual",
        "operator": "blocked by {by}: {reason}",
    },
    "fr": {
        "slowed": "{sender} est ralenti : son courrier ne lui ressemble plus",
        "blocked": "{sender} est bloqué : tout son courrier attend votre examen",
        "normal": "{sender} est revenu à la normale",
        "observed": "Mode observation : rien n'a été retenu.",
        "who": "Expéditeur",
        "case": "Dossier",
        "since": "Depuis",
        "alarm": "Alerte",
        "why": "Pourquoi",
        "evidence": "Indices",
        "escaped": "Parti avant l'alerte",
        "held": "Retenu jusqu'ici",
        "subjects": "Objets",
        "domains": "Domaines destinataires",
        "clients": "Adresses des clients",
        "counts": "{messages} message(s) pour {recipients} destinataire(s)",
        "next": "À taper",
        "look": "regarder de plus près",
        "innocent": "innocent : tout libérer",
        "stolen": "compte volé : tout retenir, puis changer le mot de passe",
        "outcome_faded": "L'anomalie s'est éteinte ; le courrier retenu repart de "
        "plus en plus vite.",
        "outcome_innocent": "Un opérateur l'a jugé innocent.",
        "sentence": "{part} : {value} {unit}, soit {share} de {limit}, la limite "
        "propre à cet expéditeur.",
        "nothing": "rien d'inhabituel",
        "operator": "bloqué par {by} : {reason}",
    },
}

# What the detector's parts measure (shaper.core.model.BUCKETS), for people: a
# subject and a span of time.
_SUBJECTS = {
    "en": {
        "unfamiliar mail": "Mail to unfamiliar recipients",
        "volume": "Unusual mail",
        "messages": "Messages",
        "recipients": "Recipients",
        "new recipients": "New recipients",
        "bounces": "Mail to addresses that do not exist",
    },
    "fr": {
        "unfamiliar mail": "Courrier à des destinataires peu familiers",
        "volume": "Courrier inhabituel",
        "messages": "Messages",
        "recipients": "Destinataires",
        "new recipients": "Nouveaux destinataires",
        "bounces": "Courrier vers des adresses inexistantes",
    },
}

_SPANS = {
    "en": {
        "min": "within {n} min",
        "h": "within {n} h",
        "day": "within {n} day",
        "days": "within {n} days",
    },
    "fr": {
        "min": "en {n} min",
        "h": "en {n} h",
        "day": "en {n} jour",
        "days": "en {n} jours",
    },
}

_PART = re.compile(r"([a-z ]+?)(?: (\d+) (min|h|days?))?")

_UNITS = {
    "en": {
        "nats": "nats of surprise",
        "recipients": "recipients",
        "messages": "messages",
    },
    "fr": {
        "nats": "nats de surprise",
        "recipients": "destinataires",
        "messages": "messages",
    },
}


def part_name(name: str, language: str) -> str:
    """Return the name of a part of the evidence in words.

    A part that another version wrote keeps its own name.
    """
    found = _PART.fullmatch(name)
    if found is None or found[1] not in _SUBJECTS[language]:
        return bland(name)
    subject = _SUBJECTS[language][found[1]]
    if not found[2]:
        return subject
    return f"{subject} {_SPANS[language][found[3]].format(n=found[2])}"


def why(evidence: Evidence, language: str) -> str:
    """Return one sentence, with numbers, on what weighs most."""
    words = WORDS[language]
    part = next((p for p in evidence.parts if p.name == evidence.main), None)
    if part is None or part.value <= 0 or part.limit <= 0:
        return words["nothing"]
    return words["sentence"].format(
        part=part_name(part.name, language),
        value=f"{part.value:.1f}",
        unit=_UNITS[language].get(part.note, bland(part.note)),
        share=f"{part.value / part.limit:.0%}",
        limit=f"{part.limit:.1f}",
    )

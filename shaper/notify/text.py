"""The words of a notice, in English and French, without any layout.

Everything that a notice says about a case is put into words here; numbers and
outside text are arguments. A language that is missing a word is a KeyError in the
tests, not a blank in somebody's mail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shaper.core.evidence import Evidence

__all__ = ["LANGUAGES", "WORDS", "why"]

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
        "counts": "{messages} messages to {recipients} recipients",
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
        "counts": "{messages} messages pour {recipients} destinataires",
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

# What the detector's parts measure (shaper.core.model.BUCKETS), for people.
_PARTS = {
    "en": {
        "volume 1 min": "Unusual mail within a minute",
        "volume 10 min": "Unusual mail within ten minutes",
        "volume 1 h": "Unusual mail within an hour",
        "volume 6 h": "Unusual mail within six hours",
        "volume 1 day": "Unusual mail within a day",
        "recipients 10 min": "Recipients within ten minutes",
        "new recipients 1 day": "New recipients within a day",
        "new recipients 14 days": "New recipients within two weeks",
        "bounces": "Mail to addresses that do not exist",
    },
    "fr": {
        "volume 1 min": "Courrier inhabituel en une minute",
        "volume 10 min": "Courrier inhabituel en dix minutes",
        "volume 1 h": "Courrier inhabituel en une heure",
        "volume 6 h": "Courrier inhabituel en six heures",
        "volume 1 day": "Courrier inhabituel en un jour",
        "recipients 10 min": "Destinataires en dix minutes",
        "new recipients 1 day": "Nouveaux destinataires en un jour",
        "new recipients 14 days": "Nouveaux destinataires en deux semaines",
        "bounces": "Courrier vers des adresses inexistantes",
    },
}

_UNITS = {
    "en": {"nats": "nats of surprise", "recipients": "recipients"},
    "fr": {"nats": "nats de surprise", "recipients": "destinataires"},
}


def why(evidence: Evidence, language: str) -> str:
    """Return one sentence, with numbers, on what weighs most."""
    words = WORDS[language]
    part = next((p for p in evidence.parts if p.name == evidence.main), None)
    if part is None or part.value <= 0 or part.limit <= 0:
        return words["nothing"]
    return words["sentence"].format(
        part=_PARTS[language].get(part.name, part.name),
        value=f"{part.value:.1f}",
        unit=_UNITS[language].get(part.note, part.note),
        share=f"{part.value / part.limit:.0%}",
        limit=f"{part.limit:.1f}",
    )

"""The words of a notice, in English and French, without any layout.

French typography: a no-break space before a colon and between a number and its
unit, a decimal comma, and the singular for nought (Imprimerie nationale).

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

__all__ = [
    "LANGUAGES",
    "WORDS",
    "counts",
    "measure",
    "number",
    "part_name",
    "percent",
    "plural",
    "why",
]

LANGUAGES = ("en", "fr")

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "slowed": "{sender} is slowed: its mail no longer looks like its own",
        "blocked": "{sender} is blocked: all its mail waits for your review",
        "normal": "{sender} is back to normal",
        "slowed_observed": "{sender} would be slowed; nothing was held",
        "blocked_observed": "{sender} would be blocked; nothing was held",
        "normal_observed": "{sender} is back to normal; nothing was held",
        "observed": "Observation only: every message went its way. Had holding been "
        "on, this mail would have waited.",
        "who": "Sender",
        "case": "Case",
        "since": "Since",
        "alarm": "Alarm",
        "changed": "This step",
        "why": "Why",
        "evidence": "Evidence (of this sender's own limit)",
        "escaped": "Sent before the alarm",
        "held": "Held now",
        "ever": "Held in all",
        "would": "Would have been held",
        "delivered": "Released so far",
        "told": "Came back",
        "bounces": "{bounces} bounce(s), {complaints} complaint(s)",
        "subjects": "Subjects",
        "domains": "Recipient domains",
        "clients": "Client addresses",
        "messages": "{n} message",
        "messages_": "{n} messages",
        "recipients": "{n} recipient",
        "recipients_": "{n} recipients",
        "counts": "{messages} to {recipients}",
        "times": "{n} x {what}",
        "next": "What to type",
        "look": "look closer",
        "innocent": "innocent: release everything",
        "harmless": "innocent: close the case",
        "export": "stolen: change the password; a map with which the MTA refuses it",
        "stolen": "stolen: hold everything, then change the password",
        "drop": "stolen for certain: throw the held mail away",
        "outcome_": "The case is closed.",
        "outcome_faded": "The anomaly has faded; held mail leaves at a growing pace.",
        "outcome_faded_observed": "The anomaly has faded.",
        "outcome_innocent": "An operator found it innocent.",
        "sentence": "{part}: {value}, {share} of the {limit} that is this sender's "
        "own limit.",
        "nothing": "nothing unusual",
        "operator": "blocked by {by}: {reason}",
        "released": "released by {by}: {reason}",
        "persisted": "Slowed for long, and the anomaly goes on.",
        "crowded": "Too many of its messages wait.",
        "severe": "The evidence is over the limit for a block.",
        "summary": "{n} accounts changed within a short time",
        "summary_lead": "Many accounts became conspicuous at once, so that this one "
        "mail tells of all of them. Ask first what they have in common: a client "
        "address, a website, a script, a mailing that everybody sends.",
        "more": "... and {n} more; the command below lists all.",
        "all": "all open cases",
        "digest": "{n} open case",
        "digest_": "{n} open cases",
        "digest_lead": "Oldest first. A blocked sender stays blocked until somebody "
        "looks at it.",
        "row": "{state} since {time}; held now: {held}",
        "row_observed": "would be {state} since {time}",
        "state_slowed": "slowed",
        "state_blocked": "blocked",
        "state_normal": "back to normal",
        "foot": "mailshaper on {hostname}. One mail for each step of a case.",
    },
    "fr": {
        "slowed": "{sender} est ralenti : son courrier ne lui ressemble plus",
        "blocked": "{sender} est bloqué : tout son courrier attend votre examen",
        "normal": "{sender} est revenu à la normale",
        "slowed_observed": "{sender} serait ralenti ; rien n'a été retenu",
        "blocked_observed": "{sender} serait bloqué ; rien n'a été retenu",
        "normal_observed": "{sender} est revenu à la normale ; rien n'a été retenu",
        "observed": "Observation seule : chaque message est parti. Si la retenue "
        "était active, ce courrier aurait attendu.",
        "who": "Expéditeur",
        "case": "Dossier",
        "since": "Depuis",
        "alarm": "Alerte",
        "changed": "Cette étape",
        "why": "Pourquoi",
        "evidence": "Indices (part de la limite propre à l'expéditeur)",
        "escaped": "Parti avant l'alerte",
        "held": "Retenu en ce moment",
        "ever": "Retenu en tout",
        "would": "Aurait été retenu",
        "delivered": "Libéré jusqu'ici",
        "told": "Revenus",
        "bounces": "{bounces} rejet(s), {complaints} plainte(s)",
        "subjects": "Objets",
        "domains": "Domaines destinataires",
        "clients": "Adresses des clients",
        "messages": "{n} message",
        "messages_": "{n} messages",
        "recipients": "{n} destinataire",
        "recipients_": "{n} destinataires",
        "counts": "{messages} pour {recipients}",
        "times": "{n} x {what}",
        "next": "À taper",
        "look": "regarder de plus près",
        "innocent": "innocent : tout libérer",
        "harmless": "innocent : clore le dossier",
        "export": "compte volé : changer le mot de passe ; table pour que le MTA le "
        "refuse",
        "stolen": "compte volé : tout retenir, puis changer le mot de passe",
        "drop": "vol certain : jeter le courrier retenu",
        "outcome_": "Le dossier est clos.",
        "outcome_faded": "L'anomalie s'est éteinte ; le courrier retenu repart de "
        "plus en plus vite.",
        "outcome_faded_observed": "L'anomalie s'est éteinte.",
        "outcome_innocent": "Un opérateur l'a jugé innocent.",
        "sentence": "{part} : {value}, soit {share} de {limit}, la limite propre à "
        "cet expéditeur.",
        "nothing": "rien d'inhabituel",
        "operator": "bloqué par {by} : {reason}",
        "released": "libéré par {by} : {reason}",
        "persisted": "Ralenti depuis longtemps, et l'anomalie continue.",
        "crowded": "Trop de ses messages attendent.",
        "severe": "Les indices dépassent la limite du blocage.",
        "summary": "{n} comptes ont changé d'état en peu de temps",
        "summary_lead": "Beaucoup de comptes sont devenus suspects en même temps ; ce "
        "seul message parle de tous. Cherchez d'abord ce qu'ils ont en commun : une "
        "adresse de client, un site, un script, un envoi que tous font.",
        "more": "... et {n} de plus ; la commande ci-dessous les montre tous.",
        "all": "tous les dossiers ouverts",
        "digest": "{n} dossier ouvert",
        "digest_": "{n} dossiers ouverts",
        "digest_lead": "Du plus ancien au plus récent. Un expéditeur bloqué le reste "
        "jusqu'à ce que quelqu'un l'examine.",
        "row": "{state} depuis {time} ; retenu en ce moment : {held}",
        "row_observed": "serait {state} depuis {time}",
        "state_slowed": "ralenti",
        "state_blocked": "bloqué",
        "state_normal": "revenu à la normale",
        "foot": "mailshaper sur {hostname}. Un message par étape d'un dossier.",
    },
}


def _typeset(text: str) -> str:
    """Put no-break spaces where French typography has a space."""
    for mark, space in (
        (":", "\N{NO-BREAK SPACE}"),
        (";", "\N{NARROW NO-BREAK SPACE}"),
    ):
        text = text.replace(f" {mark}", f"{space}{mark}")
    return text.replace("{n} ", "{n}\N{NO-BREAK SPACE}")


WORDS["fr"] = {key: _typeset(text) for key, text in WORDS["fr"].items()}

# What the detector's parts measure (shaper.core.model.BUCKETS), for people: a
# subject and a span of time.
_SUBJECTS = {
    "en": {
        "unfamiliar mail": "Mail to unfamiliar recipients",
        "volume": "Unusual mail",
        "messages": "Messages",
        "recipients": "Recipients",
        "repeated lists": "Lists of recipients one after another",
        "new recipients": "New recipients",
        "bounces": "Mail to addresses that do not exist",
        "client network": "A client network that is new for this sender",
    },
    "fr": {
        "unfamiliar mail": "Courrier à des destinataires peu familiers",
        "volume": "Courrier inhabituel",
        "messages": "Messages",
        "recipients": "Destinataires",
        "repeated lists": "Listes de destinataires l'une après l'autre",
        "new recipients": "Nouveaux destinataires",
        "bounces": "Courrier vers des adresses inexistantes",
        "client network": "Réseau client nouveau pour cet expéditeur",
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

# Singular and plural.
_UNITS = {
    "en": {
        "nats": ("nat of surprise", "nats of surprise"),
        "recipients": ("recipient", "recipients"),
        "messages": ("message", "messages"),
    },
    "fr": {
        "nats": ("nat de surprise", "nats de surprise"),
        "recipients": ("destinataire", "destinataires"),
        "messages": ("message", "messages"),
    },
}


def number(value: float, language: str, digits: int = 0) -> str:
    """Return a number as the language writes it."""
    text = f"{value:,.{digits}f}"
    if language == "fr":
        text = text.replace(",", "\N{NARROW NO-BREAK SPACE}").replace(".", ",")
    return text


def percent(share: float, language: str) -> str:
    """Return a share in per cent."""
    space = "\N{NO-BREAK SPACE}" if language == "fr" else ""
    return f"{number(share * 100, language)}{space}%"


def plural(key: str, count: int, language: str) -> str:
    """Return a count with its noun; French keeps the singular for nought."""
    one = abs(count) < 2 if language == "fr" else count == 1  # noqa: PLR2004
    words = WORDS[language]
    return words[key if one else f"{key}_"].format(n=number(count, language))


def counts(pair: tuple[int, int], language: str) -> str:
    """Return messages and recipients, always both."""
    return WORDS[language]["counts"].format(
        messages=plural("messages", pair[0], language),
        recipients=plural("recipients", pair[1], language),
    )


def measure(value: float, unit: str, language: str) -> str:
    """Return a value with its unit."""
    singular, several = _UNITS[language].get(unit, (bland(unit), bland(unit)))
    shown = number(value, language, _digits(unit))
    one = value < 2 if language == "fr" else shown in {"1", "1.0"}  # noqa: PLR2004
    space = "\N{NO-BREAK SPACE}" if language == "fr" else " "
    return f"{shown}{space}{singular if one else several}"


def _digits(unit: str) -> int:
    return 0 if unit in {"recipients", "messages"} else 1


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
        value=measure(part.value, part.note, language),
        share=percent(part.value / part.limit, language),
        limit=number(part.limit, language, _digits(part.note)),
    )

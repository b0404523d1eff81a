"""The answer of a replay as one self-contained page: table, sentences and plots.

No scripts and nothing from elsewhere: the plots are inline SVG. Everything that
came out of a log is escaped. English or French; the evidence sentence is the one
that notices carry.
"""

from __future__ import annotations

import time
from html import escape
from typing import Any

from shaper.core.evidence import Evidence
from shaper.core.text import bland
from shaper.notify.text import number, why
from shaper.replay.plots import evidence_plot, volume_plot

__all__ = ["page"]

_SHOWN = 100  # cases with plots; the table has all
_LISTED = 1000
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2530; --dim: #5d6b7a; --paper: #fff;
 --line: #dfe4ea; --pass: #7aa7c7; --held: #c8452f; --usual: #1c2530; --card: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ee; --dim: #9aa7b4;
 --paper: #14181d; --line: #2e3740; --pass: #4d7c9e; --held: #e8705c;
 --usual: #e4e9ee; --card: #1b2128; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; color: var(--ink);
 background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .4rem 0; } .dim { color: var(--dim); }
.figures { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.2rem 0; padding: 0; }
.figures div { flex: 1 1 9rem; background: var(--card); border-radius: .5rem;
 padding: .7rem .9rem; }
.figures b { display: block; font-size: 1.5rem; line-height: 1.2; }
.figures span { color: var(--dim); font-size: .85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line);
 white-space: nowrap; font-variant-numeric: tabular-nums; }
th { color: var(--dim); font-weight: 500; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; }
td:nth-child(2) { white-space: normal; overflow-wrap: anywhere; min-width: 10rem; }
.case { background: var(--card); border-radius: .5rem; padding: 1rem; margin: 1rem 0;
 border-left: 4px solid var(--pass); } .case.blocked { border-color: var(--held); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr));
 gap: 1rem; margin-top: .8rem; }
figure { margin: 0; } .wide svg { min-width: 38rem; }
figcaption { font-size: .82rem; color: var(--dim); }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--dim); }
.pass { fill: var(--pass); } .held { fill: var(--held); }
.usual { fill: none; stroke: var(--usual); stroke-width: 1.5; }
.rule { stroke: var(--line); } .limit { stroke: var(--held); stroke-dasharray: 4 3; }
.curve { fill: none; stroke: var(--pass); stroke-width: 2; }
.mark { stroke: var(--held); stroke-width: 1.5; }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px;
 margin: 0 .3em 0 .8em; }
ol { margin: .5rem 0 0; padding-left: 1.2rem; font-size: .9rem; }
"""

_WORDS = {
    "en": {
        "title": "Whom mailshaper would have slowed",
        "span": "{source}: {messages} messages to {recipients} recipients, from "
        "{senders} senders, {first} to {last}.",
        "learned": "Learned until {until}. Cases before that, not shown: {early}.",
        "corrupt": "Corrupt lines, skipped: {n}.",
        "nobody": "Nobody would have been slowed.",
        "cases": "cases",
        "blocked": "of them blocked",
        "reached": "recipients reached before the alarms",
        "spared": "recipients spared",
        "dead": "of the held ones did not exist",
        "delayed": "recipients written to later",
        "volume": "Volume per hour",
        "passed": "passed",
        "held": "would have been held",
        "usual": "usual at that hour",
        "table": "Cases",
        "slowed_at": "slowed",
        "sender": "sender",
        "before": "before",
        "heldcol": "held",
        "sparedcol": "spared",
        "deadcol": "dead",
        "ending": "ending",
        "end_blocked": "blocked",
        "end_faded": "faded by itself",
        "end_open": "slowed at the end",
        "case": "Slowed at {at}. Sent before: {messages} messages to {recipients} "
        "recipients.",
        "then": "Held: {messages} messages to {recipients} recipients; {spared} of "
        "these recipients would have been spared, {later} written to later.",
        "outcomes": "Of the held recipients {dead} did not exist.",
        "assumed": "Assumed: a person looked a day after the block and found {what}.",
        "innocent": "it innocent",
        "theft": "a theft, since a tenth of its mail went to dead addresses",
        "evidence": "Evidence as a share of this sender's own limit; held from the "
        "dashed line on",
        "hours": "Recipients per hour; the line is what is usual at that hour",
        "domains": "Mostly to: {list}",
        "more": "Plots of the first {n} cases only.",
        "how": "Counts are of recipients. Spared: held back for a person's verdict. "
        "Every message was judged by the program that decides in the mail path, with "
        "what had been learned by then.",
        "states": {"slowed": "slowed", "blocked": "blocked", "normal": "normal"},
    },
    "fr": {
        "title": "Qui mailshaper aurait ralenti",
        "span": "{source} : {messages} messages pour {recipients} destinataires, de "
        "{senders} expéditeurs, du {first} au {last}.",
        "learned": "Apprentissage jusqu'au {until}. Dossiers antérieurs, non montrés : "
        "{early}.",
        "corrupt": "Lignes illisibles, sautées : {n}.",
        "nobody": "Personne n'aurait été ralenti.",
        "cases": "dossiers",
        "blocked": "dont bloqués",
        "reached": "destinataires atteints avant les alertes",
        "spared": "destinataires épargnés",
        "dead": "des retenus n'existaient pas",
        "delayed": "destinataires servis plus tard",
        "volume": "Volume par heure",
        "passed": "passé",
        "held": "aurait été retenu",
        "usual": "habituel à cette heure",
        "table": "Dossiers",
        "slowed_at": "ralenti",
        "sender": "expéditeur",
        "before": "avant",
        "heldcol": "retenus",
        "sparedcol": "épargnés",
        "deadcol": "inexistants",
        "ending": "issue",
        "end_blocked": "bloqué",
        "end_faded": "retombé seul",
        "end_open": "ralenti à la fin",
        "case": "Ralenti le {at}. Parti avant : {messages} messages pour {recipients} "
        "destinataires.",
        "then": "Retenu : {messages} messages pour {recipients} destinataires ; "
        "{spared} de ces destinataires auraient été épargnés, {later} servis plus "
        "tard.",
        "outcomes": "Parmi les destinataires retenus, {dead} n'existaient pas.",
        "assumed": "Supposé : une personne a regardé un jour après le blocage et a "
        "conclu {what}.",
        "innocent": "à l'innocence",
        "theft": "au vol, un dixième du courrier visant des adresses mortes",
        "evidence": "Indices, en part de la limite propre à l'expéditeur ; retenu à "
        "partir de la ligne tiretée",
        "hours": "Destinataires par heure ; la ligne est l'habituel à cette heure",
        "domains": "Surtout vers : {list}",
        "more": "Courbes des {n} premiers dossiers seulement.",
        "how": "On compte des destinataires. Épargné : retenu jusqu'au verdict d'une "
        "personne. Chaque message a été jugé par le programme qui décide sur le "
        "chemin du courrier, avec ce qui était appris alors.",
        "states": {"slowed": "ralenti", "blocked": "bloqué", "normal": "normal"},
    },
}


def page(found: dict[str, Any], language: str = "en") -> str:
    """Return the page for what ``answer`` found. Names from outside are escaped."""
    words: dict[str, Any] = _WORDS[language]
    body = [
        f"<h1>{words['title']}</h1>",
        *_head(found, words, language),
    ]
    if not found["cases"]:
        body.append(f"<p><b>{words['nobody']}</b></p>")
    else:
        body += [_figures(found["summary"], words, language)]
    body += [
        f"<h2>{words['volume']}</h2>",
        '<figure class="scroll wide">',
        volume_plot(found["volume"], wide=True),
        (
            f"<figcaption>{_key('pass', words['passed'])}{_key('held', words['held'])}"
            f"{_key('usual', words['usual'])}</figcaption></figure>"
        ),
    ]
    if found["cases"]:
        body += [f"<h2>{words['table']}</h2>", _table(found["cases"], words, language)]
        body += [_card(case, words, language) for case in found["cases"][:_SHOWN]]
        if len(found["cases"]) > _SHOWN:
            more = words["more"].format(n=_SHOWN)
            body.append(f'<p class="dim">{more}</p>')
    body.append(f'<p class="dim">{words["how"]}</p>')
    return (
        f'<!doctype html><html lang="{language}"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{words['title']}</title><style>{_STYLE}</style>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _head(found: dict[str, Any], words: dict[str, Any], language: str) -> list[str]:
    lines = [
        words["span"].format(
            source=found["source"],
            messages=number(found["messages"], language),
            recipients=number(found["recipients"], language),
            senders=number(found["senders"], language),
            first=_time(found["first"]),
            last=_time(found["last"]),
        ),
        words["learned"].format(
            until=_time(found["learned_until"]), early=found["cases_while_learning"]
        ),
    ]
    if corrupt := found["read"]["corrupt_lines"]:
        lines.append(words["corrupt"].format(n=number(corrupt, language)))
    return [f'<p class="dim">{_safe(line)}</p>' for line in lines]


def _figures(summary: dict[str, int], words: dict[str, Any], language: str) -> str:
    shown = [
        (summary["cases"], "cases"),
        (summary["blocked"], "blocked"),
        (summary["reached_recipients"], "reached"),
        (summary["spared_recipients"], "spared"),
        (summary["delayed_recipients"], "delayed"),
        (summary["dead_recipients"], "dead"),
    ]
    cells = "".join(
        f"<div><b>{number(value, language)}</b><span>{words[name]}</span></div>"
        for value, name in shown
    )
    return f'<div class="figures">{cells}</div>'


def _table(cases: list[dict[str, Any]], words: dict[str, Any], language: str) -> str:
    names = (
        "slowed_at",
        "sender",
        "before",
        "heldcol",
        "sparedcol",
        "deadcol",
        "ending",
    )
    head = "".join(f"<th>{words[name]}" for name in names)
    rows = []
    for at, case in enumerate(cases[:_LISTED]):
        sender = _safe(case["sender"])
        if at < _SHOWN:
            sender = f'<a href="#case{at}" style="color:inherit">{sender}</a>'
        numbers = (
            case["reached"]["recipients"],
            case["held"]["recipients"],
            case["spared_recipients"],
            case["held_outcomes"]["dead"],
        )
        rows.append(
            f"<tr><td>{_time(case['slowed_at'])}<td>{sender}"
            + "".join(f"<td>{number(n, language)}" for n in numbers)
            + f"<td>{words['end_' + case['ending']]}</tr>"
        )
    for at in range(min(len(cases), _SHOWN)):
        cases[at]["anchor"] = f"case{at}"
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _card(case: dict[str, Any], words: dict[str, Any], language: str) -> str:
    later = case["trickled"]["recipients"] + case["returned"]["recipients"]
    said = [
        why(Evidence.from_json(case["evidence"]), language),
        words["case"].format(
            at=_time(case["slowed_at"]),
            messages=number(case["reached"]["messages"], language),
            recipients=number(case["reached"]["recipients"], language),
        ),
        words["then"].format(
            messages=number(case["held"]["messages"], language),
            recipients=number(case["held"]["recipients"], language),
            spared=number(case["spared_recipients"], language),
            later=number(later, language),
        ),
    ]
    if dead := case["held_outcomes"]["dead"]:
        said.append(words["outcomes"].format(dead=number(dead, language)))
    if case["domains"]:
        listed = ", ".join(case["domains"]) or "?"
        said.append(words["domains"].format(list=listed))
    if verdict := case["assumed_verdict"]:
        said.append(words["assumed"].format(what=words[verdict]))
    steps = "".join(
        f"<li>{_time(step['at'])} {words['states'][step['state']]}"
        for step in case["steps"]
    )
    first, *rest = said
    return (
        f'<section class="case {case["ending"]}" id="{case["anchor"]}">'
        f"<h3>{_safe(case['sender'])}</h3><p>{_safe(first)}</p>"
        + "".join(f'<p class="dim">{_safe(line)}</p>' for line in rest)
        + f"<ol>{steps}</ol>"
        f'<div class="plots"><figure>{volume_plot(case["volume"], case["slowed_at"])}'
        f"<figcaption>{words['hours']}</figcaption></figure>"
        f"<figure>{evidence_plot(case['curve'], case['slowed_at'])}"
        f"<figcaption>{words['evidence']}</figcaption></figure></div></section>"
    )


def _key(name: str, text: str) -> str:
    return f'<span class="key" style="background:var(--{name})"></span>{text}'


def _safe(text: str) -> str:
    return escape(bland(text))


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))

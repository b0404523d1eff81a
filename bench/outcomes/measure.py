"""Run the parsers over the reference data and compare with what it expects.

The expectations are other tools' and people's answers. Where we hold one to be
wrong, or to contradict another case of the same data, it is listed in
``CONTESTED`` with the reason, and still counted against us in the plain figures.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.outcomes.postfix import measure_postfix
from bench.outcomes.score import Score
from shaper.core.outcome import Meaning, Outcome
from shaper.feedback.classify import classify_bytes
from shaper.feedback.table import shipped_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shaper.core.meaning import Table

DATA = Path(__file__).parents[3] / "shared" / "data"

# Placeholders that the other tool invents when a recipient is redacted.
_MADE_UP = ".invalid"

CONTESTED = {
    "arf-11.eml": "recipient: redacted; the reference is a placeholder of the tool",
    "arf-15.eml": "recipient: redacted; the reference is a placeholder of the tool",
    "lhost-v5sendmail-01.eml": "recipient: the reference 'kijitora@exampl' is cut off",
    "lhost-office365-04.eml": "recipient: Final-Recipient and To say another address",
    "lhost-aol-06.eml": "hard, but the same words in lhost-postfix-17.eml are soft",
    "lhost-bigfoot-02.eml": "hard, but the status is 5.7.1, which condemns nobody",
    "lhost-exim-37.eml": "hard, but after DATA, and the domain named is the sender's",
    "lhost-postfix-05.eml": "hard, but the reply is 450 4.1.1: temporary by its class",
    "lhost-sendmail-49.eml": "hard, but the same session in rhost-kddi-02.eml is soft",
    "lhost-sendmail-57.eml": "hard, but 5.7.27 speaks of the sender's null MX",
    "lhost-postfix-13.eml": "hard, but the same words in lhost-messagingserver-06.eml"
    " are soft (as a bare reply; the mail tells the command and is right)",
    "lhost-powermta-03.eml": "as lhost-postfix-13.eml",
    "lhost-gmx-03.eml": "as lhost-postfix-13.eml",
    "lhost-sendmail-17.eml": "hard, but the reply begins with 450 busy (bare reply)",
}


@dataclass
class Figures:
    """All scores of one run."""

    flufl_addresses: Score = field(default_factory=Score)
    flufl_temporary: Score = field(default_factory=Score)
    recipients: Score = field(default_factory=Score)
    hardness: Score = field(default_factory=Score)
    status: Score = field(default_factory=Score)
    code: Score = field(default_factory=Score)
    replies: Score = field(default_factory=Score)
    postfix: Score = field(default_factory=Score)
    living_called_dead: list[str] = field(default_factory=list)


def _load(path: Path) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return cases


def _read(path: Path, table: Table) -> list[Outcome]:
    """Read as ``mailshaper classify`` does, the kind of file being guessed."""
    return [told.outcome for told in classify_bytes(path.read_bytes(), table)]


def _hard(outcome: Outcome) -> bool:
    """A hard bounce is one that condemns the address, whatever its digits."""
    return outcome.meaning is Meaning.DEAD_ADDRESS


def measure_flufl(directory: Path, figures: Figures) -> None:
    """Addresses, and whether a bounce is only a warning (Mailman's collection)."""
    table = shipped_table()
    for case in _load(directory / "expected.json"):
        name = case["file"]
        outcomes = _read(directory / name, table)
        failed = [o for o in outcomes if o.meaning is not Meaning.DELIVERED]
        got = {o.recipient.lower() for o in failed}
        want = {address.lower() for address in case["addresses"]}
        figures.flufl_addresses.count(right=got == want, name=name)
        right = all(o.permanent is not case["temporary"] for o in failed)
        figures.flufl_temporary.count(right=right, name=name)


def measure_sisimai(directory: Path, figures: Figures) -> None:
    """Recipient, hard or soft, status and code of each outcome."""
    table = shipped_table()
    for case in _load(directory / "expected.json"):
        name = case["file"]
        outcomes = _read(directory / name, table)
        want = {r.lower() for r in case["reference_recipients"]}
        got = {o.recipient.lower() for o in outcomes}
        figures.recipients.count(right=want <= got, name=name)
        ours = [o for o in outcomes if o.recipient.lower() in want] or outcomes
        expected = Counter(e["hardbounce"] == "1" for e in case["expected"])
        actual = Counter(map(_hard, ours))
        right = (expected & actual).total()
        figures.hardness.total += expected.total()
        figures.hardness.right += right
        if right < expected.total():
            figures.hardness.wrong.append(name)
        if actual[True] > expected[True]:
            figures.living_called_dead.append(name)
        for entry in case["expected"]:
            status, code = entry["status"], entry["replycode"]
            # x.0.9xx are internal numbers of the tool, not said by any server.
            if status and not re.match(r"[45]\.0\.9\d\d", status):
                right_one = any(o.status == status for o in outcomes)
                figures.status.count(right=right_one, name=name)
            if code:
                figures.code.count(
                    right=any(o.code == code for o in outcomes), name=name
                )


def measure_replies(path: Path, figures: Figures) -> None:
    """Hard or soft of a diagnostic text alone."""
    table = shipped_table()
    for line in path.read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        (told,) = classify_bytes(case["diagnostic"].encode(), table)
        outcome = told.outcome
        hard = case["hardbounce"] == "1"
        figures.replies.count(right=_hard(outcome) is hard, name=case["file"])
        if _hard(outcome) and not hard:
            figures.living_called_dead.append(f"reply of {case['file']}")


def run(data: Path = DATA) -> Figures:
    """Measure everything. Raises OSError when the data is not there."""
    figures = Figures()
    measure_flufl(data / "bounces" / "flufl", figures)
    measure_sisimai(data / "bounces" / "sisimai", figures)
    measure_replies(data / "replies" / "diagnostics.jsonl", figures)
    measure_postfix(data / "logs" / "postfix-grok", figures.postfix)
    return figures


def uncontested(names: Iterable[str]) -> list[str]:
    """Return the wrong answers that we have no excuse for."""
    return [name for name in names if name not in CONTESTED]

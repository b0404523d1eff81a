"""Composes the mail that tells the admins of a case: one for each step.

Pure: a case goes in, the octets of a message come out. Everything that came
from outside (subjects, domains, addresses) is made harmless before it is shown,
and the text is plain, so that it reads well in a terminal and on a phone.
"""

from __future__ import annotations

import shlex
import textwrap
from dataclasses import dataclass
from datetime import datetime, tzinfo
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING

from shaper.core.envelope import Envelope, Recipient
from shaper.core.state import Event
from shaper.core.text import bland
from shaper.notify.text import WORDS, part_name, why

if TYPE_CHECKING:
    from shaper.core.case import Case
    from shaper.core.evidence import Evidence

__all__ = ["NoticeSettings", "compose"]

_WIDTH = 76
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class NoticeSettings:
    """Who is told, by whom, in which language (``en`` or ``fr``)."""

    to: tuple[str, ...]
    sender: str
    language: str = "en"
    enforce: bool = True


def compose(
    case: Case, settings: NoticeSettings, hostname: str, when: datetime, zone: tzinfo
) -> tuple[Envelope, bytes]:
    """Return envelope and wire form of the notice about a case as it stands.

    ``when`` is an aware datetime; times inside are shown in ``zone``.
    """
    words = WORDS[settings.language]
    who = bland(case.sender)
    title = words[case.state.value].format(sender=who)
    mail = EmailMessage(policy=SMTP)
    mail["Date"] = format_datetime(when)
    mail["From"] = f"mailshaper <{settings.sender}>"
    mail["To"] = ", ".join(settings.to)
    mail["Subject"] = f"[{hostname}] {title} ({case.id})"
    mail["Message-ID"] = (
        f"<{case.id}.{case.state.value}.{int(when.timestamp())}@{hostname}>"
    )
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834 5
    mail["Content-Language"] = settings.language
    mail.set_content(_body(case, settings, title, zone), cte="quoted-printable")
    envelope = Envelope(
        settings.sender, tuple(Recipient(address) for address in settings.to)
    )
    content = mail.as_bytes().replace(b"\r\n.", b"\r\n..")  # RFC 5321 4.5.2
    return envelope, content


def _body(case: Case, settings: NoticeSettings, title: str, zone: tzinfo) -> str:
    words = WORDS[settings.language]
    lines = [title + ".", ""]
    if not settings.enforce:
        lines += [words["observed"], ""]
    if case.closed:
        lines += [words["outcome_" + case.outcome], ""]
    rows = [
        (words["who"], bland(case.sender)),
        (words["case"], case.id),
        (words["since"], _time(case.onset or case.opened, zone)),
        (words["alarm"], _time(case.opened, zone)),
        (words["escaped"], _counts(case.escaped, words)),
        (words["held"], _counts(case.held, words)),
    ]
    latest = case.steps[-1] if case.steps else None
    if latest and latest.event == Event.CONFIRMED.value:
        rows.append(
            (
                words["why"],
                words["operator"].format(
                    by=bland(latest.by), reason=bland(latest.reason)
                ),
            )
        )
    evidence = next((s.evidence for s in reversed(case.steps) if s.evidence), None)
    if evidence is not None and not case.closed:
        rows.append((words["why"], why(evidence, settings.language)))
    label = max(len(name) for name, _ in rows)
    for name, value in rows:
        lines += textwrap.wrap(
            f"{name:<{label}}  {value}", _WIDTH, subsequent_indent=" " * (label + 2)
        )
    if evidence is not None and not case.closed:
        lines += ["", words["evidence"], *_parts(evidence, settings.language)]
    for key, values in (
        ("subjects", case.subjects[:_SHOWN]),
        ("domains", [f"{n} x {d}" for d, n in case.domains.most_common(_SHOWN)]),
        ("clients", [f"{n} x {c}" for c, n in case.clients.most_common(_SHOWN)]),
    ):
        if values:
            lines += ["", words[key]]
            lines += ["  " + bland(value)[: _WIDTH - 2] for value in values]
    if not case.closed:
        sender = shlex.quote(bland(case.sender))
        lines += [
            "",
            words["next"],
            f"  mailshaper show {case.id}",
            f"      # {words['look']}",
            f"  mailshaper release {sender} --reason '...'",
            f"      # {words['innocent']}",
            f"  mailshaper block {sender} --reason '...'",
            f"      # {words['stolen']}",
        ]
    return "\n".join(lines) + "\n"


def _parts(evidence: Evidence, language: str) -> list[str]:
    return [
        f"  {part_name(part.name, language):<54}{part.value:>8.1f} / {part.limit:.1f}"
        for part in evidence.parts
        if part.value > 0
    ]


def _counts(pair: tuple[int, int], words: dict[str, str]) -> str:
    return words["counts"].format(messages=pair[0], recipients=pair[1])


def _time(seconds: float, zone: tzinfo) -> str:
    return datetime.fromtimestamp(seconds, zone).strftime("%Y-%m-%d %H:%M:%S %Z")

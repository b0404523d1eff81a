"""Print the example notice: ``python -m tools.notices en|fr [text|html|mail|digest]``.

A test compares docs/notices.md with what this prints.
"""

from __future__ import annotations

import email
import sys
from datetime import UTC
from email import policy
from email.message import EmailMessage

from shaper.core.case import Case
from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.evidence import Evidence, Level, Part, measured
from shaper.core.judgement import Transition
from shaper.core.message import Submission
from shaper.core.record import Run
from shaper.core.state import Event, State
from shaper.notify.mail import Composer, NoticeSettings

AT = 1_793_951_047.0  # 2026-11-06 06:24:07 UTC


def evidence() -> Evidence:
    """Return what a thief's first minutes look like."""
    parts = (
        Part("unfamiliar mail 10 min", 46.2, 14.8, "nats"),
        Part("new recipients 7 days", 212.0, 95.0, "recipients"),
        Part("messages 1 h", 38.0, 41.0, "messages"),
        Part("bounces", 2.5, 9.0, "nats"),
    )
    return Evidence(28.7, (4.6, 9.2, 13.8), Level.SLOW, measured(parts), parts[0].name)


def case(sender: str = "login:claire@association.example", at: float = AT) -> Case:
    """Return a case just opened."""
    number = "4f81a2" if at == AT else "b03c9d"
    made = Case.open(f"c261106-{number}", sender, Run(at - 94, 17, 212, at), at, "main")
    made.moved(Transition(Event.ALARM, State.NORMAL, State.SLOWED, at, evidence()))
    for number in range(9):
        to = tuple(
            Recipient(f"r{number}.{i}@{domain}")
            for i, domain in enumerate(
                ("freemail.example", "freemail.example", "webmail.example")
            )
        )
        made.saw(
            Submission(
                f"m{number}",
                sender,
                Envelope(sender.removeprefix("login:"), to),
                Client("203.0.113.77"),
                at,
                subject=("Your parcel is waiting", "Votre colis vous attend")[
                    number % 2
                ],
            )
        )
    return made


def mail(language: str, kind: str = "mail") -> EmailMessage:
    """Return the example as a parsed mail."""
    settings = NoticeSettings(
        ("admin@hoster.example",),
        "mailshaper@mail.hoster.example",
        language,
        html=True,
        owner=True,
        zone=UTC,
    )
    composer = Composer(settings, "mail.hoster.example")
    made = case()
    if kind == "digest":
        other = case("login:paul@shop.example", AT + 3600)
        _, content = composer.digest([(made, (8, 24)), (other, (1, 1))], AT + 7200)
    elif kind == "owner":
        found = composer.owner(made, AT)
        content = found[1] if found else b""
    else:
        _, content = composer.case(made, (8, 24), AT, first=True)
    parsed = email.message_from_bytes(
        content.replace(b"\r\n..", b"\r\n."), policy=policy.default
    )
    assert isinstance(parsed, EmailMessage)  # noqa: S101 - the policy's promise
    return parsed


def example(language: str, kind: str) -> str:
    """Return one form of the example."""
    parsed = mail(language, kind)
    form = "html" if kind == "html" else "plain"
    body = parsed.get_body((form,))
    text = str(body.get_content()) if body is not None else ""
    head = ""
    if kind != "html":
        names = ("From", "To", "Subject", "Auto-Submitted")
        head = "".join(f"{name}: {parsed[name]}\n" for name in names) + "\n"
    return head + text.replace("\r\n", "\n")


if __name__ == "__main__":
    sys.stdout.write(
        example(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "text")  # noqa: PLR2004
    )

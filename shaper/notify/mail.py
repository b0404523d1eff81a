"""Composes the mails that tell the admins: of a case, of many, each morning.

Pure: cases go in, the octets of a message come out. Everything that came from
outside (subjects, domains, addresses) is made harmless before it is shown. The
mails of a case form one thread (RFC 5322 3.6.4), say that a program wrote them
(RFC 3834 5), and the same step gives the same Message-ID, so that a repetition
after a crash is known as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from hashlib import blake2b
from typing import TYPE_CHECKING

from shaper.core.envelope import Envelope, Recipient
from shaper.core.quote import shell
from shaper.core.state import Event, State
from shaper.core.text import bland
from shaper.notify.foreign import foreign_page
from shaper.notify.host import host_page
from shaper.notify.html import html
from shaper.notify.owner import owner_notice
from shaper.notify.page import Bar, Command, Page, plain
from shaper.notify.text import (
    WORDS,
    counts,
    measure,
    number,
    part_name,
    percent,
    plural,
)
from shaper.notify.text import why as sentence
from shaper.notify.trouble import trouble_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shaper.core.case import Case, Step
    from shaper.core.evidence import Evidence
    from shaper.core.foreign import ForeignSender
    from shaper.core.host import HostDay
    from shaper.core.receivers import ReceiverTrouble

__all__ = ["Composer", "NoticeSettings", "commands", "encoded"]

_SHOWN = 5
_LONG = 150  # characters of a sample
_LISTED = 30  # cases that one mail lists
# Steps whose reason is told beside the evidence, by Event.
_STEP: dict[str, str] = {
    Event.PERSISTED: "persisted",
    Event.CROWDED: "crowded",
    Event.SEVERE: "severe",
}


# email folds a long header that is partly ASCII so that a space is doubled.
_LATER = "=subject="

Counted = tuple[int, int]
Mail = tuple[Envelope, bytes]


@dataclass(frozen=True, slots=True)
class NoticeSettings:
    """Who is told, by whom, in which language (``en`` or ``fr``).

    ``enforce`` off: nothing is held. ``html`` adds an HTML form, ``owner``
    has the owner of an account told. ``zone`` is that
    of the times shown; None is the local one.
    """

    to: tuple[str, ...]
    sender: str
    language: str = "en"
    enforce: bool = True
    html: bool = False
    owner: bool = False
    zone: tzinfo | None = None


def commands(case: Case, language: str, *, enforce: bool) -> list[Command]:
    """Return what an operator may type about an open case, ready to copy."""
    words, sender = WORDS[language], shell(case.sender)
    found = [
        Command(f"mailshaper show {shell(case.id)}", words["look"]),
        Command(
            f"mailshaper release {sender} --reason '...'",
            words["innocent" if enforce else "harmless"],
        ),
    ]
    if enforce:
        found.append(
            Command(f"mailshaper block {sender} --reason '...'", words["stolen"])
        )
    else:
        found.append(Command("mailshaper export blocked --slowed", words["export"]))
    if enforce and case.state is State.BLOCKED:
        found.append(
            Command(
                f"mailshaper queue drop --sender {sender} --reason '...'", words["drop"]
            )
        )
    return found


class Composer:
    """Writes notices to the admins (the engine's port ``Compose``)."""

    def __init__(self, settings: NoticeSettings, hostname: str) -> None:
        """``hostname`` is ours, in subjects and message ids."""
        self._settings = settings
        self._hostname = hostname
        self._language = settings.language
        self._words = WORDS[settings.language]
        self._mode = "" if settings.enforce else "_observed"

    def case(self, case: Case, waiting: Counted, now: float, *, first: bool) -> Mail:
        """Return the notice about a case as it stands.

        ``waiting`` is what of it is held now; ``first`` when nobody was told of
        this case before.
        """
        title = self._title(case)
        page = self._page(title, case.state.value)
        if not self._settings.enforce:
            page.lead.append(self._words["observed"])
        if case.closed:
            key = f"outcome_{case.outcome}"
            page.lead.append(self._words.get(key + self._mode, self._words[key]))
        self._facts(page, case, waiting)
        root = f"{case.id}@{self._hostname}"
        latest = case.latest
        step = f"{case.id}.{case.state.value}.{latest.at if latest else now:.0f}"
        return self._mail(
            page,
            now,
            f"{title} ({case.id})",
            root if first else f"{step}@{self._hostname}",
            "" if first else root,
        )

    def summary(self, cases: Sequence[tuple[Case, Counted]], now: float) -> Mail:
        """Return one mail about many cases that changed at once."""
        title = self._words["summary"].format(n=number(len(cases), self._language))
        page = self._page(title, _worst(cases))
        page.lead.append(self._words["summary_lead"])
        self._list(page, cases)
        name = "".join(f"{case.id}{case.state}" for case, _ in cases)
        return self._mail(page, now, title, self._id("summary", name))

    def digest(self, cases: Sequence[tuple[Case, Counted]], now: float) -> Mail:
        """Return the morning's list of open cases, oldest first as given."""
        title = plural("digest", len(cases), self._language)
        page = self._page(title, _worst(cases))
        page.lead.append(self._words["digest_lead"])
        self._list(page, cases)
        day = datetime.fromtimestamp(now, self._zone(now)).date().isoformat()
        return self._mail(page, now, title, self._id("digest", day))

    def trouble(self, trouble: ReceiverTrouble, now: float) -> Mail:
        """Return the mail about a receiver that refuses this host, or did."""
        page = trouble_page(trouble, self._language, self._time)
        page.foot = self._words["foot"].format(hostname=self._hostname)
        root = f"{trouble.id}@{self._hostname}"
        if trouble.ended:
            return self._mail(page, now, page.title, f"over.{root}", root)
        return self._mail(page, now, page.title, root)

    def host(self, alarm: HostDay, now: float) -> Mail:
        """Return the mail of a day on which many senders deviate."""
        page = host_page(alarm, self._language)
        page.foot = self._words["foot"].format(hostname=self._hostname)
        return self._mail(page, now, page.title, self._id("host", alarm.day))

    def foreign(self, sender: str, signal: ForeignSender, now: float) -> Mail:
        """Return the mail about a sender that another host blocked."""
        page = foreign_page(sender, signal, self._language)
        page.foot = self._words["foot"].format(hostname=self._hostname)
        return self._mail(page, now, page.title, self._id("foreign", page.title))

    def owner(self, case: Case, now: float) -> Mail | None:
        """Return the mail to the account's owner, None when nobody is to get it."""
        if not self._settings.owner:
            return None
        return owner_notice(case, self._settings, self._hostname, now)

    def facts(self, case: Case) -> dict[str, object]:
        """Return what a program that hears of a case wants in words too."""
        evidence = _evidence(case)
        told = sentence(evidence, self._language) if evidence else ""
        found = commands(case, self._language, enforce=self._settings.enforce)
        return {
            "title": self._title(case),
            "why": self._operator(case.by_hand) if case.by_hand else told,
            "commands": [] if case.closed else [one.line for one in found],
        }

    # -- the pieces

    def _title(self, case: Case) -> str:
        return self._words[case.state.value + self._mode].format(
            sender=bland(case.sender)
        )

    def _page(self, title: str, tone: str) -> Page:
        foot = self._words["foot"].format(hostname=self._hostname)
        return Page(title, tone, self._language, foot=foot)

    def _facts(self, page: Page, case: Case, waiting: Counted) -> None:
        words, language = self._words, self._language
        latest = case.latest
        page.rows = [
            (words["who"], bland(case.sender)),
            (words["case"], bland(case.id)),
            (words["since"], self._time(case.onset or case.opened)),
            (words["alarm"], self._time(case.opened)),
        ]
        if latest is not None and latest.at > case.opened:
            page.rows.append((words["changed"], self._time(latest.at)))
        page.rows.append((words["escaped"], counts(case.escaped, language)))
        if self._settings.enforce:
            page.rows.append((words["held"], counts(waiting, language)))
            if case.held != waiting:
                page.rows.append((words["ever"], counts(case.held, language)))
            if case.delivered[0]:
                page.rows.append((words["delivered"], counts(case.delivered, language)))
        else:
            page.rows.append((words["would"], counts(case.held, language)))
        if case.bounces or case.complaints:
            told = words["bounces"].format(
                bounces=case.bounces, complaints=case.complaints
            )
            page.rows.append((words["told"], told))
        evidence = _evidence(case)
        page.rows += [(words["why"], text) for text in self._why(case, evidence)]
        if evidence is not None and not case.closed:
            page.bars = words["evidence"], _bars(evidence, language)
        for key, values in (
            ("subjects", case.subjects[:_SHOWN]),
            ("domains", self._most(case.domains.most_common(_SHOWN))),
            ("clients", self._most(case.clients.most_common(_SHOWN))),
        ):
            if values:
                page.lists.append((words[key], [_short(value) for value in values]))
        if not case.closed:
            found = commands(case, language, enforce=self._settings.enforce)
            page.commands = words["next"], found

    def _why(self, case: Case, evidence: Evidence | None) -> list[str]:
        words, latest = self._words, case.latest
        if latest is not None and latest.event in {Event.CONFIRMED, Event.RELEASED}:
            return [self._operator(latest)]
        if evidence is None or case.closed:
            return []
        step = _STEP.get(latest.event, "") if latest else ""
        told = sentence(evidence, self._language)
        return [f"{words[step]} {told}" if step else told]

    def _operator(self, step: Step) -> str:
        key = "operator" if step.event == Event.CONFIRMED else "released"
        by, reason = bland(step.by), bland(step.reason)
        return self._words[key].format(by=by, reason=reason)

    def _most(self, pairs: Sequence[tuple[str, int]]) -> list[str]:
        return [
            self._words["times"].format(n=number(n, self._language), what=what)
            for what, n in pairs
        ]

    def _list(self, page: Page, cases: Sequence[tuple[Case, Counted]]) -> None:
        words = self._words
        for case, waiting in cases[:_LISTED]:
            text = words["row" + self._mode].format(
                state=words[f"state_{case.state.value}"],
                time=self._time(case.latest.at if case.latest else case.opened),
                held=counts(waiting, self._language),
            )
            items = [text]
            if not case.closed:
                items.append(f"mailshaper show {shell(case.id)}")
            page.lists.append((bland(case.sender), items))
        if len(cases) > _LISTED:
            more = number(len(cases) - _LISTED, self._language)
            page.lists.append((words["more"].format(n=more), []))
        page.commands = words["next"], [Command("mailshaper cases", words["all"])]

    def _zone(self, now: float) -> tzinfo:
        zone = self._settings.zone
        return zone or datetime.fromtimestamp(now, UTC).astimezone().tzinfo or UTC

    def _time(self, seconds: float) -> str:
        shown = datetime.fromtimestamp(seconds, self._zone(seconds))
        return shown.strftime("%Y-%m-%d %H:%M:%S %Z")

    def _id(self, kind: str, name: str) -> str:
        mark = blake2b(name.encode(), digest_size=8).hexdigest()
        return f"{kind}.{mark}@{self._hostname}"

    def _mail(
        self, page: Page, now: float, subject: str, message_id: str, parent: str = ""
    ) -> Mail:
        settings = self._settings
        mail = EmailMessage(policy=SMTP)
        mail["Date"] = format_datetime(datetime.fromtimestamp(now, self._zone(now)))
        mail["From"] = f"mailshaper <{settings.sender}>"
        mail["To"] = ", ".join(settings.to)
        subject = f"[{self._hostname}] {subject}"
        mail["Subject"] = subject if subject.isascii() else _LATER
        mail["Message-ID"] = f"<{message_id}>"
        if parent:
            mail["In-Reply-To"] = f"<{parent}>"
            mail["References"] = f"<{parent}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834 5
        mail["Content-Language"] = settings.language
        mail.set_content(plain(page), cte="quoted-printable")
        if settings.html:
            mail.add_alternative(html(page), subtype="html", cte="quoted-printable")
            mark = blake2b(message_id.encode(), digest_size=12).hexdigest()
            mail.set_boundary(f"=_{mark}")  # equal steps give equal octets
        to = tuple(Recipient(address) for address in settings.to)
        content = mail.as_bytes().replace(b"\r\n.", b"\r\n..")  # RFC 5321 4.5.2
        if not subject.isascii():
            content = content.replace(_LATER.encode(), encoded(subject), 1)
        return Envelope(settings.sender, to), content


def encoded(subject: str) -> bytes:
    """Return a header's value as encoded words (RFC 2047), folded."""
    header = Header(subject, "utf-8", header_name="Subject")
    return header.encode(linesep="\r\n").encode("ascii")


def _evidence(case: Case) -> Evidence | None:
    return next((s.evidence for s in reversed(case.steps) if s.evidence), None)


def _bars(evidence: Evidence, language: str) -> list[Bar]:
    ordered = sorted(
        (part for part in evidence.parts if part.value > 0 and part.limit > 0),
        key=lambda part: -part.value / part.limit,
    )
    return [
        Bar(
            part_name(part.name, language),
            f"{percent(part.value / part.limit, language)} "
            f"({measure(part.value, part.note, language)})",
            part.value / part.limit,
        )
        for part in ordered[:_SHOWN]
    ]


def _short(text: str) -> str:
    shown = bland(text)
    return shown if len(shown) <= _LONG else shown[: _LONG - 1] + "…"


def _worst(cases: Sequence[tuple[Case, Counted]]) -> str:
    states = {case.state for case, _ in cases}
    order = (State.BLOCKED, State.SLOWED, State.NORMAL)
    return next((state.value for state in order if state in states), "")

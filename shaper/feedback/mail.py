"""Understand a mail that came back: complaint, DSN, or a bounce of any kind.

One intake for what a bounce mailbox, a Maildir or LMTP delivers. Complaints are
looked for first, then a standard report, then prose. A mail that is none of
these gives no outcome, so that replies of people and vacation notes change
nothing. Whether the message was ours is not decided here: the outcome carries
message id, trace header and envelope id for that.

Total: any octets give a list, in linear time and bounded memory.
RFC 3464, RFC 3462, RFC 5965, RFC 3834 (auto replies).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shaper.core.meaning import LOCAL, Table, judge
from shaper.core.outcome import Kind, Meaning, Outcome
from shaper.feedback.arf import Complaint, read_complaints
from shaper.feedback.dsn import Group, Report, read_report
from shaper.feedback.mime import Headers, Part, parse_headers, parse_mail
from shaper.feedback.prose import (
    diagnostic_near,
    failures,
    find_failures,
    mentioned,
    split_returned,
    transcript_phase,
)
from shaper.feedback.reply import ADDRESS, parse_said, prefer_status

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TRACE_HEADER", "read_mail"]

TRACE_HEADER = "x-mailshaper-trace"
MAX_OUTCOMES = 1000

_ADDRESS = re.compile(ADDRESS)
_TAG = re.compile(r"<[^<>]{0,2000}>")
_MESSAGE_ID = re.compile(r"^message-id:\s{0,4}<([^<>\s]{1,300})>", re.IGNORECASE | re.MULTILINE)
_REPORT_FIELD = re.compile(r"^(?:final|original)-recipient\s?:", re.IGNORECASE | re.MULTILINE)
_BOUNCER = re.compile(
    r"mailer-?daemon|postmaster|mail delivery|delivery (?:system|subsystem|service)|"
    r"(?:mail|message|smtp)[-_ ]?(?:daemon|router|administrator|system)|mdaemon|no-?reply|ndr ",
    re.IGNORECASE,
)
_BOUNCE_SUBJECT = re.compile(
    r"undeliver|deliver\w* (?:fail|stat|notif|prob|err|delay)|fail\w* (?:deliver|notice|mail|message)|"
    r"returned (?:mail|message|e-?mail)|mail (?:fail|deliver|could not|system error|status)|"
    r"(?:not|could not be|cannot be) deliver|non-?deliver|message (?:delivery|could not|undeliv|not)|"
    r"bounced?|unzustell|nicht zugestellt|non remis|échec|echec|unknown (?:user|recipient)|"
    r"warning: (?:could not|message)|message you sent|delivery",
    re.IGNORECASE,
)
_DELAYED = re.compile(
    r"this is a warning message only|warning message only|you do not need to resend|"
    r"(?:has been|was|been|is) (?:delayed|deferred)|will be retried|"
    r"not (?:yet )?been (?:able to be )?delivered (?:yet|within|for)|still (?:being retried|trying|be retried)|"
    r"no action is required on your part|will (?:continue|keep) (?:to )?(?:try|attempt)|"
    r"could not be delivered for \d|delivery attempts will continue|delivery will continue",
    re.IGNORECASE,
)
_GAVE_UP = re.compile(
    r"failed permanently|permanent (?:error|failure|fatal)|giving up|gave up|"
    r"in the queue too long|not going to try again|no further|will not be retried|"
    r"retry time(?:out)? exceeded|expired",
    re.IGNORECASE,
)
_AUTO_REPLY = re.compile(
    r"out of (?:the )?office|vacation|auto(?:matic)?[- ]?(?:reply|response)|absence|abwesen",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Returned:
    """What identifies the message concerned."""

    message_id: str = ""
    trace_id: str = ""
    to: tuple[str, ...] = ()
    sender: str = ""
    by_list: bool = False


def read_mail(data: bytes, table: Table, *, nested: bool = False) -> list[Outcome]:
    """Return the outcomes that a mail tells, one per recipient; [] if none."""
    parts = parse_mail(data)
    if complaints := read_complaints(parts):
        return [o for c in complaints for o in _complained(c)][:MAX_OUTCOMES]
    human = _human(parts)
    own, behind = split_returned(human)
    returned = _returned(parts, behind)
    outcomes = _from_report(parts, own, returned, table)
    if not outcomes:
        outcomes = _from_prose(data, parts, own, returned, table)
    if not outcomes and not nested:
        # Forwarded reports, and digests of several: look once inside.
        for part in parts:
            if part.content_type in ("message/rfc822", "message/global"):
                inner = part.raw.lstrip()
                head = inner[:20_000].lower()
                if b"feedback-report" in head or b"delivery-status" in head:
                    outcomes.extend(read_mail(inner, table, nested=True))
    return outcomes[:MAX_OUTCOMES]


def _complained(complaint: Complaint) -> Iterator[Outcome]:
    kind = complaint.feedback_type
    # RFC 5965 7.3, RFC 6430: "not-spam" withdraws a judgement, it does not complain.
    meaning = Meaning.UNKNOWN if kind == "not-spam" else Meaning.COMPLAINT
    returned = complaint.returned
    for recipient in complaint.recipients or ("",):
        yield Outcome(
            kind=Kind.ARF,
            meaning=meaning,
            recipient=recipient,
            reason=f"a feedback report of type {kind}",
            message_id=_id_of(returned),
            feedback_type=kind,
            sender=complaint.sender,
            remote_mta=complaint.source,
            trace_id=returned.get(TRACE_HEADER),
            diagnostic=complaint.text,
        )


def _id_of(headers: Headers) -> str:
    return headers.get("message-id").strip().strip("<>").strip()


def _human(parts: list[Part]) -> str:
    """Return what the bounce says to people."""
    html = ""
    texts: list[str] = []
    for part in parts:
        if part.content_type == "text/plain" or (
            part is parts[0] and part.content_type.startswith("multipart/")
        ):
            text = part.text
            if part.content_type == "text/plain" and text.strip():
                texts.append(text)
            elif text.strip() and len(parts) == 1:
                texts.append(text)  # announced a structure that is not there
        elif part.content_type == "text/html" and not html:
            html = (
                _TAG.sub("\n", part.text)
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&nbsp;", " ")
                .replace("&quot;", '"')
                .replace("&#39;", "'")
                .replace("&amp;", "&")
            )
        elif part.content_type == "message/rfc822" and texts:
            break
    return "\n\n".join(texts) if any(t.strip() for t in texts) else html


def _returned(parts: list[Part], behind: str) -> _Returned:
    headers = Headers()
    for part in parts[1:]:
        if part.content_type in (
            "message/rfc822",
            "text/rfc822-headers",
            "message/rfc822-headers",
            "message/global-headers",
            "message/global",
        ):
            text = part.text.lstrip()
            headers, _ = parse_headers(
                [ln.encode("utf-8", "replace") for ln in text.split("\n")[:2000]]
            )
            if headers:
                break
    if not headers and behind:
        lines = [ln.encode("utf-8", "replace") for ln in behind.split("\n")[:400]]
        for start, line in enumerate(lines[:40]):
            if re.match(
                rb"(?:return-path|received|from|to|date|subject|message-id|delivered-to|mime-version)\s?:",
                line,
                re.IGNORECASE,
            ):
                headers, _ = parse_headers(lines[start:])
                break
    if headers:
        to = tuple(
            m[0]
            for v in headers.all("to") + headers.all("cc")
            for m in _ADDRESS.finditer(v[:4000])
        )
        sender = _ADDRESS.search(headers.get("return-path")) or _ADDRESS.search(
            headers.get("from")
        )
        message_id = _id_of(headers)
        if not message_id and behind and (found := _MESSAGE_ID.search(behind)):
            message_id = found[1]
        return _Returned(
            message_id,
            headers.get(TRACE_HEADER),
            to,
            sender[0] if sender else "",
            bool(headers.get("list-id") or headers.get("x-beenthere")),
        )
    return _Returned()


def _from_report(
    parts: list[Part], own: str, returned: _Returned, table: Table
) -> list[Outcome]:
    """Judge the groups of a standard report (RFC 3464)."""
    bodies = [
        p.text
        for p in parts
        if p.content_type
        in ("message/delivery-status", "message/global-delivery-status")
    ]
    if not bodies:
        # Reports whose MIME structure was lost on the way, or never was.
        bodies = [p.text for p in parts if _REPORT_FIELD.search(p.text[:20_000])][:1]
    outcomes: dict[tuple[str, str], Outcome] = {}
    for body in bodies:
        report = read_report(body)
        for group in report.groups:
            outcome = _judge_group(
                group, report, own, returned, table, alone=len(report.groups) == 1
            )
            if not outcome.recipient:
                continue
            key = (outcome.recipient.lower(), group.action)
            outcomes.setdefault(key, outcome)
    return list(outcomes.values())


def _judge_group(
    group: Group,
    report: Report,
    own: str,
    returned: _Returned,
    table: Table,
    *,
    alone: bool,
) -> Outcome:
    said = parse_said(group.diagnostic)
    recipient = group.recipient
    if not recipient:
        recipient = said.recipient or (
            returned.to[0] if alone and len(returned.to) == 1 else ""
        )
    status = prefer_status(group.status, said.status)
    if (
        group.status
        and said.status
        and said.code
        and said.status[0] == group.status[0]
        and said.status != group.status
    ):
        # What the remote server said is closer to the truth than the wrapper's word,
        # unless it says nothing.
        status = prefer_status(said.status, group.status)
    text = group.diagnostic
    phase = said.phase
    near = ""
    if own:
        near = (
            diagnostic_near(own, recipient)
            if recipient.lower() in own.lower() or alone
            else ""
        )
        phase = phase or parse_said(near).phase or transcript_phase(own, recipient)
    if (
        not said.code
        and not phase
        and group.diagnostic_type != "smtp"
        and not group.remote_mta
    ):
        phase = LOCAL
    verdict = judge(replace(said.signals(phase=phase, status=status), text=text), table)
    code = said.code
    if near and (
        verdict.meaning is Meaning.UNKNOWN
        or not text
        or (not verdict.rule.startswith(_TEXT_DECIDED)
        and _empty(text))
    ):
        more = parse_said(near)
        status = prefer_status(status, more.status)
        code = code or more.code
        text = f"{text} {near}".strip()
        phase = phase or more.phase
        verdict = judge(
            replace(more.signals(phase=phase, status=status), code=code, text=text),
            table,
        )
    if verdict.meaning is Meaning.DEAD_ADDRESS and alone and own:
        # The two halves of a report may contradict each other; then the address lives.
        human = judge(
            replace(parse_said(" ".join(own.split())).signals(), status="", code=""),
            table,
        )
        if human.rule in ("mailbox-full", "disk-full", "suspended"):
            verdict = human
    outcome = Outcome(
        kind=Kind.DSN,
        meaning=verdict.meaning,
        recipient=recipient,
        status=status,
        code=code,
        permanent=verdict.permanent,
        reason=verdict.reason,
        message_id=returned.message_id,
        original_recipient=group.original_recipient,
        sender=report.sender or returned.sender,
        queue_id=report.queue_id,
        remote_mta=group.remote_mta,
        trace_id=returned.trace_id,
        diagnostic=text,
        rule=verdict.rule,
    )
    return _by_action(outcome, group.action)


_TEXT_DECIDED = ("user-", "domain-")


def _empty(text: str) -> bool:
    """Whether a diagnostic has no words of its own."""
    return len(re.sub(r"[\W\d_]+|smtp", "", text)) < 4  # noqa: PLR2004 - "250 ok"


def _by_action(outcome: Outcome, action: str) -> Outcome:
    """Let Action overrule (RFC 3464 2.3.3): it says what the server did."""
    if action == "delayed":
        outcome = replace(outcome, permanent=False)
        if outcome.meaning in (
            Meaning.DEAD_ADDRESS,
            Meaning.UNKNOWN,
            Meaning.DELIVERED,
            Meaning.MESSAGE_REFUSED,
        ):
            return replace(
                outcome,
                meaning=Meaning.TEMPORARY,
                permanent=False,
                reason="delivery is delayed, not given up",
                rule="action-delayed",
            )
        return outcome
    if action in ("delivered", "relayed", "expanded"):
        return replace(
            outcome,
            meaning=Meaning.DELIVERED,
            permanent=False,
            reason=f"the report says {action}",
            rule=f"action-{action}",
        )
    if action == "failed" or outcome.status[:1] == "5":
        outcome = replace(outcome, permanent=True)
    if outcome.meaning is Meaning.DELIVERED:
        return replace(
            outcome,
            meaning=Meaning.UNKNOWN,
            reason="the report says failed, its reply says accepted",
            rule="action-failed",
        )
    return outcome


def _is_bounce(top: Headers) -> bool:
    sender = f"{top.get('from')} {top.get('return-path')}"
    return bool(
        _BOUNCER.search(sender[:500])
        or _BOUNCE_SUBJECT.search(top.get("subject")[:300])
        or top.get("return-path").strip() == "<>"
        or top.get("x-failed-recipients")
    )


def _from_prose(
    data: bytes, parts: list[Part], own: str, returned: _Returned, table: Table
) -> list[Outcome]:
    """Judge a bounce without a standard report."""
    top = parts[0].headers
    named = [
        m[0]
        for v in top.all("x-failed-recipients")
        for m in _ADDRESS.finditer(v[:20_000])
    ]
    temporary, permanent = find_failures(data, depth=max(p.depth for p in parts))
    recipients = named or [*temporary, *permanent]
    if (
        not recipients
        and _is_bounce(top)
        and not (_AUTO_REPLY.search(top.get("subject")[:300]))
    ):
        recipients = _guess(own, top, returned)
    outcomes: dict[str, Outcome] = {}
    for recipient in recipients:
        if recipient.lower() in outcomes:
            continue
        delayed = recipient in temporary or bool(
            _DELAYED.search(own[:6000]) and not _GAVE_UP.search(own[:6000])
        )
        outcomes[recipient.lower()] = _judge_prose(
            recipient, own, returned, table, delayed=delayed
        )
    return list(outcomes.values())


def _guess(own: str, top: Headers, returned: _Returned) -> list[str]:
    found = [f.recipient for f in failures(own)]
    if found:
        return found
    without = [
        m[0]
        for name in ("to", "from", "return-path", "reply-to", "delivered-to")
        for v in top.all(name)
        for m in _ADDRESS.finditer(v[:1000])
    ]
    seen = mentioned(own, [*without, returned.sender])
    ours = [a for a in seen if a.lower() in {t.lower() for t in returned.to}]
    if ours:
        return ours
    if len(seen) == 1:
        return seen
    # A list's own address stands in To, the recipient does not.
    return (
        list(returned.to)
        if len(returned.to) == 1 and not seen and not returned.by_list
        else []
    )


def _judge_prose(
    recipient: str, own: str, returned: _Returned, table: Table, *, delayed: bool
) -> Outcome:
    near = diagnostic_near(own, recipient)
    said = parse_said(near)
    phase = (
        said.phase or transcript_phase(own, recipient) or ("" if said.code else LOCAL)
    )
    verdict = judge(said.signals(phase=phase), table)
    if verdict.meaning is Meaning.UNKNOWN and not verdict.rule and len(own) < 3000:  # noqa: PLR2004
        whole = " ".join(own.split())
        more = parse_said(whole)
        other = judge(
            more.signals(
                phase=said.phase
                or more.phase
                or transcript_phase(own, recipient)
                or ("" if more.code else LOCAL)
            ),
            table,
        )
        if other.meaning is not Meaning.UNKNOWN:
            near, said, verdict = whole, more, other
    meaning, reason, rule = verdict.meaning, verdict.reason, verdict.rule
    if meaning is Meaning.DELIVERED:
        meaning, reason, rule = (
            Meaning.UNKNOWN,
            "a bounce that quotes an acceptance",
            "prose",
        )
    if delayed:
        meaning, reason, rule = (
            Meaning.TEMPORARY,
            "delivery is delayed, not given up",
            "prose-delayed",
        )
    return Outcome(
        kind=Kind.DSN,
        meaning=meaning,
        recipient=recipient,
        status=said.status,
        code=said.code,
        permanent=not delayed,
        reason=reason,
        message_id=returned.message_id,
        sender=returned.sender,
        trace_id=returned.trace_id,
        diagnostic=near,
        rule=rule,
    )

"""Judge bounces: the groups of a standard report, or prose.

Joins what ``dsn``, ``prose`` and ``transcript`` read with the table of meanings.
Where two halves of one bounce contradict each other, the reading in which the
address lives wins: to miss a dead address costs one more bounce, to condemn a
living one loses its mail. Total.

RFC 3464 2.3 (fields of a recipient).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from shaper.core.meaning import LOCAL, Signals, Table, Verdict, judge
from shaper.core.outcome import Kind, Meaning, Outcome
from shaper.feedback.dsn import Group, Report, read_report
from shaper.feedback.forms import Finding
from shaper.feedback.prose import Prose, find_failures, mentioned
from shaper.feedback.reply import Said, parse_said, prefer_status
from shaper.feedback.returned import addresses_in

if TYPE_CHECKING:
    from shaper.feedback.mime import Headers, Part
    from shaper.feedback.returned import Returned

__all__ = ["from_prose", "from_report"]

_REPORT_TYPES = frozenset({"message/delivery-status", "message/global-delivery-status"})
_REPORT_FIELD = re.compile(
    r"^(?:final|original)-recipient\s?:", re.IGNORECASE | re.MULTILINE
)
_BOUNCER = re.compile(
    r"mailer-?daemon|post_?master|mail delivery|delivery (?:system|subsystem|service)|"
    r"(?:mail|message|smtp)[-_ ]?(?:daemon|router|administrator|system)|mdaemon|"
    r"no-?reply|ndr ",
    re.IGNORECASE,
)
_BOUNCE_SUBJECT = re.compile(
    r"undeliver|deliver\w* (?:fail|stat|notif|prob|err|delay)|"
    r"fail\w* (?:deliver|notice|mail|message)|returned (?:mail|message|e-?mail)|"
    r"mail (?:fail|deliver|could not|system error|status)|"
    r"(?:not|could not be|cannot be) deliver|non-?deliver|"
    r"message (?:delivery|could not|undeliv|not)|bounced?|unzustell|nicht zugestellt|"
    r"non remis|échec|echec|unknown (?:user|recipient)|message you sent|delivery|"
    r"warning: (?:could not|message)|postfix smtp server: errors",
    re.IGNORECASE,
)
_AUTO_REPLY = re.compile(
    r"out of (?:the )?office|vacation|auto(?:matic)?[- ]?(?:reply|response)|absence|"
    r"abwesen",
    re.IGNORECASE,
)
_DELAYED = re.compile(
    r"warning message only|you do not need to resend|will be retried|"
    r"(?:has been|was|been|is) (?:delayed|deferred)|no action is required on your part|"
    r"not (?:yet )?been (?:able to be )?delivered (?:yet|within|for)|"
    r"still (?:being retried|trying|be retried)|could not be delivered for \d|"
    r"will (?:continue|keep) (?:to )?(?:try|attempt)|"
    r"delivery (?:attempts )?will continue",
    re.IGNORECASE,
)
_GAVE_UP = re.compile(
    r"failed permanently|permanent (?:error|failure|fatal)|giving up|gave up|"
    r"in the queue too long|not going to try again|no further|will not be retried|"
    r"retry time(?:out)? exceeded|expired",
    re.IGNORECASE,
)
# Answers of the table that show that the mailbox exists.
_ALIVE = frozenset({"mailbox-full", "disk-full", "suspended"})
_AFTER_MESSAGE = frozenset({"data", "end"})


def from_report(parts: list[Part], returned: Returned, table: Table) -> list[Outcome]:
    """Judge every recipient of the standard reports in a mail."""
    bodies = [p.text for p in parts if p.content_type in _REPORT_TYPES]
    if not bodies:
        # Reports whose MIME structure was lost on the way, or never was.
        texts = (p.text for p in parts)
        bodies = [t for t in texts if _REPORT_FIELD.search(t[:20_000])][:1]
    prose = Prose(returned.own)
    outcomes: dict[tuple[str, str], Outcome] = {}
    for body in bodies:
        report = read_report(body)
        for group in report.groups:
            alone = len(report.groups) == 1
            outcome = _judge_group(group, report, returned, prose, table, alone=alone)
            if outcome.recipient:
                key = (outcome.recipient.lower(), group.action)
                outcomes.setdefault(key, outcome)
    return list(outcomes.values())


def _judge_group(
    group: Group,
    report: Report,
    returned: Returned,
    prose: Prose,
    table: Table,
    *,
    alone: bool,
) -> Outcome:
    said = parse_said(group.diagnostic)
    recipient = group.recipient or said.recipient
    if not recipient and alone and len(returned.to) == 1:
        recipient = returned.to[0]
    if alone and group.diagnostic_type == "x-notes":
        # Domino rewrites Final-Recipient; its prose keeps what the sender wrote to.
        named = prose.failures
        recipient = named[0].recipient if len(named) == 1 else recipient
    near = Finding(recipient)
    if returned.own and (alone or recipient.lower() in prose.lowered):
        near = prose.beside(recipient)
    signals = _signals(group, said, near)
    verdict = judge(signals, table)
    if near.diagnostic and (
        verdict.meaning is Meaning.UNKNOWN or _wordless(group.diagnostic)
    ):
        signals = _with_prose(signals, near)
        verdict = judge(signals, table)
    if verdict.meaning is Meaning.DEAD_ADDRESS and alone:
        verdict = _unless_alive(verdict, returned.own, table)
    return _by_action(
        Outcome(
            kind=Kind.DSN,
            meaning=verdict.meaning,
            recipient=recipient,
            status=signals.status or group.status,
            code=signals.code,
            permanent=verdict.permanent,
            reason=verdict.reason,
            message_id=returned.message_id,
            original_recipient=group.original_recipient,
            sender=report.sender or returned.sender,
            queue_id=report.queue_id,
            remote_mta=group.remote_mta,
            trace_id=returned.trace_id,
            diagnostic=signals.text,
            rule=verdict.rule,
        ),
        group.action,
    )


def _signals(group: Group, said: Said, near: Finding) -> Signals:
    status = prefer_status(group.status, said.status)
    if said.code and said.status[:1] == group.status[:1] != "":
        # What the remote server said is nearer to the truth than its wrapper's word.
        status = prefer_status(said.status, group.status)
    phase = said.phase or near.phase or parse_said(near.diagnostic).phase
    spoken = said.code or group.diagnostic_type == "smtp" or group.remote_mta
    if not phase and not spoken:
        phase = LOCAL
    if phase in _AFTER_MESSAGE and said.code and not said.status and status == "5.1.1":
        # The 5.1.1 is the reporting server's guess at a reply that had no status
        # and came when the recipient had long been accepted.
        status = ""
    return Signals(status, said.code, group.diagnostic, phase, group.recipient)


def _with_prose(signals: Signals, near: Finding) -> Signals:
    """Add the human part to a diagnostic that does not decide alone."""
    more = parse_said(near.diagnostic)
    phase = signals.phase or near.phase or more.phase
    status = prefer_status(signals.status, more.status)
    if phase in _AFTER_MESSAGE and not signals.status:
        status = ""  # see _signals
    return Signals(
        status,
        signals.code or more.code,
        f"{signals.text} {near.diagnostic}".strip(),
        phase,
        signals.recipient or near.recipient,
    )


def _unless_alive(verdict: Verdict, own: str, table: Table) -> Verdict:
    """Believe the human part when it says that the mailbox is only full."""
    if not own:
        return verdict
    human = judge(Signals(text=" ".join(own.split())), table)
    return replace(human, permanent=True) if human.rule in _ALIVE else verdict


def _wordless(text: str) -> bool:
    """Whether a diagnostic is digits and protocol only."""
    return len(re.sub(r"[\W\d_]+|smtp", "", text[:2000])) < 4  # noqa: PLR2004 - "ok"


def _by_action(outcome: Outcome, action: str) -> Outcome:
    """Let Action overrule (RFC 3464 2.3.3): it says what the server did."""
    if action == "delayed":
        outcome = replace(outcome, permanent=False)
        if outcome.meaning in (Meaning.TEMPORARY, Meaning.HOST_REFUSED):
            return outcome
        return replace(
            outcome,
            meaning=Meaning.TEMPORARY,
            reason="delivery is delayed, not given up",
            rule="action-delayed",
        )
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


def from_prose(
    data: bytes, parts: list[Part], returned: Returned, table: Table
) -> list[Outcome]:
    """Judge a bounce without a standard report; [] if it is none."""
    top = parts[0].headers
    own = returned.own
    temporary, permanent = find_failures(data, depth=max(p.depth for p in parts))
    prose = Prose(own)
    recipients = _named(top, prose) or _in_own_words([*temporary, *permanent], own)
    if not recipients and _is_bounce(top):
        recipients = _guess(top, returned, prose)
    late = bool(_DELAYED.search(own[:6000]) and not _GAVE_UP.search(own[:6000]))
    outcomes: dict[str, Outcome] = {}
    for recipient in recipients:
        if recipient.lower() not in outcomes:
            delayed = late or recipient in temporary
            outcomes[recipient.lower()] = _judge_prose(
                recipient, returned, prose, table, delayed=delayed
            )
    return list(outcomes.values())


def _named(top: Headers, prose: Prose) -> list[str]:
    """Return Exim's X-Failed-Recipients, in the form that its text uses."""
    named = addresses_in(top.all("x-failed-recipients"))
    if len(named) == len(prose.failures) == 1:
        return [prose.failures[0].recipient]
    return named


def _in_own_words(addresses: list[str], own: str) -> list[str]:
    """Keep what the server itself names, not what the returned message mentions."""
    lowered = own.lower()
    return [a for a in addresses if a.lower() in lowered] or addresses


def _is_bounce(top: Headers) -> bool:
    subject = top.get("subject")[:300]
    sender = f"{top.get('from')} {top.get('return-path')}"[:500]
    return not _AUTO_REPLY.search(subject) and bool(
        _BOUNCER.search(sender)
        or _BOUNCE_SUBJECT.search(subject)
        or top.get("return-path").strip() == "<>"
    )


def _guess(top: Headers, returned: Returned, prose: Prose) -> list[str]:
    if prose.failures:
        return [finding.recipient for finding in prose.failures]
    fields = ("to", "from", "return-path", "reply-to", "delivered-to")
    without = addresses_in((v for f in fields for v in top.all(f)), 1000)
    seen = mentioned(returned.own, [*without, returned.sender])
    to = {address.lower() for address in returned.to}
    if both := [address for address in seen if address.lower() in to]:
        return both
    if len(seen) == 1:
        return seen
    # A list's own address stands in To; the recipient does not.
    if len(returned.to) == 1 and not seen and not returned.by_list:
        return list(returned.to)
    return []


def _judge_prose(
    recipient: str, returned: Returned, prose: Prose, table: Table, *, delayed: bool
) -> Outcome:
    near = prose.beside(recipient)
    said = parse_said(near.diagnostic)
    phase = said.phase or near.phase or ("" if said.code else LOCAL)
    verdict = judge(replace(said.signals(phase=phase), recipient=recipient), table)
    text = near.diagnostic
    if verdict.meaning is Meaning.UNKNOWN and not verdict.rule:
        # The cause may stand in another paragraph than the address.
        whole = " ".join(returned.own[:3000].split())
        more = parse_said(whole)
        other = judge(more.signals(phase=phase if said.code else ""), table)
        if other.meaning is not Meaning.UNKNOWN:
            said, verdict, text = more, other, whole
    if verdict.meaning is Meaning.DELIVERED:
        verdict = Verdict(
            Meaning.UNKNOWN, permanent=True, reason="quotes an acceptance", rule="prose"
        )
    if delayed and verdict.meaning is not Meaning.HOST_REFUSED:
        verdict = Verdict(
            Meaning.TEMPORARY,
            permanent=False,
            reason="delivery is delayed, not given up",
            rule="prose-delayed",
        )
    return Outcome(
        kind=Kind.DSN,
        meaning=verdict.meaning,
        recipient=recipient,
        status=said.status,
        code=said.code,
        permanent=not delayed,
        reason=verdict.reason,
        message_id=returned.message_id,
        sender=returned.sender,
        trace_id=returned.trace_id,
        diagnostic=text,
        rule=verdict.rule,
    )

"""Short views in plain text: status, cases, held mail, journal.

Written line by line as rows arrive, so that a queue of any length is shown at
once, and without rich, so that they come up quickly.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from shaper.cli.output import command, counts, folded, shorten, width
from shaper.cli.times import age, clock, size
from shaper.core.quote import shell
from shaper.core.text import bland

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "audit_line",
    "case_lines",
    "friend_lines",
    "message_lines",
    "queue_total",
    "receiver_lines",
    "status_lines",
    "verified_line",
]


_MOST_DAMAGED = 5


def status_lines(status: dict[str, Any]) -> Iterator[str]:
    """Say how an instance is, worst first."""
    yield from _hindrances(status)
    yield from _damages(status.get("damaged_files", []))
    senders, held = status["senders"], status["held"]
    yield (
        f"mailshaper {bland(status['instance'])} on {bland(status['hostname'])} is up."
    )
    would = "" if status["enforce"] else " (would be; nothing is held)"
    yield (
        f"  senders  {senders['slowed']:,} slowed, {senders['blocked']:,} blocked"
        f"{would}"
    )
    yield f"  cases    {status['open_cases']:,} open"
    oldest = held.get("oldest")
    since = f", oldest {age(time.time() - oldest)}" if oldest else ""
    line = f"  held     {counts(held)}, {size(held['bytes'])}{since}"
    yield folded(line, indent=" " * 11)
    if notices := status.get("notices"):
        line = f"  notices  {notices:,} of mailshaper's own, waiting for the next hop"
        yield folded(line, indent=" " * 11)
    yield f"  model    {shorten(str(status['model']), width() - 11)}"
    if status["open_cases"]:
        yield f"Next: {command('cases')}"


def _hindrances(status: dict[str, Any]) -> Iterator[str]:
    """Say what keeps the instance from judging and holding as it should."""
    if away := status.get("redis_unavailable_since"):
        yield folded(
            f"Redis is UNAVAILABLE since {clock(away)} ({age(time.time() - away)}): "
            "known blocks stay, new senders are not judged."
        )
    if full := status.get("spool_full"):
        watches = status.get("placement") == "watch"  # which holds nothing
        so = "" if watches else ": mail that is to be held is deferred"
        yield folded(f"FULL: {bland(full)}{so}.")
    if stuck := status.get("queue_helper"):
        yield folded(
            f"STUCK: {bland(stuck)}: mail on hold is not released, dropped or returned."
        )
    for name, trouble in sorted(status.get("unread_sources", {}).items()):
        where = "" if str(trouble).startswith(name) else f"{bland(name)}: "
        yield folded(
            f"UNREAD {where}{bland(trouble)}: what becomes of mail is not learnt."
        )
    if many := status.get("host_alarm"):
        yield folded(f"MANY senders at once: {bland(many)}")
    if refusing := status.get("receivers_refusing"):
        names = ", ".join(bland(name) for name in refusing)
        yield folded(f"REFUSED as a host by {names}: see mailshaper receivers")
    if status.get("placement") == "watch":
        yield folded(
            "Watching the log (placement watch): mail does not pass here, and nothing "
            "is slowed or held."
        )
    elif not status["enforce"]:
        yield folded("Observation only (enforce = false): nothing is slowed or held.")


def _damages(damaged: list[dict[str, str]]) -> Iterator[str]:
    for row in damaged[:_MOST_DAMAGED]:
        line = f"DAMAGED {row['file']}: {row['problem']}"
        yield shorten(bland(line), width())
    if len(damaged) > _MOST_DAMAGED:
        yield f"DAMAGED files in all: {len(damaged):,} (--json lists them)."
    if damaged:
        yield "They are below state_directory, kept as they are; the log says more."


def case_lines(cases: list[dict[str, Any]], *, closed: bool) -> Iterator[str]:
    """List cases, three lines each."""
    if not cases:
        yield "No cases." if closed else "No open cases."
        return
    now, wide = time.time(), width()
    for case in cases:
        if case["closed"]:
            state = f"closed ({case['outcome']}) {clock(case['closed'])}"
        else:
            would = "" if case.get("enforce", True) else "would be "
            since = age(now - case["opened"])
            state = f"{would}{case['state'].upper()} for {since}"
        room = wide - len(case["id"]) - len(state) - 4
        # The sender is what one looks for: it gets a line of its own when long.
        if len(bland(case["sender"])) <= room:
            yield f"{bland(case['id'])}  {bland(case['sender'])}  {bland(state)}"
        else:
            yield f"{bland(case['id'])}  {bland(state)}"
            yield f"    {bland(case['sender'])}"
        waiting, escaped = counts(case["waiting"]), counts(case["escaped"])
        yield folded(f"    waiting {waiting}, escaped {escaped}")
        if case["why"]:
            yield folded(f"    {bland(case['why'])}")
    yield f"Next: {command('show', cases[-1]['id'])}"


def receiver_lines(troubles: list[dict[str, Any]]) -> Iterator[str]:
    """List receivers that refuse this host, and those that did, three lines each."""
    if not troubles:
        yield "No receiver refuses this host."
        return
    now = time.time()
    for one in troubles:
        ended = one["ended"]
        state = f"over since {clock(ended)}" if ended else "REFUSES this host"
        yield f"{bland(one['receiver'])}  {state}"
        yield folded(
            f"    {one['messages']} messages of {one['senders']} innocent senders "
            f"since {clock(one['since'])} ({age(now - one['since'])})"
        )
        yield folded(f"    it says: {bland(one['text'])}")
    if not troubles[0]["ended"]:
        name = shell(bland(troubles[0]["receiver"]))
        yield f"Another way out: mailshaper route add {name} RELAY --reason '...'"


def message_lines(message: dict[str, Any]) -> Iterator[str]:
    """List one held message, two lines."""
    now, wide = time.time(), width()
    envelope = message["envelope"]
    recipients = [row[0] for row in envelope["recipients"]]
    facts = [
        bland(message["id"]),
        age(now - message["received"]),
        size(message["size"]),
        f"{message['waiting']} of {len(recipients)} recipients",
    ]
    if message["order"]:
        facts.append("released")
    if message["attempts"]:
        facts.append(f"{message['attempts']} attempts")
    yield "  ".join(facts)
    more = f" +{len(recipients) - 1}" if len(recipients) > 1 else ""
    who = bland(message["sender"])
    to = bland(recipients[0]) if recipients else ""
    line = f"{who} -> {to}{more}"
    subject = bland(message["subject"])
    yield "    " + shorten(f"{line}  {subject}" if subject else line, wide - 4)


def queue_total(total: dict[str, Any], *, narrowed: bool) -> Iterator[str]:
    """Say how many were listed, and what may be done."""
    if not total["messages"]:
        yield "No held mail matches." if narrowed else "No held mail."
        return
    yield f"{counts(total)} held."
    yield f"Next: {command('queue', 'show', 'ID')}"


def audit_line(line: dict[str, Any]) -> str:
    """Return one record of the journal in words."""
    at = clock(line["at"]) if isinstance(line.get("at"), int | float) else "-"
    event = str(line.get("event", "?"))
    rest = {k: v for k, v in line.items() if k not in {"at", "event", "seq", "crc"}}
    order = rest.pop("order", None)
    if isinstance(order, str):
        try:
            rest |= {k: v for k, v in json.loads(order).items() if v and k != "at"}
        except (ValueError, AttributeError):
            rest["order"] = order
    words = [at, bland(str(rest.pop("change", "") or event))]
    if sender := rest.pop("sender", ""):
        words.append(bland(str(sender)))
    if state := rest.pop("state", ""):
        words.append(bland(str(state)))
    by, reason = rest.pop("by", ""), rest.pop("reason", "")
    if (exemption := rest.pop("exemption", None)) and isinstance(exemption, list):
        words.append(f"exempt until {clock(exemption[0])}")
    if plans := rest.pop("plans", None):
        words.append(f"{len(plans)} planned")
    rest.pop("since", None)
    for long in ("evidence", "proof"):
        rest.pop(long, None)
    words += [f"{bland(k)}={_value(v)}" for k, v in rest.items()]
    if by:
        words.append(f"by {bland(str(by))}")
    if reason:
        words.append(f'"{bland(str(reason))}"')
    return "  ".join(words)


def verified_line(line: dict[str, Any]) -> str:
    """Return the outcome of computing one alarm again."""
    at = clock(line["at"]) if isinstance(line.get("at"), int | float) else "-"
    outcome = "same" if line["same"] else f"differs: {bland(str(line['why']))}"
    who = f"{bland(str(line['sender']))}  {bland(str(line['case']))}"
    return f"{at}  {who}  {outcome}. {bland(str(line['says']))}"


def _value(value: object) -> str:
    if isinstance(value, str):
        return bland(value)
    if isinstance(value, float):
        return f"{value:g}"
    return bland(json.dumps(value))


def friend_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """List friendly hosts, each with those below it that sent most today."""
    for row in rows:
        domains = ", ".join(map(bland, row["domains"]))
        sent = f"{row['sent']} of {row['quota']} recipients today"
        yield f"{bland(row['friend'])}: {sent}"
        yield folded(f"    may write from {domains}")
        for one in row["senders"]:
            yield f"    {one['sent']:>6}  {bland(one['sender'])}"
    if not rows:
        yield "No friends: nobody's mail is delivered for them (docs/friends.md)."

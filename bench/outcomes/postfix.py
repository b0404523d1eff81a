"""Compare Postfix line parsing with the expectations of the grok patterns.

Those take every field of every daemon; what matters here is what outcomes and
senders are made of: queue id, recipient, relay, status word, DSN code and reply
of deliveries, message ids, clients, logins, uids, envelope senders, notices, and
our own refusals. A case counts when every such field is right; cases of other
daemons count as right when no outcome is read into them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from shaper.feedback.postfix_line import (
    Delivery,
    Expired,
    Header,
    Intake,
    Notice,
    Payload,
    Queued,
    Refusal,
    Removed,
    Trouble,
    parse_payload,
)

if TYPE_CHECKING:
    from pathlib import Path

    from bench.outcomes.score import Score

_ENTRY = re.compile(r"^\s{2,}([\w-]+): (.*)$")


def _scalar(text: str) -> str:
    """Read a YAML scalar of these files: plain, single or double quoted."""
    text = text.strip()
    if text[:1] == '"' and text[-1:] == '"':
        body = text[1:-1]
        escapes = {"n": "\n", "r": "\r", "t": "\t"}
        return re.sub(r"\\(.)", lambda m: escapes.get(m[1], m[1]), body)
    if text[:1] == "'" and text[-1:] == "'":
        return text[1:-1].replace("''", "'")
    return text


def read_case(path: Path) -> tuple[str, dict[str, str]]:
    """Return payload and expected fields; the files use a small part of YAML."""
    data, fields = "", {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("data:"):
            data = _scalar(line[5:])
        elif match := _ENTRY.match(line):
            fields[match[1]] = _scalar(match[2])
    return data, fields


def _delivery(event: Delivery, want: dict[str, str]) -> dict[str, Any]:
    pairs = dict(re.findall(r"([\w-]+)=(<[^>]*>|[^,]*)", want["postfix_keyvalue_data"]))
    pairs = {key: value.strip("<>") for key, value in pairs.items()}
    text = next(
        (
            v
            for k, v in want.items()
            if k.endswith("_response") or k == "postfix_deliver_message"
        ),
        None,
    )
    wanted: dict[str, Any] = {
        "recipient": (event.recipient, pairs.get("to", "")),
        "original": (event.original, pairs.get("orig_to", "")),
        "relay": (event.relay, pairs.get("relay", "")),
        "dsn": (event.dsn, pairs.get("dsn", "")),
        "status": (event.status, want.get("postfix_status", event.status)),
    }
    if text is not None:
        wanted["text"] = (event.text.rstrip(")"), text.rstrip(")"))
    return wanted


def _pairs(event: Payload, want: dict[str, str], data: str) -> dict[str, Any]:
    """Return field -> (ours, expected) for what matters of one line."""
    found: dict[str, Any] = {}
    if "postfix_queueid" in want and not isinstance(event, Notice):
        found["queue id"] = (event.queue_id, want["postfix_queueid"])
    if isinstance(event, Delivery):
        return {**found, **_delivery(event, want)}
    if isinstance(event, Header):
        found["id"] = (event.message_id, want.get("postfix_message-id", ""))
    elif isinstance(event, Intake) and event.uid:
        told = re.search(r"uid=(\d+)", data)
        found["uid"] = (event.uid, told[1] if told else "")
    elif isinstance(event, Intake):
        named = re.search(r"client=([^,]*)", data)
        found["client"] = (event.client, named[1] if named else "")
    elif isinstance(event, Notice):
        found["queue id"] = (event.queue_id, want["postfix_queueid"])
        found["notice"] = (event.notice_id, want["postfix_bounce_queueid"])
    elif isinstance(event, Queued):
        sender, count = (
            re.search(r"from=<([^>]*)>", data),
            re.search(r"nrcpt=(\d+)", data),
        )
        found["sender"] = (event.sender, sender[1] if sender else None)
        found["recipients"] = (str(event.recipients), count[1] if count else None)
    elif isinstance(event, Refusal):
        to = re.search(r"\bto=<([^>]*)>", data)
        found["recipient"] = (event.recipient, to[1] if to else "")
    return found


# Lines of these kinds must give an event, or an outcome is lost.
_MUST = re.compile(
    r"^\w+: (?:to=|client=|message-id=|uid=\d+ from|removed$|"
    r"from=<[^>]*>, (?:size|status)|"
    r"host \S+ (?:said|refused)|sender \S+.* notification: )|"
    r"^(?:NOQUEUE|\w{6,}): (?:milter-|proxy-)?reject: "
)


def measure_postfix(directory: Path, score: Score) -> None:
    """Count the cases whose fields that matter are all right."""
    for path in sorted(directory.glob("*.yaml")):
        data, want = read_case(path)
        event = parse_payload(data)
        if event is None:
            right = not _MUST.match(data)
        else:
            right = all(
                ours == wish for ours, wish in _pairs(event, want, data).values()
            )
            if isinstance(event, (Trouble, Expired, Removed)):
                right &= event.queue_id == want.get("postfix_queueid", "")
        score.count(right=right, name=path.name)

"""Business events in the log: one function each, one line each, stable names.

``event=message.held id=... sender=...`` or, with ``log.format = "json"``, an object.
Names and fields are an interface (docs/journal.md, written from this file); other
log lines are for people and may change. Nothing from outside can break a line or
act on a terminal. A leaf: imports nothing of ours but the escaping of text, so that
every layer may call it. The audit journal, which keeps what must never be lost, is
``shaper.audit``.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shaper.core.text import bland

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EVENTS", "Event", "JsonFormatter", "page", "set_up"]

log = logging.getLogger("mailshaper.event")

_PLAIN = re.compile(r"[^\s\"'=\\]+")
Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Event:
    """A kind of line. A field with ``*`` may name a person."""

    name: str
    level: int
    fields: tuple[str, ...]
    meaning: str

    def __call__(self, *values: Value) -> None:
        """Write a line."""
        if not log.isEnabledFor(self.level):
            return
        names = (field.rstrip("*") for field in self.fields)
        said = dict(zip(names, values, strict=True))
        log.log(self.level, "%s", _text(self.name, said), extra={"said": said})


EVENTS: list[Event] = []


def _event(name: str, level: int, fields: str, meaning: str) -> Event:
    event = Event(name, level, tuple(fields.split()), meaning)
    EVENTS.append(event)
    return event


_D, _I, _W, _E = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR

message_held = _event(
    "message.held", _I, "id sender* case recipients",
    "A message waits in the spool and was acknowledged to the MTA.",
)  # fmt: skip
message_released = _event(
    "message.released", _I, "id sender* delivered way",
    "The next hop took a held message; `way` is `trickle` or an operator's `order`.",
)  # fmt: skip
message_ended = _event(
    "message.ended", _I, "id sender* fates",
    "A held message left the spool with none of its recipients delivered.",
)  # fmt: skip
message_expired = _event(
    "message.expired", _W, "id sender*",
    "A held message reached its longest hold and goes back to its sender.",
)  # fmt: skip
sender_slowed = _event(
    "sender.slowed", _W, "sender* case cause total main",
    "A sender no longer looks like itself: its mail waits.",
)  # fmt: skip
sender_blocked = _event(
    "sender.blocked", _W, "sender* case cause total main",
    "All mail of a sender waits for a person.",
)  # fmt: skip
sender_normal = _event(
    "sender.normal", _I, "sender* case cause total main",
    "A sender is normal again, by itself (`calm`) or by an operator (`released`).",
)  # fmt: skip
operator_acted = _event(
    "operator.acted", _I, "by* command reason*",
    "An operator changed something; the audit journal has the whole.",
)  # fmt: skip
recipient_suppressed = _event(
    "recipient.suppressed", _I, "sender*",
    "Mail to a suppressed recipient was refused.",
)  # fmt: skip
outcome_dead = _event(
    "outcome.dead", _I, "sender* status domain",
    "A recipient's address does not exist.",
)  # fmt: skip
outcome_complaint = _event(
    "outcome.complaint", _W, "sender* domain",
    "A recipient complained of a message.",
)  # fmt: skip
receiver_trouble = _event(
    "receiver.trouble", _W, "receiver state detail",
    "A receiver refuses this host as a whole, or takes its mail again.",
)  # fmt: skip
sender_blocked_elsewhere = _event(
    "sender.elsewhere", _W, "sender* by why",
    "Another host blocked a sender with this address; here it is watched.",
)  # fmt: skip
host_alarm = _event(
    "host.alarm", _W, "state detail",
    "Many senders together look unusual, or no longer do.",
)  # fmt: skip
notice_queued = _event(
    "notice.queued", _I, "kind cases step",
    "A mail to the admins (or an owner) was put into the spool.",
)  # fmt: skip
notice_sent = _event(
    "notice.sent", _I, "id",
    "The next hop took such a mail.",
)  # fmt: skip
notice_failed = _event(
    "notice.failed", _E, "id",
    "The next hop refused such a mail for good: nobody was told by mail.",
)  # fmt: skip
webhook_sent = _event(
    "webhook.sent", _I, "id attempts",
    "The webhook's receiver took an event.",
)  # fmt: skip
webhook_failed = _event(
    "webhook.failed", _W, "id problem again",
    "It did not; the next attempt comes after `again` seconds.",
)  # fmt: skip
webhook_given_up = _event(
    "webhook.given-up", _E, "id attempts",
    "It did not for three days; the event is not sent any more.",
)  # fmt: skip
redis_lost = _event(
    "redis.lost", _E, "problem",
    "Redis cannot be used; the daemon goes on from memory.",
)  # fmt: skip
redis_back = _event("redis.back", _W, "seconds", "Redis can be used again.")
spool_full = _event(
    "spool.full", _E, "id problem",
    "A message cannot be held and is left with its MTA (452).",
)  # fmt: skip
refit_done = _event(
    "refit.done", _I, "sender_days",
    "The baselines were fitted anew.",
)  # fmt: skip
upkeep_failed = _event(
    "upkeep.failed", _E, "work problem",
    "Regular work could not be done; it comes again.",
)  # fmt: skip
daemon_started = _event(
    "daemon.started", _I, "instance summary",
    "The daemon serves.",
)  # fmt: skip
daemon_stopping = _event("daemon.stopping", _I, "instance", "The daemon stops.")


def _text(name: str, said: Mapping[str, Value]) -> str:
    pairs = (f"{key}={_value(value)}" for key, value in said.items())
    return " ".join((f"event={name}", *pairs))


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    text = bland(str(value))
    if _PLAIN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class JsonFormatter(logging.Formatter):
    """One JSON object for each line, events or not; ASCII only."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        data: dict[str, object] = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        said = getattr(record, "said", None)
        if isinstance(said, dict):
            data["event"] = record.getMessage().partition(" ")[0].removeprefix("event=")
            data |= said
        else:
            data["message"] = record.getMessage()
        if record.exc_info:
            data["exception"] = self.formatException(record.exc_info)
        return json.dumps(data)


class _TextFormatter(logging.Formatter):
    """``LEVEL logger: message``; an event needs no logger's name."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return line.replace(f" {log.name}:", "", 1) if record.name == log.name else line


def set_up(kind: str) -> None:
    """Write all log lines to standard error as ``text`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    if kind == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(_TextFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.getLogger().handlers[:] = [handler]


def page() -> str:
    """Return docs/journal.md's table of events."""
    lines = ["| event | level | fields | meaning |", "|---|---|---|---|"]
    for event in EVENTS:
        fields = " ".join(
            f"**{f.rstrip('*')}**" if f.endswith("*") else f for f in event.fields
        )
        level = logging.getLevelName(event.level).lower()
        lines.append(f"| `{event.name}` | {level} | {fields} | {event.meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())

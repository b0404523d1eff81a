"""Events in the log: one function each, one line each, stable names.

``event=peer.lost peer=asso problem="..."`` or, with ``log.format = "json"``, an
object. Names and fields are an interface (docs/federation-monitoring.md, written
from this file); other log lines are for people and may change. No event names a
recipient or a sender. Nothing from outside can break a line or act on a terminal.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from federation.text import bland

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EVENTS", "Event", "JsonFormatter", "set_up", "table"]

log = logging.getLogger("mailshaper.federation.event")

_PLAIN = re.compile(r"[^\s\"'=\\]+")
Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Event:
    """A kind of line."""

    name: str
    level: int
    fields: tuple[str, ...]
    meaning: str

    def __call__(self, *values: Value) -> None:
        """Write a line."""
        if not log.isEnabledFor(self.level):
            return
        said = dict(zip(self.fields, values, strict=True))
        log.log(self.level, "%s", _text(self.name, said), extra={"said": said})


EVENTS: list[Event] = []


def _event(name: str, level: int, fields: str, meaning: str) -> Event:
    event = Event(name, level, tuple(fields.split()), meaning)
    EVENTS.append(event)
    return event


_I, _W, _E = logging.INFO, logging.WARNING, logging.ERROR

node_started = _event(
    "node.started", _I, "org network url",
    "The node serves. Without `url` it asks its peers only.",
)  # fmt: skip
node_stopping = _event("node.stopping", _I, "org", "The node stops.")
peer_lost = _event(
    "peer.lost", _W, "peer problem",
    "A peer could not be reached; it is tried again, ever less often.",
)  # fmt: skip
peer_back = _event("peer.back", _I, "peer", "It can be reached again.")
lines_refused = _event(
    "lines.refused", _W, "code count",
    "Lines were not accepted since the last such event; codes are in PROTOCOL.md 6.",
)  # fmt: skip
organisation_new = _event(
    "organisation.new", _I, "org name",
    "Events of an organisation are stored for the first time. It has no weight.",
)  # fmt: skip
log_forked = _event(
    "log.forked", _E, "org stream incarnation seq",
    "Two different events stand at one place of a log: what comes after counts no "
    "more. For our own log it means a restored copy, or two machines with one key.",
)  # fmt: skip
publishing_stopped = _event(
    "publishing.stopped", _E, "problem",
    "Nothing of our own is published: our own log is forked, as after a restored "
    "backup. `mailshaper federation reopen`.",
)  # fmt: skip
clock_off = _event(
    "clock.off", _E, "seconds",
    "Our clock differs from the median of our peers; from an hour on nothing is "
    "accepted or expired.",
)  # fmt: skip
clock_right = _event("clock.right", _I, "seconds", "It no longer does.")
weight_lowered = _event(
    "weight.lowered", _W, "org share why",
    "The audit took weight from an organisation: `canary`, or claims that our own "
    "mail contradicts. `share` is what is left, in thousandths.",
)  # fmt: skip
breaker_opened = _event(
    "breaker.opened", _E, "until",
    "Too many recipients were stopped only by what others say: until then that "
    "counts for nothing.",
)  # fmt: skip
breaker_closed = _event("breaker.closed", _I, "", "What others say counts again.")
facts_refused = _event(
    "facts.refused", _W, "count reason",
    "Facts in the stream could not be read and were left out.",
)  # fmt: skip
store_failed = _event(
    "store.failed", _E, "problem",
    "The database cannot be written, as when the disk is full: nothing is accepted, "
    "look-ups go on.",
)  # fmt: skip
store_back = _event("store.back", _I, "", "It can be written again.")
redis_lost = _event(
    "redis.lost", _E, "problem",
    "The shaper's Redis cannot be used: facts wait there, verdicts grow old.",
)  # fmt: skip
redis_back = _event("redis.back", _I, "", "Redis can be used again.")
projection_rebuilt = _event(
    "projection.rebuilt", _I, "recipients senders",
    "The verdicts in Redis were written anew out of the log.",
)  # fmt: skip
events_ended = _event(
    "events.ended", _I, "expired erased",
    "Events went at the end of their time, or because their origin erased them.",
)  # fmt: skip


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


def set_up(kind: str, level: str) -> None:
    """Write all log lines to standard error as ``text`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    if kind == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(_TextFormatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def table() -> str:
    """Return the table of events for the documentation."""
    lines = ["| event | level | fields | meaning |", "|---|---|---|---|"]
    for event in EVENTS:
        level = logging.getLevelName(event.level).lower()
        fields = " ".join(event.fields)
        lines.append(f"| `{event.name}` | {level} | {fields} | {event.meaning} |")
    return "\n".join(lines) + "\n"

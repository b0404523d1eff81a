"""Reads logs or a trace through ``Past`` and says what was found, as plain data.

Owns the learning period: the first third of the time that the source covers, at
most ``LEARNING`` days, only teaches, since at first everybody is a stranger. Cases
that begin in it are judged all the same, as the daemon would, and counted apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shaper.feedback.history import HistoryReader
from shaper.replay.ordered import Ordered
from shaper.replay.past import DAY, HOUR, Past
from shaper.replay.trace import looks_like_trace, read_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from shaper.feedback.history import Fate, Sent
    from shaper.replay.imagined import Imagined

__all__ = ["LEARNING", "answer", "replay"]

LEARNING = 14  # days
_DOMAINS = 5
_CURVE = 240  # points of a case's evidence
_AROUND = 48  # hours of volume before and after the alarm
_WEEK = 168


def replay(
    past: Past,
    sources: Sequence[Path],
    *,
    year: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Judge what the sources tell; return what was read. Raises OSError."""
    if len(sources) == 1 and looks_like_trace(sources[0]):
        trace = read_trace(sources[0])
        total = max(len(trace.mails), 1)
        for number, mail in enumerate(trace.mails):
            past.message(mail.sender, mail.recipients, mail.time)
            if progress and not number % 2000:
                progress(number / total)
        past.finish()
        return {
            "kind": "trace",
            "lines": None,
            "corrupt_lines": trace.corrupt,
            "repeated_lines": trace.repeated,
        }
    return _logs(past, sources, year, progress)


def _logs(
    past: Past,
    sources: Sequence[Path],
    year: int | None,
    progress: Callable[[float], None] | None,
) -> dict[str, Any]:
    reader = HistoryReader(year=year)
    ordered: Ordered[Sent | Fate] = Ordered()
    sizes = {path: path.stat().st_size for path in sources}
    total = max(sum(sizes.values()), 1)
    done: dict[Path, int] = {}

    def on_read(path: Path, octets: int) -> None:
        if progress:
            done[path] = octets
            progress(sum(done.values()) / total)

    def on_fate(fate: Fate) -> None:
        ordered.put(fate.time, fate, 1)  # after a message of the same second

    for sent in reader.read(sources, on_fate, on_read):
        ordered.put(sent.time, sent)
        for time, item in ordered.ready():
            _take(past, item, time)
    for time, item in ordered.rest():
        _take(past, item, time)
    past.finish()
    return {
        "kind": "log",
        "lines": reader.lines,
        "corrupt_lines": reader.corrupt,
        "other_lines": reader.other,
        "copies": reader.copies,
        "nobodys_messages": reader.nobody,
        "inbound_messages": reader.inbound,
        "damaged_files": reader.damaged,
        "out_of_order": ordered.late,
    }


def _take(past: Past, item: Sent | Fate, time: float) -> None:
    if len(item) == 4:  # noqa: PLR2004 - a fate; quicker than isinstance
        past.fate(item[0], item[1], time, dead=item[3])
    else:
        past.message(item.sender, item.recipients, time)


def answer(
    name: str, past: Past, read: dict[str, Any], start_day: float | None = None
) -> dict[str, Any]:
    """Return the whole answer; docs/replay.md explains each key."""
    span = past.last - past.first
    days = min(LEARNING, span / DAY / 3) if start_day is None else start_day
    until = past.first + days * DAY
    cases = [c for c in past.cases if c.began >= until]
    early = len(past.cases) - len(cases)
    return {
        "source": name,
        "read": read,
        "first": past.first,
        "last": past.last,
        "learned_until": until,
        "messages": past.messages,
        "recipients": past.recipients,
        "senders": len(past.senders),
        "active_sender_days": past.sender_days,
        "cases_while_learning": early,
        "summary": _summary(cases),
        "cases": [_case(case) for case in cases],
        "volume": _volume(past),
        "model": {
            "sender_days": past.model.sender_days,
            "source": past.model.source,
            "scales_by_age": list(past.model.scales),
        },
    }


def _summary(cases: list[Imagined]) -> dict[str, Any]:
    return {
        "cases": len(cases),
        "senders": len({case.sender for case in cases}),
        "blocked": sum(bool(case.blocked_at) for case in cases),
        "faded": sum(case.ending == "faded" for case in cases),
        "reached_recipients": sum(case.reached[1] for case in cases),
        "held_recipients": sum(case.held_recipients for case in cases),
        "spared_recipients": sum(case.spared_recipients for case in cases),
        "dead_recipients": sum(case.dead for case in cases),
        "delayed_recipients": sum(
            case.released_recipients + case.returned_recipients for case in cases
        ),
    }


def _case(case: Imagined) -> dict[str, Any]:
    return {
        "sender": case.sender,
        "since": case.onset,
        "slowed_at": case.began,
        "blocked_at": case.blocked_at or None,
        "ended_at": case.ended or None,
        "ending": case.ending,
        "assumed_verdict": case.verdict or None,
        "why": case.why,
        "evidence": case.evidence.to_json(),
        "reached": _pair(*case.reached),
        "held": _pair(case.held_messages, case.held_recipients),
        "trickled": _pair(case.released_messages, case.released_recipients),
        "returned": _pair(case.returned_messages, case.returned_recipients),
        "spared_recipients": case.spared_recipients,
        "held_outcomes": {"dead": case.dead, "delivered": case.delivered},
        "domains": dict(case.domains.most_common(_DOMAINS)),
        "steps": [
            {"at": s.time, "event": s.event, "state": s.state, "why": s.why}
            for s in case.steps
        ],
        "curve": [[t, round(share, 4)] for t, share in _thinned(case.curve)],
        "volume": _around(case),
    }


def _pair(messages: int, recipients: int) -> dict[str, int]:
    return {"messages": messages, "recipients": recipients}


def _thinned(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most ``_CURVE`` points, the highest of each stretch."""
    step = max(1, -(-len(curve) // _CURVE))
    return [
        max(curve[i : i + step], key=lambda p: p[1]) for i in range(0, len(curve), step)
    ]


def _around(case: Imagined) -> list[list[float]]:
    """Return hours around the alarm: when, recipients, and what is usual then.

    Usual is the mean of the same hour of the day over the days before.
    """
    alarm = int(case.began // HOUR)
    onset = int(case.onset // HOUR)
    before = {h: n for h, n in case.volume.items() if h < onset}
    first = min(before, default=onset)
    days = max(1.0, (onset - first) / 24)
    usual = [0.0] * 24
    for hour, number in before.items():
        usual[hour % 24] += number / days
    last = max([alarm, *(h for h in case.volume if h <= alarm + _AROUND)])
    return [
        [hour * HOUR, case.volume.get(hour, 0), round(usual[hour % 24], 2)]
        for hour in range(min(onset, alarm) - _AROUND // 2, last + 2)
    ]


def _volume(past: Past) -> list[list[float]]:
    """Return hour, recipients passed, recipients held, and what was usual by then.

    Usual is a fading mean of the same hour of the week; a host's first week has
    that of the hour of the day. Hours that were held teach nothing.
    """
    if not past.messages:
        return []
    first, last = int(past.first // HOUR), int(past.last // HOUR)
    week: dict[int, float] = {}
    day: dict[int, float] = {}
    rows = []
    for hour in range(first, last + 1):
        passed, held = past.passed.get(hour, 0), past.held.get(hour, 0)
        slot, clock = hour % _WEEK, hour % 24
        usual = week.get(slot, day.get(clock))
        rows.append([hour * HOUR, passed, held, round(usual or 0.0, 2)])
        week[slot] = 0.7 * week.get(slot, passed) + 0.3 * passed
        day[clock] = 0.8 * day.get(clock, passed) + 0.2 * passed
    return rows

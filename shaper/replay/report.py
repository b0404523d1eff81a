"""The drill's result as numbers with names: what ``--json`` prints.

Owns the keys. The figures under a profile's own keys are without bounces, the
hardest case for a detector; ``with_bounces`` has the others.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from shaper.replay.drill import OURS
from shaper.replay.tally import per_ten_thousand, poisson_interval, quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shaper.replay.assault import Outcome
    from shaper.replay.drill import Drill

__all__ = ["figures"]

_DORMANT = 30 * 86400.0  # seconds
_QUICK = 300.0  # seconds; a delay that an innocent sender hardly notices


def figures(drill: Drill) -> dict[str, Any]:
    """Return everything that was measured, ready for JSON."""
    settings = drill.settings
    names = list(drill.innocents)
    return {
        "trace": drill.trace.name,
        "messages": len(drill.trace.mails),
        "corrupt_lines": drill.trace.corrupt,
        "repeated_lines": drill.trace.repeated,
        "senders": drill.senders,
        "active_sender_days": drill.sender_days,
        "recipients": drill.recipients,
        "start_day": drill.start_day,
        "seed": settings.seed,
        "attacks_per_profile": settings.attacks,
        "planted": "at times of real messages" if settings.busy else "at any time",
        "limits": {
            "source": drill.model.source,
            "history_sender_days": drill.model.sender_days,
            "scales_by_age": list(drill.model.scales),
        },
        "detectors": {name: _detector(drill, name) for name in names},
    }


def _detector(drill: Drill, name: str) -> dict[str, Any]:
    innocents = drill.innocents[name]
    alarms = len(innocents.alarms)
    low, high = poisson_interval(alarms)
    found: dict[str, Any] = {
        "false_alarms": alarms,
        "false_alarms_per_10k_sender_days": per_ten_thousand(alarms, drill.sender_days),
        "false_alarms_per_10k_interval_95": [
            per_ten_thousand(low, drill.sender_days),
            per_ten_thousand(high, drill.sender_days),
        ],
        "legitimate_recipients_delayed": innocents.delayed,
        "legitimate_recipients_delayed_ratio": innocents.delayed
        / max(drill.recipients, 1),
    }
    if name == OURS:
        delays = innocents.delays
        quick = sum(d <= _QUICK for d in delays)
        found["delay_seconds_median"] = _number(quantile(delays, 0.5))
        found["delay_seconds_p90"] = _number(quantile(delays, 0.9))
        found["delayed_under_5_minutes_ratio"] = quick / max(len(delays), 1)
        found["innocent_senders_blocked"] = innocents.blocked
        recovery = innocents.recoveries
        found["recovery_seconds_median"] = _number(quantile(recovery, 0.5))
        found["recovery_seconds_max"] = _number(max(recovery, default=math.nan))
    found["profiles"] = {
        attack.name: _profile(drill, name, attack.name)
        for attack in drill.settings.profiles
        if (name, attack.name, 0) in drill.outcomes
    }
    return found


def _profile(drill: Drill, name: str, attack: str) -> dict[str, Any]:
    outcomes = drill.outcomes[name, attack, 0]
    found = _outcomes(outcomes)
    if name != OURS:
        return found
    leaked = [o.leaked for o in outcomes if o.leaked is not None]
    blocked = [o.blocked for o in outcomes if o.blocked is not None]
    found |= {
        "messages_leaked_until_block_median": _number(quantile(leaked, 0.5)),
        "messages_leaked_until_block_p90": _number(quantile(leaked, 0.9)),
        "messages_leaked_until_block_max": max(leaked, default=None),
        "seconds_alarm_to_block_median": _number(quantile(blocked, 0.5)),
        "not_blocked_ratio": 1 - len(blocked) / max(len(leaked), 1),
        "by_sender": {
            kind: _outcomes(chosen)
            for kind, chosen in _by_sender(outcomes).items()
            if chosen
        },
        "with_bounces": {
            str(rate): _outcomes(drill.outcomes[name, attack, rate])
            for rate in drill.settings.bounces
            if rate
        },
    }
    return found


def _by_sender(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Sort by the pool they were drawn from; dormant are those silent for a month."""
    found = {
        pool: [o for o in outcomes if o.pool == pool]
        for pool in ("active", "any", "new")
    }
    found["dormant"] = [o for o in outcomes if o.idle >= _DORMANT and o.pool != "new"]
    return found


def _outcomes(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    escaped = [o.escaped for o in outcomes]
    seconds = [o.seconds for o in outcomes if o.seconds is not None]
    return {
        "attacks": len(outcomes),
        "escaped_median": quantile(escaped, 0.5),
        "escaped_p90": quantile(escaped, 0.9),
        "escaped_max": max(escaped),
        "missed_ratio": 1 - len(seconds) / len(outcomes),
        "seconds_to_alarm_median": _number(quantile(seconds, 0.5)),
    }


def _number(value: float) -> float | None:
    """Return None for what was not there to measure: JSON knows no NaN."""
    return None if math.isnan(value) else value

"""What the drill's figures mean, in sentences: the conclusions under the table.

Pure. Says what was measured and no more: a rate whose interval is wide is
called unsettled, a missed target is named.
"""

from __future__ import annotations

from typing import Any

__all__ = ["conclusions"]

_BUDGET = 2.0  # false alarms per 10,000 active sender-days that are bearable
_RAMP = 300
_LEAK = 10


def conclusions(figures: dict[str, Any]) -> list[str]:
    """Return a few sentences, the most important first."""
    ours = figures["detectors"]["mailshaper"]
    days = figures["active_sender_days"]
    if not days:
        return ["Nothing to judge: no mail after the start day. Lower --start-day."]
    return [
        _false_alarms(ours, days),
        _delay(ours),
        *_attacks(ours["profiles"]),
        *_rivals(figures["detectors"]),
        _history(figures),
    ]


def _false_alarms(ours: dict[str, Any], days: int) -> str:
    rate = ours["false_alarms_per_10k_sender_days"]
    low, high = ours["false_alarms_per_10k_interval_95"]
    text = (
        f"{ours['false_alarms']} innocent sender-days of {days} would have been "
        f"slowed: {rate:.1f} per 10,000 (95 %: {low:.1f} to {high:.1f})"
    )
    if high <= _BUDGET:
        return f"{text}, within the budget of {_BUDGET:.0f}."
    if low > _BUDGET:
        return f"{text}, over the budget of {_BUDGET:.0f}."
    return f"{text}; this history is too short to settle a budget of {_BUDGET:.0f}."


def _delay(ours: dict[str, Any]) -> str:
    ratio = ours["legitimate_recipients_delayed_ratio"]
    if not ratio:
        return "No innocent mail would have waited."
    return (
        f"{ratio:.3%} of innocent recipients would have waited, "
        f"{ours['delayed_under_5_minutes_ratio']:.0%} of those under 5 minutes, "
        f"the median {ours['delay_seconds_median'] / 60:.0f} min; "
        f"{ours['innocent_senders_blocked']} innocent senders would have been blocked "
        f"until an operator looked (assumed: after 4 h)."
    )


def _attacks(profiles: dict[str, Any]) -> list[str]:
    if not profiles:
        return []
    said = []
    worst = max(profiles, key=lambda name: profiles[name]["missed_ratio"])
    missed = profiles[worst]["missed_ratio"]
    said.append(
        f"Missed most often: {worst}, {missed:.1%} of its thefts."
        if missed
        else "No planted theft went unnoticed."
    )
    leaks = {n: p["messages_leaked_until_block_p90"] for n, p in profiles.items()}
    name = max(leaks, key=lambda n: leaks[n] or 0)
    verdict = "at most" if (leaks[name] or 0) <= _LEAK else "as many as"
    said.append(
        f"After the alarm {verdict} {leaks[name] or 0} more messages of nine thefts "
        f"in ten left through the trickle before the block (worst: {name})."
    )
    ramp = profiles.get("ramp")
    if ramp and ramp["escaped_p90"] > _RAMP:
        said.append(
            f"A slow ramp reached {ramp['escaped_p90']} recipients in one of ten "
            f"cases: more than the {_RAMP} that were aimed at."
        )
    return said


def _rivals(detectors: dict[str, Any]) -> list[str]:
    ours = detectors["mailshaper"]
    better = []
    for name, rival in detectors.items():
        if name == "mailshaper":
            continue
        quieter = rival["false_alarms"] <= ours["false_alarms"]
        ahead = [
            profile
            for profile, found in rival["profiles"].items()
            if profile in ours["profiles"]
            and found["escaped_median"] < ours["profiles"][profile]["escaped_median"]
        ]
        if ahead:
            noise = "at no more" if quieter else "at more"
            better.append(
                f"{name} lets fewer through on {', '.join(ahead)}, {noise} false "
                f"alarms ({rival['false_alarms']} against {ours['false_alarms']})."
            )
    return better


def _history(figures: dict[str, Any]) -> str:
    days = figures["limits"]["history_sender_days"]
    scales = figures["limits"]["scales_by_age"]
    change = (
        "did not change them"
        if max(scales) <= 1.0
        else f"widened them by up to {max(scales) - 1:.0%}"
    )
    return (
        f"Limits are the shipped ones; {days} sender-days of this host's own "
        f"history {change}."
    )

"""What a sender's profile learns, and what an operator's verdict does to it.

Only mail that really left as normal mail teaches (``learn``); an alarm teaches
nothing until somebody or time has judged it. ``acquit`` teaches the whole of
it, ``convict`` unlearns what came with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.core.contacts import NEVER
from shaper.core.model import BUCKETS
from shaper.core.rhythm import hour_bit
from shaper.core.surprise import LONGEST_GAP, close_day, elapse, lift, limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shaper.core.model import Model
    from shaper.core.profile import Profile

__all__ = ["acquit", "convict", "ease", "familiarity", "learn"]

_FAMILIAR = (3.0, 2.0, 1.0, 0.0)  # by tier


def learn(
    profile: Profile, model: Model, recipients: Sequence[int], now: float
) -> None:
    """Note that a message was really sent as normal mail.

    For held mail only when an operator released it as innocent.
    """
    elapse(profile, model, now)
    day = int(profile.seen // 86400)
    if profile.flagged and day > profile.day:
        # Mail passes again, so the alarm has faded by itself: its day teaches
        # what was passed before the alarm, and no more.
        profile.flagged = False
        close_day(profile, model, day)
    if not recipients:
        return
    contacts = profile.contacts
    _, lately, once, never = contacts.tiers(recipients)
    profile.today[NEVER if never else 2 if once else 1 if lately else 0] += 1.0
    contacts.add(recipients)
    profile.today_hours |= hour_bit(profile.seen)


def acquit(profile: Profile, model: Model, now: float) -> None:
    """Learn the peak in full and clear the evidence: an operator found it innocent."""
    elapse(profile, model, now)
    peaks = [max(p, h) for p, h in zip(profile.peaks, profile.held, strict=True)]
    bounds = limits(profile, model)
    close_day(profile, model, profile.day)
    # Such a day may come again tomorrow.
    lift(profile, peaks, bounds)
    _clear(profile)


def convict(profile: Profile, model: Model, now: float) -> None:
    """Unlearn the thief and clear the evidence: an operator confirmed the theft."""
    elapse(profile, model, now)
    profile.peaks = [0.0] * len(BUCKETS)
    profile.today = [0.0] * 4
    profile.today_hours = 0
    profile.contacts.forget_run()
    profile.networks.forget_day()
    _clear(profile)


def ease(profile: Profile, model: Model, share: float) -> None:
    """Let evidence go down to this share of each limit; nothing is learned by it."""
    profile.levels = [
        min(level, share * bound)
        for level, bound in zip(profile.levels, limits(profile, model), strict=True)
    ]


def familiarity(profile: Profile, recipients: Sequence[int], now: float) -> float:
    """Return how familiar a message's recipients are: 3 at most, 0 for strangers.

    The mean over recipients, so one friend does not carry a list of strangers.
    """
    if 0 < now - profile.seen < LONGEST_GAP:
        profile.contacts.elapse(now)
    counts = profile.contacts.tiers(recipients)
    total = sum(counts)
    if not total:
        return 0.0
    return sum(n * f for n, f in zip(counts, _FAMILIAR, strict=True)) / total


def _clear(profile: Profile) -> None:
    profile.levels = [0.0] * len(BUCKETS)
    profile.held = [0.0] * len(BUCKETS)
    profile.cusum = 0.0
    profile.flagged = False
    profile.contacts.mark = len(profile.contacts)

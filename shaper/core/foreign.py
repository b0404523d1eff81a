"""What other hosts say about a recipient or a sender, as this host may use it.

The federation daemon decides whom to believe and leaves its verdicts in Redis; this
module says what a verdict means for one message. Pure.

Nobody outside can stop a sender here: a signal about one of ours raises a floor
under its evidence that is a third of what slows, and adds up with nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shaper.core.plain import loads, moment
from shaper.core.quote import shell
from shaper.core.suppression import MARK, fold
from shaper.core.text import bland

if TYPE_CHECKING:
    from shaper.core.profile import Profile

__all__ = [
    "FLOOR",
    "Foreign",
    "ForeignSender",
    "Stop",
    "address_of",
    "raise_floor",
    "read_foreign",
    "read_sender",
    "stop",
]

_DAY = 86400.0
_PROBE = 14 * _DAY  # seconds before the first probe of what others call dead
_MOST_PROBES = 5
_YEAR = 365 * 86400  # seconds
FLOOR = 3.0  # nats of the 9 at which bounces slow a sender
_NAMED = 3  # organisations in a refusal
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Foreign:
    """A verdict about a recipient: ``suppress`` or only ``caution``.

    ``by`` names the organisations, ``since`` is the Unix time of the oldest claim
    that counts.
    """

    suppress: bool
    by: tuple[str, ...]
    since: float


@dataclass(frozen=True, slots=True)
class ForeignSender:
    """Organisations that blocked a sender with this address, why, and until when."""

    by: tuple[str, ...]
    why: str
    until: float


@dataclass(frozen=True, slots=True)
class Stop:
    """What a verdict means for one message.

    ``probe`` names a test that is due, "" without one: of all messages one passes for
    each name, which is to be remembered for ``keep`` seconds. ``lines`` are those of
    the refusal, without the code.
    """

    lines: tuple[str, ...]
    probe: str = ""
    keep: int = 0


def address_of(sender: str) -> str:
    """Return the address of a sender that others may know, "" where it has none."""
    kind, _, name = sender.partition(":")
    return fold(name) if kind in {"login", "from"} else ""


def read_foreign(raw: bytes) -> Foreign | None:
    """Return a stored verdict, None for anything else: it refuses nobody."""
    try:
        data = loads(raw)
        kind, by = data["o"], data["by"]
        since = moment(data["since"])
        own = data.get("own", False)
    except (LookupError, TypeError, AttributeError, ValueError):
        return None
    # What we know ourselves is in our own list, with its own ways out.
    if kind not in {"s", "c"} or own or not isinstance(by, list):
        return None
    return Foreign(kind == "s", _names(by), since)


def read_sender(raw: bytes) -> ForeignSender | None:
    """Return a stored signal about a sender, None for anything else."""
    try:
        data = loads(raw)
        by, why, until = data["by"], str(data["why"]), moment(data["until"])
    except (LookupError, TypeError, ValueError):
        return None
    if not isinstance(by, list) or not by:
        return None
    return ForeignSender(_names(by), bland(why)[:_LONGEST_NAME], until)


def _names(by: list[Any]) -> tuple[str, ...]:
    return tuple(sorted(bland(str(name))[:_LONGEST_NAME] for name in by))


def stop(
    found: Foreign, address: str, *, bulk: bool, now: float, confirm: str = ""
) -> Stop | None:
    """Say what a verdict means for mail of a sender; None lets it pass.

    A cautious verdict stops bulk mail only: for a day, then one message a day may
    try. A personal message always tries; it is how the truth comes out.
    """
    age = max(now - found.since, 0.0)
    if found.suppress:
        number, keep = _probe_number(age), _YEAR
    elif bulk:
        number, keep = int(age // _DAY), 2 * int(_DAY)
    else:
        return None
    probe = f"{int(found.since)}.{number}" if number else ""
    named = ", ".join(found.by[:_NAMED]) or "trusted hosts"
    if (more := len(found.by) - _NAMED) > 0:
        named += f" and {more} more"
    claim = "does not exist" if found.suppress else "may not exist (bulk mail only)"
    lines = [
        f"<{address}> {MARK}",
        f"Reason: this address {claim}, say {named}; we did not see it ourselves",
        f"Way out: the operator can type: mailshaper suppress remove {shell(address)}",
    ]
    if confirm and found.suppress:
        lines.append(f"The recipient can confirm with the link mailed from {confirm}")
    return Stop(tuple(f"5.7.1 {_ascii(line)}" for line in lines), probe, keep)


def _probe_number(age: float) -> int:
    """Return which probe is due: the first after 14 days, then 28, 56 ... more."""
    number, wait = 0, _PROBE
    while age >= wait and number < _MOST_PROBES:
        age, wait, number = age - wait, 2 * wait, number + 1
    return number


def raise_floor(profile: Profile) -> None:
    """Watch a sender more closely because another host blocked its address.

    The same whether told once or a thousand times, by one or by all.
    """
    if math.isfinite(profile.cusum):
        profile.cusum = max(profile.cusum, FLOOR)


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()

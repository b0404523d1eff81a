"""What an alarm rested on, kept so that anybody can compute it again.

Owns the form of the ``evidence`` lines of the audit journal: the sender's profile
before the message, the population's model, the message's recipients as keyed
hashes, its client network and time, and the evidence that came out. ``check``
weighs the same again. Equal inputs give equal evidence, so a difference means
that the line was changed or that another version of the detector wrote it.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shaper.core.evidence import Evidence, weigh
from shaper.core.model import Model
from shaper.core.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ARITHMETIC", "Check", "check", "proof"]

ARITHMETIC = 2  # raise it with every change of what a message costs or a limit is
_MOST = 1 << 20  # octets of a profile or model; a longer one was never written
# Storage keeps what is learned once a day in single precision.
_PRECISION = 1e-5


@dataclass(frozen=True, slots=True)
class Check:
    """The evidence as it was written and as it is computed again.

    ``again`` is None when the line cannot be read; ``why`` says what differs.
    """

    written: Evidence | None
    again: Evidence | None
    why: str

    @property
    def same(self) -> bool:
        """Whether both say the same."""
        return not self.why


def proof(
    before: bytes,
    model: Model,
    recipients: Sequence[int],
    network: int,
    now: float,
    evidence: Evidence,
) -> dict[str, Any]:
    """Return what the journal keeps of an alarm, as plain data.

    ``before`` is the encoded profile as it was when the message came.
    """
    return {
        "arithmetic": ARITHMETIC,
        "profile": _packed(before),
        "model": _packed(model.to_json().encode()),
        "recipients": [f"{recipient:016x}" for recipient in recipients],
        "network": network,
        "now": now,
        "evidence": evidence.to_json(),
    }


def check(line: dict[str, Any]) -> Check:
    """Weigh again what ``proof`` gave; it never raises."""
    written = None
    try:
        written = Evidence.from_json(line["evidence"])
        if line["arithmetic"] != ARITHMETIC:
            why = f"another version of the detector ({line['arithmetic']}) wrote it"
            return Check(written, None, why)
        profile = Profile.decode(_unpacked(line["profile"]))
        model = Model.from_json(_unpacked(line["model"]))
        recipients = [int(text, 16) for text in line["recipients"]]
        network, now = int(line["network"]), float(line["now"])
    except (KeyError, TypeError, ValueError, OverflowError, zlib.error) as error:
        return Check(written, None, f"the line cannot be read: {error}")
    again = weigh(profile, model, recipients, now, network)
    return Check(written, again, _difference(written, again))


def _difference(written: Evidence, again: Evidence) -> str:
    at_a_limit = any(
        math.isclose(again.total, x, rel_tol=_PRECISION) for x in again.limits
    )
    if written.level is not again.level and not at_a_limit:
        was, now = written.level.name.lower(), again.level.name.lower()
        return f"the level was written as {was} and is {now}"
    if written.main != again.main:
        return f"the main part was written as {written.main!r} and is {again.main!r}"
    if [p.name for p in written.parts] != [p.name for p in again.parts]:
        return "it has other parts"
    pairs = [("total", written.total, again.total)]
    for old, new in zip(written.parts, again.parts, strict=True):
        pairs.append((old.name, old.value, new.value))
        pairs.append((f"the limit of {old.name}", old.limit, new.limit))
    for name, old_value, new_value in pairs:
        if not math.isclose(old_value, new_value, rel_tol=_PRECISION, abs_tol=1e-9):
            return f"{name} was written as {old_value:.6g} and is {new_value:.6g}"
    return ""


def _packed(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw, 9)).decode()


def _unpacked(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    stream = zlib.decompressobj()
    found = stream.decompress(raw, _MOST)
    if stream.unconsumed_tail or not stream.eof:
        msg = "a compressed part is too long or cut short"
        raise ValueError(msg)
    return found

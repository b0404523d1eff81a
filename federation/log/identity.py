"""Who may write for an organisation, and up to where: computed, never remembered.

From the control events of one organisation, the forks that are proven and what
the operator cleared follow its chain of root keys, the keys it granted, where its
logs end and whether it has weight at all. A function of sets: whatever the order
of arrival, the same events give the same identity.

Two rules differ from what one might expect. A root commits to its successor once:
a second, different ``nextroot`` before the rotation is a conflict that freezes the
organisation, since a thief of the root could announce his own. And a revocation is
final.

PROTOCOL.md 8. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, cast

from federation.format.errors import Refused
from federation.format.profile import unb64
from federation.format.signing import ROTATE, verify
from federation.log.chain import END, LogKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from federation.format.event import Event
    from federation.format.limits import Limits

__all__ = ["Fork", "Identity", "identify", "rotation_consent"]


class Fork(NamedTuple):
    """A proven fork: two events with the number ``seq``; ``seen`` by this host."""

    seq: int
    seen: int


@dataclass(frozen=True, slots=True)
class Identity:
    """What counts for one organisation."""

    org: bytes
    roots: tuple[bytes, ...]  # the last one rules
    keys: frozenset[bytes]  # granted; revoked ones among them, up to their cut
    cuts: Mapping[bytes, Mapping[tuple[str, int], int]] = field(default_factory=dict)
    opened: frozenset[LogKey] = frozenset()
    # Left out: a thief's, beyond his key's cut, and those of keys without rights,
    # which anybody can make in any number.
    forks: Mapping[LogKey, Fork] = field(default_factory=dict)
    nextroot: bytes = b""
    conflict: bool = False  # two successors announced by one root
    cleared: int = 0  # the operator looked at forks up to this time

    @property
    def root(self) -> bytes:
        """The root key that rules now."""
        return self.roots[-1]

    def allows(self, key: bytes) -> bool:
        """Return whether a key ever had the right to write."""
        return key in self.keys or key in self.roots

    def cut(self, which: LogKey) -> int:
        """Return the last number a revocation leaves to a log."""
        cuts = self.cuts.get(which.key)
        return END if cuts is None else cuts.get((which.st, which.inc), 0)

    def end(self, which: LogKey) -> int:
        """Return the last number of a log that counts."""
        fork = self.forks.get(which)
        return min(self.cut(which), END if fork is None else fork.seq - 1)

    @property
    def frozen(self) -> str:
        """Why nothing counts until this host's operator has acted; "" if it does."""
        if self.conflict:
            return "two successors of one root key"
        forked = 0
        for which, fork in self.forks.items():
            if fork.seen <= self.cleared:
                continue
            if which.st == "c" and which.key in self.roots:
                return "the control log is forked"
            forked += 1
        return "two logs are forked" if forked > 1 else ""

    def counts(self, which: LogKey) -> bool:
        """Return whether the events of a log have weight, ``frozen`` aside."""
        if not self.allows(which.key):
            return False
        if not self.forks:
            return True
        # After a fork only what the root has opened: who forked holds the key too.
        return which in self.opened or not any(
            other.key == which.key and other.st == which.st and other.inc < which.inc
            for other in self.forks
        )


def rotation_consent(org: bytes, newroot: bytes) -> bytes:
    """Return what a new root signs, in the context ROTATE."""
    return org + newroot


def identify(
    org: bytes,
    controls: Iterable[Event],
    forks: Mapping[LogKey, Fork],
    limits: Limits,
    cleared: int = 0,
) -> Identity:
    """Compute an organisation's identity from its control events with weight."""
    by_key: dict[bytes, list[Event]] = {}
    for one in controls:
        fork = forks.get(LogKey(one.key, one.st, one.inc))
        if fork is None or one.seq < fork.seq:
            by_key.setdefault(one.key, []).append(one)
    for several in by_key.values():
        several.sort(key=lambda one: (one.inc, one.seq))
    chain = _chain(org, by_key)
    # From the newest root to the oldest: a root is cut by its successors only.
    cuts: dict[bytes, dict[tuple[str, int], int]] = {}
    spoken: list[Event] = []
    for index in range(len(chain.roots) - 1, -1, -1):
        root = chain.roots[index]
        cut = cuts.get(root)
        said = [
            one
            for one in chain.said[index]
            if cut is None or one.seq <= cut.get((one.st, one.inc), 0)
        ]
        spoken[:0] = said
        for one in said:
            if one.k == "ctl.revoke":
                key = _bytes(one, "key")
                if key not in chain.roots[index:]:
                    _cut(cuts, key, one)
    keys = _granted(spoken, cuts, limits)
    return Identity(
        org=org,
        roots=chain.roots,
        keys=keys,
        cuts=cuts,
        opened=frozenset(
            LogKey(_bytes(one, "key"), str(one.b["st"]), cast("int", one.b["inc"]))
            for one in spoken
            if one.k == "ctl.open"
        ),
        forks={
            which: fork
            for which, fork in forks.items()
            if (which.key in keys or which.key in chain.roots)
            and (
                which.key not in cuts
                or fork.seq <= cuts[which.key].get((which.st, which.inc), 0)
            )
        },
        nextroot=chain.nextroot,
        conflict=chain.conflict,
        cleared=cleared,
    )


class _Chain(NamedTuple):
    roots: tuple[bytes, ...]
    said: Sequence[Sequence[Event]]  # by each root while it ruled
    nextroot: bytes
    conflict: bool


def _chain(org: bytes, by_key: Mapping[bytes, Sequence[Event]]) -> _Chain:
    """Follow the rotations from the first root."""
    said: list[Sequence[Event]]
    roots, said = [org], []
    while True:
        events = by_key.get(roots[-1], [])
        turn = next((one for one in events if _rotates(org, one, events)), None)
        newroot = b"" if turn is None else _bytes(turn, "newroot")
        if turn is None or newroot in roots:
            said.append(events)
            nexts = _promised(events)
            one = next(iter(nexts)) if len(nexts) == 1 else b""
            return _Chain(tuple(roots), said, one, conflict=len(nexts) > 1)
        last = (turn.inc, turn.seq)
        said.append([one for one in events if (one.inc, one.seq) <= last])
        roots.append(newroot)


def _promised(events: Iterable[Event]) -> set[bytes]:
    """Return the successors that a root announced."""
    return {
        _bytes(one, "nextroot")
        for one in events
        if one.k == "ctl.org" and "nextroot" in one.b
    }


def _rotates(org: bytes, turn: Event, events: Sequence[Event]) -> bool:
    """Return whether an event hands over to the one successor that was promised.

    What the root says later in the same log does not count any more. Other logs
    count whole: a thief can open one that pretends to be older.
    """
    if turn.k != "ctl.rotate":
        return False
    newroot = _bytes(turn, "newroot")
    before = (one for one in events if one.inc != turn.inc or one.seq < turn.seq)
    if _promised(before) != {sha256(newroot).digest()}:
        return False
    return verify(newroot, ROTATE, rotation_consent(org, newroot), _sig2(turn))


def _cut(
    cuts: dict[bytes, dict[tuple[str, int], int]], key: bytes, event: Event
) -> None:
    """Lower the cuts of a key. A log that is not named has none of it left."""
    named = {
        (str(one[0]), cast("int", one[1])): cast("int", one[2])
        for one in cast("list[list[object]]", event.b.get("cut", []))
    }
    known = cuts.get(key)
    if known is None:
        cuts[key] = named
        return
    cuts[key] = {
        log: min(seq, named[log]) for log, seq in known.items() if log in named
    }


def _granted(
    spoken: Sequence[Event], cuts: Mapping[bytes, object], limits: Limits
) -> frozenset[bytes]:
    granted = dict.fromkeys(
        _bytes(one, "key") for one in spoken if one.k == "ctl.grant"
    )
    live = [key for key in granted if key not in cuts]
    return frozenset(live[: limits.node_keys]) | {key for key in granted if key in cuts}


def _bytes(event: Event, name: str) -> bytes:
    return unb64(event.b[name], 32)


def _sig2(event: Event) -> bytes:
    try:
        return unb64(event.b["sig2"], 64)
    except Refused:  # the form is checked before; a wrong length never consents
        return b""

"""Group keysmgmt: grants, revocations, rotation of the root."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from federation.format.profile import b64
from tools.federation_vectors.case import NODE, OTHER, ROOT, T0, Case
from tools.federation_vectors.chain import expected, steps
from tools.federation_vectors.writer import Writer, consent, hard, seeded

if TYPE_CHECKING:
    from federation.format.event import Event
    from federation.format.signing import Signer

__all__ = ["cases"]

_NOW = T0 + 100
_THIEF = seeded(66)
_NEXT = seeded(1)


def _grant(signer: Signer) -> tuple[str, dict[str, Any]]:
    return "ctl.grant", {"key": b64(signer.public), "label": "machine"}


def _revoke(signer: Signer, *cut: Event) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {"key": b64(signer.public), "why": "stolen"}
    if cut:
        body["cut"] = [[one.st, one.inc, one.seq, b64(one.id)] for one in cut]
    return "ctl.revoke", body


def _profile(nextroot: Signer | None = None) -> tuple[str, dict[str, Any]]:
    body = {"name": "A"}
    if nextroot is not None:
        body["nextroot"] = b64(sha256(nextroot.public).digest())
    return "ctl.org", body


def _control(*said: tuple[str, dict[str, Any]], by: Signer = ROOT) -> Writer:
    log = Writer(by, "c", org=ROOT.public)
    for one in said:
        log.add(one)
    return log


def _facts(signer: Signer = NODE, count: int = 3, inc: int = T0) -> Writer:
    log = Writer(signer, "h", org=ROOT.public, inc=inc)
    for number in range(count):
        log.add(hard(number))
    return log


def cases() -> list[Case]:
    """Return the vectors."""
    return [*_grants(), *_revocations(), *_rotations(), *_thefts()]


def _grants() -> list[Case]:
    control, facts = _control(_grant(NODE)), _facts()
    both = [control.entry(), facts.entry()]
    by_node = _control(_grant(OTHER), by=NODE)
    others = _facts(OTHER, 1)
    many = _control(*(_grant(seeded(100 + number)) for number in range(17)))
    last, sixteenth = _facts(seeded(116), 1), _facts(seeded(115), 1)
    imposter = _facts(OTHER, 1)
    return [
        Case(
            "grant_before_use",
            steps((_NOW, [*control.events, *facts.events])),
            expected(["ok ok ok ok"], both, facts.events),
            "A key that the root granted writes for the organisation.",
        ),
        Case(
            "use_before_grant",
            steps((_NOW, facts.events), (_NOW, control.events)),
            expected(["parked parked parked", "ok"], both, facts.events),
            "Parked lines are stored as soon as the grant is.",
        ),
        Case(
            "never_granted",
            steps((_NOW, imposter.events)),
            expected(["parked"], [], [], parked=1),
            "Anybody can write the name of an organisation into an event.",
        ),
        Case(
            "never_granted_a_day_later",
            steps((_NOW, imposter.events), (_NOW + 86_401, [])),
            expected(["parked", ""], [], []),
            "After 24 hours a parked line is dropped.",
        ),
        Case(
            "grant_by_a_node",
            steps((_NOW, [*control.events, *by_node.events, *others.events])),
            expected(
                ["ok ok parked"], [control.entry(), by_node.entry()], [], parked=1
            ),
            "Only the root grants.",
        ),
        Case(
            "seventeenth_grant",
            steps((_NOW, [*many.events, *sixteenth.events, *last.events])),
            expected(
                [" ".join(["ok"] * 18 + ["parked"])],
                [many.entry(), sixteenth.entry()],
                sixteenth.events,
                parked=1,
            ),
            "At most 16 keys that are not revoked; later grants have no effect.",
        ),
    ]


def _revocations() -> list[Case]:
    facts = _facts()
    one, two, _ = facts.events
    cut = _control(_grant(NODE), _revoke(NODE, two))
    void = _control(_grant(NODE), _revoke(NODE))
    twice = _control(_grant(NODE), _revoke(NODE, two), _revoke(NODE, one))
    again = _control(_grant(NODE), _revoke(NODE, two), _grant(NODE))
    backdated = facts.branch(2)
    old = backdated.add(hard(9), ts=two.ts)
    other = _facts(count=1, inc=T0 - 1000)
    itself = _control(_revoke(ROOT))
    roots = _facts(ROOT, 1)
    left = [cut.entry(), facts.entry(2)]
    return [
        Case(
            "revoked_with_cut",
            steps((_NOW, [cut.events[0], *facts.events]), (_NOW, [cut.events[1]])),
            expected(["ok ok ok ok", "ok"], left, [one, two]),
            "Beyond the cut nothing counts, before it everything does.",
        ),
        Case(
            "revoked_before_arrival",
            steps((_NOW, [*cut.events, *facts.events])),
            expected(["ok ok ok ok bad-chain"], left, [one, two]),
            "Late events before the cut are taken: the same state in this order.",
        ),
        Case(
            "revoked_without_cut",
            steps((_NOW, [void.events[0], *facts.events, void.events[1]])),
            expected(["ok ok ok ok ok"], [void.entry()], []),
            "A log that the revocation does not name has nothing left.",
        ),
        Case(
            "revoked_twice",
            steps((_NOW, [*twice.events, one, two])),
            expected(["ok ok ok ok bad-chain"], [twice.entry(), facts.entry(1)], [one]),
            "The lower cut counts.",
        ),
        Case(
            "granted_again",
            steps((_NOW, [*again.events, *facts.events])),
            expected(
                ["ok ok ok ok ok bad-chain"],
                [again.entry(), facts.entry(2)],
                [one, two],
            ),
            "A revocation is final.",
        ),
        Case(
            "revoked_key_backdates",
            steps((_NOW, [*cut.events, one, two, old])),
            expected(["ok ok ok ok bad-chain"], left, [one, two]),
            "Its time does not matter, its number does.",
        ),
        Case(
            "revoked_key_opens_an_old_log",
            steps((_NOW, [*cut.events, *other.events])),
            expected(["ok ok bad-chain"], [cut.entry()], []),
            "The cut does not name this incarnation.",
        ),
        Case(
            "root_revokes_itself",
            steps((_NOW, [*itself.events, *roots.events])),
            expected(["ok ok"], [itself.entry(), roots.entry()], roots.events),
            "A root is revoked by its successor only.",
        ),
    ]


def _rotations() -> list[Case]:
    turn = ("ctl.rotate", consent(ROOT.public, _NEXT))
    facts = _facts()
    old = _control(_profile(_NEXT), turn)
    new = _control(_grant(NODE), by=_NEXT)
    early = _control(_profile(_NEXT), _grant(OTHER), turn, _grant(NODE))
    closing = _control(_revoke(ROOT, early.events[0]), by=_NEXT)
    others = _facts(OTHER, 1)
    unsigned = consent(ROOT.public, _NEXT) | {
        "sig2": consent(ROOT.public, OTHER)["sig2"]
    }
    no_consent = _control(_profile(_NEXT), ("ctl.rotate", unsigned))
    none = _control(_profile(), turn)
    parked = 4
    return [
        Case(
            "rotated",
            steps((_NOW, [*old.events, *new.events, *facts.events])),
            expected(
                ["ok ok ok ok ok ok"],
                [old.entry(), new.entry(), facts.entry()],
                facts.events,
            ),
            "The new root is the one that was promised, and consents.",
        ),
        Case(
            "rotated_other_order",
            steps((_NOW, [*facts.events, *new.events]), (_NOW, old.events)),
            expected(
                ["parked parked parked parked", "ok ok"],
                [old.entry(), new.entry(), facts.entry()],
                facts.events,
            ),
            "The new root's events wait for the rotation.",
        ),
        Case(
            "rotated_without_consent",
            steps((_NOW, [*no_consent.events, *new.events, *facts.events])),
            expected(
                ["ok ok parked parked parked parked"],
                [no_consent.entry()],
                [],
                parked=parked,
            ),
            "sig2 is not by the new root.",
        ),
        Case(
            "rotated_without_promise",
            steps((_NOW, [*none.events, *new.events, *facts.events])),
            expected(
                ["ok ok parked parked parked parked"], [none.entry()], [], parked=parked
            ),
            "No ctl.org names a next root.",
        ),
        Case(
            "old_root_grants_after_rotation",
            steps((_NOW, [*early.events, *facts.events, *others.events])),
            expected(
                ["ok ok ok ok parked parked parked ok"],
                [early.entry(), others.entry()],
                others.events,
                parked=3,
            ),
            "What the old root granted before stands; afterwards it grants nothing.",
        ),
        Case(
            "old_root_revoked",
            steps((_NOW, [*early.events, *others.events, *closing.events])),
            expected(
                ["ok ok ok ok ok ok"],
                [early.entry(1), closing.entry(), others.entry()],
                [],
            ),
            "The new root cuts the old one's control log before the grant.",
        ),
    ]


def _thefts() -> list[Case]:
    away = ("ctl.rotate", consent(ROOT.public, _THIEF))
    simple = _control(_profile(_NEXT), away)
    promised = _control(_profile(_NEXT), _profile(_THIEF), away)
    thiefs = _control(_grant(OTHER), by=_THIEF)
    facts = _facts(ROOT)
    return [
        Case(
            "thief_rotates",
            steps((_NOW, [*simple.events, *thiefs.events, *facts.events])),
            expected(
                ["ok ok parked ok ok ok"],
                [simple.entry(), facts.entry()],
                facts.events,
                parked=1,
            ),
            "The root key alone is not enough: the thief's key was not promised.",
        ),
        Case(
            "thief_promises_himself",
            steps((_NOW, [*promised.events, *thiefs.events, *facts.events])),
            expected(
                ["ok ok ok parked ok ok ok"],
                [promised.entry(), facts.entry()],
                [],
                parked=1,
                frozen=[ROOT.public],
            ),
            "A root promises one successor. With two, nobody takes over, and nothing"
            " counts until the operator of this node has looked at it.",
        ),
    ]

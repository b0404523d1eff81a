"""Group fork: two events with one number, in whatever order they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from federation.format.event import parse
from federation.format.profile import b64
from federation.format.signing import EVENT
from tools.federation_vectors import curve
from tools.federation_vectors.case import NET, NODE, OTHER, ROOT, T0, Case
from tools.federation_vectors.chain import expected, steps
from tools.federation_vectors.writer import Writer, hard, seeded, soft, text

if TYPE_CHECKING:
    from federation.format.event import Event
    from federation.format.signing import Signer

__all__ = ["cases", "proof", "resigned"]

_NOW = T0 + 100
_BOTH = [ROOT.public, OTHER.public]


def proof(one: Event, other: Event) -> tuple[str, dict[str, Any]]:
    """Return kind and body of a fork proof."""
    return "proof.fork", {"a": b64(one.line), "b": b64(other.line)}


def resigned(signer: Signer, event: Event) -> Event:
    """Return the event with another valid signature of the same bytes."""
    scalar, secret = 12345, curve.secret_of(signer.seed)
    r = curve.packed(curve.times(scalar, curve.BASE))
    hashed = curve.challenge(r, signer.public, EVENT + event.raw)
    s = (scalar + hashed * secret) % curve.L
    signature = b64(r + s.to_bytes(32, "little")).encode()
    return parse(b"%s %s\n" % (signature, event.raw), NET)


def _branches(st: str = "h", inc: int = T0) -> tuple[Writer, Writer]:
    """Return two logs that share their first event."""
    say = hard if st == "h" else soft
    one = Writer(ROOT, st, inc=inc)
    one.add(say(1))
    other = one.branch(1)
    one.add(say(2))
    one.add(say(3))
    other.add(say(4))
    return one, other


def cases() -> list[Case]:
    """Return the vectors."""
    return [*_met(), *_proven(), *_not_proven(), *_frozen(), *_recovered()]


def _met() -> list[Case]:
    one, other = _branches()
    root, two, three = one.events
    left = [root]
    second = resigned(ROOT, two)
    return [
        Case(
            "long_branch_first",
            steps((_NOW, one.events), (_NOW, other.events)),
            expected(["ok ok ok", "dup fork"], [one.entry(1)], left),
            "The log ends before the fork; what was stored behind it is not shown.",
        ),
        Case(
            "short_branch_first",
            steps((_NOW, other.events), (_NOW, one.events)),
            expected(["ok ok", "dup fork fork"], [one.entry(1)], left),
            "The other order ends in the same state.",
        ),
        Case(
            "at_the_first_event",
            steps((_NOW, [root]), (_NOW, [Writer(ROOT, "h").add(hard(9))])),
            expected(["ok", "fork"], [], []),
            "A log that is forked at seq 1 has nothing left.",
        ),
        Case(
            "other_signature",
            steps((_NOW, [root, two]), (_NOW, [second, three])),
            expected(["ok ok", "dup ok"], [one.entry()], one.events),
            "The signature is not in the id: the same bytes are the same event.",
        ),
        Case(
            "tail_on_other_branch",
            steps((_NOW, one.events[:2]), (_NOW, [other.add(hard(5))])),
            expected(["ok ok", "bad-chain"], [one.entry(2)], one.events[:2]),
            "seq 3 of the other branch alone proves nothing: two events with one"
            " number do.",
        ),
    ]


def _proven() -> list[Case]:
    one, other = _branches()
    root, two, _ = one.events
    told = Writer(OTHER, "c")
    told.add(proof(two, other.events[1]))
    late = one.branch(3)
    late.add(hard(7))
    low = Writer(ROOT, "h")
    low.add(hard(9))
    lower = told.branch(1)
    lower.add(proof(root, low.events[0]))
    return [
        Case(
            "proof_after_the_branch",
            steps((_NOW, one.events), (_NOW, told.events), admit=_BOTH),
            expected(["ok ok ok", "ok"], [one.entry(1), told.entry()], [root]),
            "Anybody may publish the proof.",
        ),
        Case(
            "proof_before_the_branch",
            steps((_NOW, told.events), (_NOW, one.events), admit=_BOTH),
            expected(["ok", "ok fork fork"], [one.entry(1), told.entry()], [root]),
            "Nothing behind a proven fork is taken.",
        ),
        Case(
            "lower_proof",
            steps((_NOW, [*one.events, *lower.events]), admit=_BOTH),
            expected(["ok ok ok ok ok"], [lower.entry()], []),
            "Of several proofs the one with the lowest number counts.",
        ),
        Case(
            "higher_proof_later",
            steps(
                (_NOW, [*one.events, low.events[0], *told.events]),
                admit=_BOTH,
            ),
            expected(["ok ok ok fork ok"], [told.entry()], []),
            "A higher one changes nothing.",
        ),
        Case(
            "continued_after_the_proof",
            steps(
                (_NOW, [*one.events, *told.events]),
                (_NOW, [late.events[3]]),
                admit=_BOTH,
            ),
            expected(["ok ok ok ok", "fork"], [one.entry(1), told.entry()], [root]),
            "A forked log does not go on.",
        ),
    ]


def _not_proven() -> list[Case]:
    one, other = _branches()
    _, two, three = one.events
    soft_one, _ = _branches("s")
    edited = other.events[1]
    raw = edited.raw.replace(b'"cnt":1', b'"cnt":2')
    signature = text(edited).partition(" ")[0].encode()
    forged = parse(b"%s %s\n" % (signature, raw), NET)
    wrong = {
        "proof_same_event": (proof(two, two), "Both lines are one event."),
        "proof_same_event_signed_twice": (
            proof(two, resigned(ROOT, two)),
            "Two signatures of the same bytes are one event.",
        ),
        "proof_other_number": (proof(two, three), "The numbers differ."),
        "proof_other_stream": (
            proof(two, soft_one.events[1]),
            "The streams differ, so these are two logs.",
        ),
        "proof_edited": (
            proof(two, forged),
            "The second line is edited: its signature is not valid.",
        ),
    }
    found = []
    for name, (said, why) in wrong.items():
        told = Writer(OTHER, "c")
        told.add(said)
        found.append(
            Case(
                name,
                steps((_NOW, [*one.events, *told.events]), admit=_BOTH),
                expected(["ok ok ok ok"], [one.entry(), told.entry()], one.events),
                f"{why} The event is stored without weight.",
            )
        )
    return found


def _frozen() -> list[Case]:
    hard_one, hard_other = _branches()
    soft_one, soft_other = _branches("s")
    control = Writer(ROOT, "c")
    control.add(("ctl.org", {"name": "A"}))
    second = Writer(ROOT, "c")
    second.add(("ctl.org", {"name": "B"}))
    node = Writer(NODE, "c", org=ROOT.public)
    node.add(("ctl.refuse", {"peer": b64(OTHER.public), "why": "lies"}))
    node_other = Writer(NODE, "c", org=ROOT.public)
    node_other.add(("ctl.refuse", {"peer": b64(OTHER.public), "why": "abuse"}))
    granted = control.branch(1)
    granted.add(("ctl.grant", {"key": b64(NODE.public), "label": "one"}))
    told = Writer(OTHER, "c")
    for st, say in (("h", hard), ("s", soft)):
        stranger = (Writer(seeded(7), st, org=ROOT.public).add(say(n)) for n in (1, 2))
        told.add(proof(*stranger))
    return [
        Case(
            "two_logs_forked",
            steps(
                (_NOW, [*hard_one.events, *soft_one.events]),
                (_NOW, [hard_other.events[1], soft_other.events[1]]),
            ),
            expected(
                ["ok ok ok ok ok ok", "fork fork"],
                [hard_one.entry(1), soft_one.entry(1)],
                [],
                frozen=[ROOT.public],
            ),
            "One fork is an accident. After a second one nothing of the organisation"
            " counts, until the operator of this node has looked at it.",
        ),
        Case(
            "control_log_of_the_root_forked",
            steps((_NOW, [*control.events, *hard_one.events]), (_NOW, second.events)),
            expected(
                ["ok ok ok ok", "fork"], [hard_one.entry()], [], frozen=[ROOT.public]
            ),
            "Who the organisation is cannot be told any more.",
        ),
        Case(
            "control_log_of_a_node_forked",
            steps(
                (_NOW, [*granted.events, *node.events, *hard_one.events]),
                (_NOW, node_other.events),
            ),
            expected(
                ["ok ok ok ok ok ok", "fork"],
                [granted.entry(), hard_one.entry()],
                hard_one.events,
            ),
            "A node's key says nothing about identities: a fork like any other.",
        ),
        Case(
            "fork_by_a_stranger",
            steps(
                (_NOW, [*hard_one.events, *told.events]),
                admit=_BOTH,
            ),
            expected(
                ["ok ok ok ok ok"],
                [hard_one.entry(), told.entry()],
                hard_one.events,
            ),
            "Forks of a key that the organisation did not grant are not its forks.",
        ),
    ]


def _recovered() -> list[Case]:
    one, other = _branches()
    new = Writer(ROOT, "h", inc=T0 + 50)
    new.add(hard(2))
    control = Writer(ROOT, "c")
    control.add(
        ("ctl.open", {"key": b64(ROOT.public), "st": "h", "inc": T0 + 50}), ts=T0 + 50
    )
    forked = [*one.events, other.events[1]]
    softly = Writer(ROOT, "s", inc=T0 + 50)
    softly.add(soft(1))
    return [
        Case(
            "new_incarnation_not_opened",
            steps((_NOW, [*forked, *new.events, *softly.events])),
            expected(
                ["ok ok ok fork ok ok"],
                [one.entry(1), new.entry(), softly.entry()],
                [one.events[0], *softly.events],
            ),
            "After a fork a new incarnation of this stream has no weight before the"
            " root announces it; other streams keep theirs.",
        ),
        Case(
            "new_incarnation_opened",
            steps((_NOW, [*forked, *new.events]), (_NOW, control.events)),
            expected(
                ["ok ok ok fork ok", "ok"],
                [control.entry(), one.entry(1), new.entry()],
                [one.events[0], *new.events],
            ),
            "ctl.open of the root gives weight to it, also afterwards.",
        ),
    ]

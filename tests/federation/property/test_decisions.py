"""Decisions are a function of the set of claims, and the security statement holds."""

from hypothesis import given
from hypothesis import strategies as st

from federation.log.claim import Claim
from federation.trust.audit import Sign, records
from federation.trust.benefit import Met, benefit
from federation.trust.decision import LIFE, Outcome, Own, Rules, decide
from federation.trust.levels import FULL, Level, Standing, Trust
from federation.trust.scores import claimed
from tests.support.federated import DAY, HOUR, NOW

ORGS = [bytes([n]) * 32 for n in range(6)]
RULES = Rules()

times = st.integers(0, 200 * 24).map(lambda hours: NOW - hours * HOUR)


@st.composite
def claims(draw, orgs=tuple(ORGS)):
    found = []
    for n in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from([*LIFE, "rcpt.hard", "rcpt.hard", "xfoo.bar"]))
        ts = draw(times)
        body = {"last": draw(st.one_of(st.just(ts), times))}
        if kind in {"rcpt.hard", "rcpt.soft"}:
            body |= {"via": draw(st.sampled_from(["smtp", "dsn"]))}
            body |= {"cnt": draw(st.integers(1, 9999))}
        if kind == "rcpt.complaint":
            body = {}
        org = draw(st.sampled_from(orgs))
        ident = n.to_bytes(32)
        found.append(Claim(org, org, "h", 0, n + 1, ident, kind, body, ts, ts))
    return found


@st.composite
def tables(draw, levels=tuple(Level)):
    standing = st.builds(
        Standing, st.sampled_from(levels), st.sampled_from(["", "g", "h"])
    )
    table = draw(st.dictionaries(st.sampled_from(ORGS), standing))
    shares = draw(st.dictionaries(st.sampled_from(ORGS), st.integers(0, FULL)))
    return Trust(table, shares)


own = st.builds(Own, st.one_of(st.just(0), times), st.one_of(st.just(0), times))


@given(claims(), own, tables(), st.data())
def test_order_and_repetition_change_nothing(found, mine, table, data):
    first = decide(found, mine, table, NOW, RULES)
    shuffled = data.draw(st.permutations(found + found[: len(found) // 2]))
    assert decide(shuffled, mine, table, NOW, RULES) == first
    # In two parts that were apart for long, as after a partition.
    half = len(found) // 2
    assert decide(found[half:] + found[:half], mine, table, NOW, RULES) == first


@given(claims(), claims(orgs=(b"x" * 32, b"y" * 32, ORGS[5])), own, tables())
def test_unknown_keys_change_nothing(found, noise, mine, table):
    unbelieved = [one for one in noise if not table.weight(one.org)]
    # Their ids are their own.
    unbelieved = [
        Claim(c.org, c.key, c.st, 0, c.seq, c.org, c.k, c.body, c.ts, c.recv)
        for c in unbelieved
    ]
    assert decide(found + unbelieved, mine, table, NOW, RULES) == decide(
        found, mine, table, NOW, RULES
    )


@given(claims(), tables(levels=(Level.SEEN, Level.KNOWN, Level.TRUSTED)), own)
def test_one_group_cannot_suppress_what_we_did_not_see_bounce(found, table, mine):
    """With honest silence around it, whatever one compromised group says."""
    groups = {table.group(org) for org in ORGS if table.weight(org)}
    for group in groups:
        alone = [one for one in found if table.group(one.org) == group]
        verdict = decide(alone, mine, table, NOW, RULES)
        if not mine.hard:
            assert verdict.outcome is not Outcome.SUPPRESS
        assert verdict.rule != "D3"


@given(claims(), tables(levels=(Level.SEEN, Level.KNOWN, Level.TRUSTED)), st.data())
def test_k_groups_do_not_reach_a_quorum_of_k_plus_one(found, table, data):
    groups = sorted({table.group(org) for org in ORGS if table.weight(org)})
    k = data.draw(st.integers(0, len(groups)))
    liars = set(groups[:k])
    said = [one for one in found if table.group(one.org) in liars]
    verdict = decide(said, Own(), table, NOW, Rules(quorum=k + 1))
    assert verdict.outcome is not Outcome.SUPPRESS


@given(claims(), tables(), own)
def test_own_evidence_goes_first(found, table, mine):
    verdict = decide(found, mine, table, NOW, RULES)
    if mine.hard > mine.ok and NOW - mine.hard <= 180 * DAY:
        assert verdict.rule == "D2"
    if mine.ok > max(mine.hard, NOW - 1, *(one.ts for one in found), 0):
        assert verdict.outcome is Outcome.ALLOW
    closed = decide(found, mine, table, NOW, Rules(remote=False))
    assert closed == decide([], mine, table, NOW, RULES)


@given(claims(), tables(), st.integers(0, 180))
def test_evidence_is_bounded_and_hard_claims_alone_only_fade(found, table, days):
    hard = [one for one in found if one.k == "rcpt.hard"]
    now = decide(hard, Own(), table, NOW, RULES).e
    later = decide(hard, Own(), table, NOW + days * DAY, RULES).e
    assert 0 <= later <= now <= 200_000 * len(ORGS)


@given(claims(), tables(), st.data())
def test_audit_benefit_and_scores_do_not_know_an_order(found, table, data):
    signs = [Sign(bool(n % 2), NOW - n * DAY) for n in range(0, 60, 7)]
    shuffled = data.draw(st.permutations(found))
    tags = [(found[::2], signs), (found[1::2], signs)]
    turned = [(found[1::2][::-1], signs[::-1]), (found[::2][::-1], signs[::-1])]
    assert records(tags, table) == records(turned, table)
    stops = [NOW - 3 * DAY, NOW]
    assert benefit([Met(found, signs, stops)], table) == benefit(
        [Met(shuffled, signs[::-1], stops[::-1])], table
    )
    begin = NOW - NOW % DAY - DAY
    days = [
        Claim(
            one.org, one.org, "s", 0, 1, one.id, "stat.score",
            {"from": begin, "sent": n, "hard": 0, "soft": 0, "cmpl": 0, "supp": 0},
            one.ts, one.ts,
        )
        for n, one in enumerate(found)
    ]  # fmt: skip
    assert claimed(days, NOW) == claimed(data.draw(st.permutations(days)), NOW)

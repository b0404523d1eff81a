"""Attack 54: a trusted organisation calls dead addresses alive."""

from federation.trust.decision import Outcome, Own, Rules, decide
from federation.trust.levels import Level, Standing, Trust
from tests.support.federation_store import NOW, Node, facts
from tools.federation_vectors.case import T0
from tools.federation_vectors.writer import Writer, hard, seeded

LIAR, ONE, TWO = seeded(1), seeded(2), seeded(3)
HOUR = 3600


def test_a54_costs_one_bounce_each_and_then_own_evidence_wins():
    node = Node(1).admit(LIAR.public, ONE.public, TWO.public)
    for signer in (ONE, TWO):
        node.take(facts(signer, range(5), signer.public))
    lies = Writer(LIAR, "s", inc=T0 + 100)
    for tag in range(5):
        _, body = hard(tag)
        hour = (T0 + HOUR) - (T0 + HOUR) % HOUR
        lies.add(("rcpt.ok", {"pk": body["pk"], "r": body["r"], "last": hour}))
    table = {one.public: Standing(Level.TRUSTED, since=NOW) for one in (LIAR, ONE, TWO)}
    trust, rules = Trust(table), Rules()

    def outcome(tag, own):
        claims = node.store.claims([tag.to_bytes(16)])
        return decide(claims, own, trust, NOW, rules).outcome

    before = [outcome(tag, Own()) for tag in range(5)]
    assert set(before) == {Outcome.SUPPRESS}
    node.take(lies.events)
    after = [outcome(tag, Own()) for tag in range(5)]
    # At most released, so one message is tried: its bounce is our own evidence,
    # and no number of lies is heard against it.
    assert set(after) <= {Outcome.ALLOW, Outcome.CAUTION}
    assert {outcome(tag, Own(hard=NOW)) for tag in range(5)} == {Outcome.SUPPRESS}

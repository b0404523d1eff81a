"""The security statement, on whole hosts.

With a quorum of two and nobody trusted alone, one compromised trusted organisation
cannot suppress an address that we have not seen bounce ourselves. Any number of
unknown keys changes nothing. Nobody outside can block one of our senders. The same
over random claims: tests/federation/property/test_decisions.py.
"""

import random

import pytest

from federation.format.profile import b64
from federation.trust.decision import Outcome
from federation.trust.shaperlink import Projection, connect
from tests.support.federated import DAY, NOW, Host

WHO = [f"{n}@example.org" for n in range(12)]
KINDS = ["rcpt.hard", "rcpt.hard", "rcpt.soft", "rcpt.complaint", "rcpt.ok"]


def everything(host: Host, seed: int) -> list:
    """Return what a host can say about all of WHO, again and again for weeks."""
    dice = random.Random(seed)
    return [
        host.says(dice.choice(KINDS), who, NOW - day * DAY)
        for day in range(12, -1, -2)
        for who in WHO
    ]


@pytest.mark.parametrize("seed", range(3))
def test_one_compromised_trusted_organisation_suppresses_nothing(seed):
    with Host() as us, Host("mallory") as mallory, Host("honest") as honest:
        us.believe(mallory, "trusted")
        us.believe(honest, "trusted")
        # It brings along whom it likes ...
        for n in range(5):
            with Host(f"puppet{n}") as puppet:
                peer = {"peer": b64(puppet.org), "name": "honest"}
                us.hear(mallory.own.append("ctl.peer", peer, NOW - 13 * DAY))
                us.hear(*everything(puppet, seed + n))
        # ... and says all it can.
        us.hear(*everything(mallory, seed))
        for day in range(30):
            for who in WHO:
                assert us.verdict(who, NOW + day * DAY).outcome is not Outcome.SUPPRESS
        # What we saw bounce ourselves is suppressed without anybody.
        us.fact("bounce", address=WHO[0])
        assert us.verdict(WHO[0]).rule == "D2"


async def test_unknown_keys_change_nothing_of_what_the_shaper_reads(redis_url):
    client = connect(redis_url)
    with Host() as us, Host("friend") as friend, Host("other") as other:
        us.believe(friend, "trusted")
        us.believe(other, "known")
        us.hear(*everything(friend, 1), *everything(other, 2))
        us.hear(friend.says("send.blocked", "joe@us.example"))
        us.fact("bounce", address=WHO[3])
        there = Projection(client, "t", us.store, us.evidence, us.judge)
        await there.rebuild(NOW)
        names = ("recipients", "senders")
        before = [await client.hgetall(f"t:federation:{name}") for name in names]
        assert all(before)
        for n in range(20):
            with Host(f"stranger{n}") as stranger:
                peer = {"peer": b64(stranger.org)}
                us.hear(friend.own.append("ctl.peer", peer, NOW))
                codes = us.hear(*everything(stranger, n))
                assert "ok" in codes  # stored and passed on all the same
                us.hear(stranger.says("send.blocked", "joe@us.example"))
                us.hear(stranger.says("send.blocked", "ann@us.example"))
        us.judge.audit(NOW)
        for again in (there.follow, there.rebuild):
            await again(NOW)
            after = [await client.hgetall(f"t:federation:{name}") for name in names]
            assert after == before
    await client.aclose()


async def test_nobody_outside_can_block_one_of_our_senders(redis_url):
    """Whatever is said: the daemon writes nothing but watchfulness into Redis."""
    client = connect(redis_url)
    with Host() as us, Host("mallory") as mallory:
        us.believe(mallory, "sole")
        us.hear(*everything(mallory, 1))
        us.hear(mallory.says("send.blocked", "joe@us.example"))
        there = Projection(client, "t", us.store, us.evidence, us.judge)
        await there.heartbeat(us.peppers, NOW)
        await there.rebuild(NOW)
        keys = sorted([key.decode() async for key in client.scan_iter()])
        assert keys == [
            f"t:federation:{name}"
            for name in ("alive", "epoch", "peppers", "recipients", "senders")
        ]
    await client.aclose()

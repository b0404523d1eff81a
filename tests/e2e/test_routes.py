"""Two next hops behind real Postfix: what it does with "send separately"."""

import asyncio

import pytest

from tests.support.nexthop import NextHop
from tests.support.road import road
from tests.support.submit import submit

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

NEAR, FAR = "near@example.net", "far@orange.fr"


async def both_arrive(way, other):
    async with asyncio.timeout(20):
        while not (way.hop.transactions and other.transactions):
            await asyncio.sleep(0.05)
    assert [t.recipients for t in way.hop.transactions] == [[NEAR]]
    assert [t.recipients for t in other.transactions] == [[FAR]]


async def test_postfix_sends_the_other_route_separately_and_each_once():
    async with road("reinject") as way, NextHop() as other:
        await way.begin()
        place = f"127.0.0.1:{other.port}"
        await way.daemon.change("route.add", route="orange", next_hop=place)
        await submit(way.submission, account=way.account, recipients=[NEAR, FAR])
        line = await way.logged("4.5.3")
        assert "status=deferred" in line
        way.postfix.flush()  # Postfix' own pace: minimal_backoff_time
        await both_arrive(way, other)
        await way.daemon.change("route.remove", route="orange")
        way.hop.reset()
        await submit(way.submission, account=way.account, recipients=[FAR])
        (got,) = await way.hop.wait_for(1)
        assert got.recipients == [FAR]


async def test_with_itself_as_fallback_postfix_does_not_wait():
    async with road("reinject") as way, NextHop() as other:
        await way.begin()
        again = f"shaper/unix/smtp_fallback_relay=[127.0.0.1]:{way.tap.port}"
        way.postfix.command("postconf", "-P", again)
        way.postfix.reload()
        place = f"127.0.0.1:{other.port}"
        await way.daemon.change("route.add", route="orange", next_hop=place)
        await submit(way.submission, account=way.account, recipients=[NEAR, FAR])
        await both_arrive(way, other)
        assert "status=deferred" not in way.postfix.log()

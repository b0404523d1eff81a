"""A dead recipient in front of real Postfix, re-injecting: refused, told, freed."""

import asyncio

import pytest
import pytest_asyncio

from tests.support.road import road
from tests.support.submit import submit

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

DEAD = "dead@example.net"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared():
    async with road("reinject") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def way(shared):
    await shared.begin()
    return shared


async def send(way, *recipients):
    return await submit(way.submission, account=way.account, recipients=recipients)


async def test_the_dead_one_bounces_with_reason_and_way_out_the_others_arrive(way):
    await way.daemon.change("suppress.add", address=DEAD, reason="moved away")
    await send(way, "one@example.net", DEAD, "two@example.net")
    line = await way.logged("is suppressed here (mailshaper)")
    assert "status=bounced" in line
    assert "said: 550" in line
    assert "Reason: entered by the operator, since" in line
    assert f"mailshaper suppress remove {DEAD}" in line
    got = await way.hop.wait_for(1)
    arrived = {r for t in got for r in t.recipients}
    assert DEAD not in arrived
    async with asyncio.timeout(15):
        while not {"one@example.net", "two@example.net"} <= arrived:
            await asyncio.sleep(0.05)
            arrived = {r for t in way.hop.transactions for r in t.recipients}


async def test_all_recipients_dead_is_no_message_and_still_told(way):
    await send(way, DEAD)
    line = await way.logged("is suppressed here (mailshaper)")
    assert "status=bounced" in line
    assert DEAD not in {r for t in way.hop.transactions for r in t.recipients}


async def test_removed_it_is_written_to_at_once(way):
    await way.daemon.change("suppress.remove", address=DEAD, reason="is back")
    await send(way, DEAD)
    async with asyncio.timeout(15):
        while DEAD not in {r for t in way.hop.transactions for r in t.recipients}:
            await asyncio.sleep(0.05)


async def test_the_list_survives_a_crash_of_the_daemon(way):
    await way.daemon.change("suppress.add", address=DEAD, reason="again")
    await asyncio.sleep(0)
    way.daemon.kill()
    way.daemon.start()
    await send(way, DEAD)
    assert "bounced" in await way.logged("is suppressed here (mailshaper)")

"""Every alarm of a real engine can be computed again from the journal alone."""

import copy
import json

import pytest

from shaper.admin_arguments import Arguments
from shaper.admin_proofs import proof_commands
from shaper.core.evidence import Evidence, Level
from shaper.core.message import Action
from shaper.core.ports import SpoolFullError
from shaper.core.proof import check
from tests.support.engine import EngineBox
from tests.support.office import office


@pytest.fixture
async def box(redis_url, tmp_path):
    async with EngineBox(redis_url, tmp_path) as engine_box:
        yield engine_box


async def alarmed(box, sender):
    """Give a sender a past, then blast until it is held."""
    for day in range(5):
        box.now += 86400 - day
        await box.offer(sender, ["friend@example.net", f"d{day}@example.org"])
    for _ in range(100):
        if await box.blast(sender, 1) == 0:
            return
    pytest.fail("never held")


def lines(box):
    return [x for x in box.audit.replay() if x["event"] == "evidence"]


async def verify(box, **arguments):
    table = proof_commands(box.audit.replay)
    answer = await table["audit.verify"](Arguments(arguments), "root")
    rows = [row async for row in answer.rows]
    return answer.result(), rows


async def test_each_alarm_is_computed_the_same_after_a_crash(box):
    await alarmed(box, "login:thief")
    await alarmed(box, "uid:33")
    cases = await box.control.cases()
    (case,) = [c for c in cases if c["sender"] == "login:thief"]
    await box.crash()
    total, rows = await verify(box)
    assert total == {"alarms": 2, "same": 2}
    assert [row["sender"] for row in rows] == ["login:thief", "uid:33"]
    assert rows[0]["case"] == case["id"]
    assert Evidence.from_json(rows[0]["again"]).level >= Level.SLOW
    assert rows[0]["says"] == case["why"]
    total, rows = await verify(box, sender=case["id"])
    assert total["alarms"] == 1


async def test_a_login_from_elsewhere_is_part_of_what_is_kept(box):
    await alarmed(box, "login:thief")
    await alarmed(box, "uid:33")
    by_login, by_uid = (line["proof"]["network"] for line in lines(box))
    assert 1 <= by_login <= 0xFFFF
    assert by_uid == 0


async def test_no_address_is_in_what_is_kept(box):
    await alarmed(box, "login:thief")
    (line,) = lines(box)
    assert "example" not in json.dumps(line["proof"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: p.update(now=p["now"] + 3600), "was written as"),
        (lambda p: p["recipients"].append("00000000000000ff"), "was written as"),
        (lambda p: p["evidence"].update(total=3.0), "was written as"),
        (lambda p: p["evidence"].update(main="volume 6 h"), "main part"),
        (lambda p: p["evidence"]["parts"].pop(), "other parts"),
        (lambda p: p["evidence"].update(level="watch"), "level"),
        (lambda p: p.update(arithmetic=1), "another version"),
        (lambda p: p.update(profile="AAAA"), "cannot be read"),
        (lambda p: p.update(profile="ö"), "cannot be read"),
        (lambda p: p.update(model=p["profile"]), "cannot be read"),
        (lambda p: p.pop("recipients"), "cannot be read"),
        (lambda p: p.update(now=None), "cannot be read"),
    ],
)
async def test_a_line_that_was_changed_is_found(box, change, says):
    await alarmed(box, "login:thief")
    (line,) = lines(box)
    assert check(line["proof"]).same
    changed = copy.deepcopy(line["proof"])
    change(changed)
    found = check(changed)
    assert not found.same
    assert says in found.why


async def test_a_full_disk_costs_the_proof_and_not_the_alarm(box):
    class Full:
        def __init__(self, audit):
            self._audit = audit

        def __getattr__(self, name):
            return getattr(self._audit, name)

        async def append(self, event, **fields):
            if event == "evidence":
                raise SpoolFullError("no room")
            await self._audit.append(event, **fields)

    box.wrap = lambda name, adapter: Full(adapter) if name == "audit" else adapter
    await box.stop()
    await box.start()
    await alarmed(box, "login:thief")
    assert not lines(box)
    assert await box.state("login:thief") == "slowed"
    decision = await box.offer("login:thief", ["x@example.net"])
    assert decision.action is Action.HOLD


async def test_the_command_line_computes_again_and_its_status_tells(
    redis_url, tmp_path
):
    async with office(redis_url, tmp_path) as place:
        await place.steal("login:alice", "news")
        done = await place.cli("audit", "--verify")
        assert done.code == 0, done
        assert "login:alice  c1  same." in done.out
        assert "Alarms: 1, computed the same: 1." in done.out
        (row,) = (await place.cli("audit", "--verify", "--json")).rows()
        assert row["same"]
        assert row["again"] == row["written"]
        assert (await place.cli("audit", "--verify", "--sender", "bob")).code == 0
        (line,) = [x for x in place.audit.replay() if x["event"] == "evidence"]
        forged = line["proof"] | {"now": line["proof"]["now"] + 9999}
        await place.audit.append("evidence", sender="login:x", case="c9", proof=forged)
        done = await place.cli("audit", "--verify")
        assert done.code == 1
        assert "login:x  c9  differs: " in done.out
        assert "Alarms: 2, computed the same: 1." in done.out
        plain = (await place.cli("audit")).out
        assert "profile" not in plain

"""No end of data but CR LF "." CR LF, seen from both sides of the hop."""

import pytest

from shaper.core.message import Action
from tests.support.gate import hop_before

FORMS = [
    b"\n.\n",
    b"\n.\r",
    b"\r.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\0.\r\n",
]
SMUGGLED = b"MAIL FROM:<ceo@x>\r\nRCPT TO:<victim@y>\r\nDATA\r\nSubject: pay\r\n\r\nnow"
FILLER = b"f" * 70 + b"\r\n"


@pytest.fixture
async def stage(next_hop, tmp_path):
    async with hop_before(next_hop.port, tmp_path) as stage:
        yield stage


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("lines", [0, 3000], ids=["at once", "while streaming"])
@pytest.mark.parametrize("action", [Action.PASS, Action.HOLD])
async def test_a_smuggling_form_ends_nothing_and_leaves_nothing(
    stage, next_hop, tmp_path, form, lines, action
):
    stage.gate.action = action
    client = await stage.connect()
    wire = b"Subject: x\r\n\r\n" + FILLER * lines + form + SMUGGLED + b"\r\n"
    answer = await client.mail(wire)
    assert answer.startswith(b"554 5.5.2 ")
    # One reply: the smuggled commands were content, and the conversation is in
    # step afterwards.
    stage.gate.action = Action.PASS
    assert (await client.mail(b"Subject: next\r\n\r\nx\r\n")).startswith(b"250 ")
    (taken,) = await next_hop.wait_for(1)
    assert b"next" in taken.wire
    assert [c for c in next_hop.commands if b"ceo" in c] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMS)
async def test_octet_by_octet_it_is_the_same(stage, next_hop, form):
    client = await stage.connect()
    await client.open_mail()
    for octet in b"Subject: x\r\n\r\ny" + form + b"z\r\n.\r\n":
        await client.send(bytes((octet,)))
    assert (await client.reply()).startswith(b"554 5.5.2 ")
    assert next_hop.transactions == []


async def test_commands_behind_the_real_end_are_a_second_message(stage, next_hop):
    client = await stage.connect()
    await client.open_mail()
    await client.send(b"a\r\n.\r\n" + SMUGGLED + b"\r\n.\r\n")
    answers = [(await client.reply())[:3] for _ in range(5)]
    assert answers == [b"250", b"250", b"250", b"354", b"250"]
    assert len(next_hop.transactions) == 2

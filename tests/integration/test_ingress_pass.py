"""Passing mail: bytes, parameters and replies go through as they came."""

import asyncio

import pytest

from shaper.core.message import Action
from tests.support.gate import Stage, hop_before
from tests.support.nexthop import DROP, HANG, MODERN, NextHop

BODY = b"Subject: hi\r\nFrom: Alice <alice@example.test>\r\n\r\nHello\r\n..dot\r\n"


@pytest.fixture
async def stage(next_hop, tmp_path):
    async with hop_before(next_hop.port, tmp_path) as stage:
        yield stage


def trace_removed(wire: bytes) -> bytes:
    head, _, rest = wire.partition(b"\r\n\t")
    assert head == b"Received: by hop.example.test (mailshaper) with ESMTP id ID1;"
    return rest.partition(b"\r\n")[2]


async def test_a_message_leaves_as_it_came_but_for_one_trace_field(stage, next_hop):
    client = await stage.connect()
    assert (await client.mail(BODY)).startswith(b"250 2.0.0 Ok: queued as 1")
    (taken,) = await next_hop.wait_for(1)
    assert trace_removed(taken.wire) == BODY
    assert taken.mail == b"MAIL FROM:<alice@example.test>\r\n"
    (submission,) = stage.gate.decided
    assert submission.subject == "hi"
    assert submission.author == "Alice <alice@example.test>"
    assert submission.sender == "from:alice@example.test"

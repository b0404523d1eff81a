"""A real Exim in front of the hop, and the two ways it tells the login."""

import pytest

from tests.support.exim import Exim
from tests.support.gate import hop_before
from tests.support.submit import ALICE, submit

pytestmark = pytest.mark.e2e

FIELD = (
    "  headers_remove = X-Shaper-Login\n"
    "  headers_add = ${if def:authenticated_id{X-Shaper-Login: "
    "login:$authenticated_id}fail}"
)
PARAMETER = (
    "  authenticated_sender = $authenticated_id\n  authenticated_sender_force = true"
)
FORGED = (
    b"X-Shaper-Login: login:victim@example.test\r\nSubject: hi\r\n\r\nna\xc3\xafve\r\n"
)


async def test_the_login_field_of_exim_decides_and_is_removed(next_hop, tmp_path):
    async with hop_before(
        next_hop.port, tmp_path, login_header="X-Shaper-Login"
    ) as stage:
        with Exim(relay=stage.port, transport=FIELD) as exim:
            await submit(exim.port, FORGED, account=ALICE, sender="ceo@victim.test")
            (taken,) = await next_hop.wait_for(1)
    assert stage.gate.decided[0].sender == "login:alice@example.test"
    assert b"x-shaper-login" not in taken.wire.lower()
    assert taken.content.endswith(b"\r\n\r\nna\xc3\xafve\r\n")


async def test_the_auth_parameter_of_exim_decides(next_hop, tmp_path):
    async with hop_before(next_hop.port, tmp_path, trust_auth_parameter=True) as stage:
        with Exim(relay=stage.port, transport=PARAMETER) as exim:
            await submit(exim.port, FORGED, account=ALICE, sender="ceo@victim.test")
            (taken,) = await next_hop.wait_for(1)
    assert stage.gate.decided[0].sender == "login:alice@example.test"
    # Nobody configured the field, so it is not ours to touch.
    assert b"X-Shaper-Login: login:victim" in taken.wire

"""The doctor as root, and a queue helper that hears one other user only."""

import asyncio
import os
import pwd

import pytest

from shaper.config import Settings
from shaper.doctor import asking
from shaper.doctor.finding import Level
from shaper.policy.queue import QueueHelper, QueueTroubleError
from tests.support import needs
from tests.support.postfix import Postfix
from tests.support.queue_helper import QueueHelperProcess

pytestmark = pytest.mark.e2e

USER = "nobody"


async def test_root_asks_as_the_user_that_is_heard():
    account = pwd.getpwnam(USER)
    postfix = ("--mta", "postfix", "--config")
    with (
        Postfix(relay=needs.free_port()) as mta,
        QueueHelperProcess(*postfix, mta.config, user=USER) as helper,
    ):
        # As the package's socket unit does: SocketUser, SocketMode.
        helper.socket.parent.chmod(0o711)
        os.chown(helper.socket, account.pw_uid, account.pw_gid)
        helper.socket.chmod(0o600)
        with pytest.raises(QueueTroubleError):
            await QueueHelper(helper.socket).states(["0" * 11])
        settings = Settings(policy={"queue_helper": str(helper.socket)})
        (found,) = await _helper(settings)
        assert found.level is Level.OK, found
        assert os.geteuid() == 0
        helper.stop()
        (found,) = await _helper(settings)
        assert found.level is Level.FAIL
        assert "mailshaper-queue.socket" in found.cure
        helper.socket.unlink()
        (found,) = await _helper(settings)
        assert found.level is Level.FAIL
        assert os.geteuid() == 0


async def _helper(settings):
    """Ask outside this loop: the doctor has one of its own."""
    return await asyncio.to_thread(asking.helper, settings)

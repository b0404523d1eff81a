"""The doctor as root: a queue helper that hears one other user, another instance."""

import asyncio
import json
import os
import pwd

import pytest

from shaper.cli.app import run
from shaper.config import Settings
from shaper.doctor import asking
from shaper.doctor.finding import Level
from shaper.policy.queue import QueueHelper, QueueTroubleError
from tests.support import needs, snippets
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


def test_another_instance_is_looked_at_by_the_environment_of_its_unit(
    tmp_path, monkeypatch, capsys
):
    unit = (snippets.CONF.parent / "debian/mailshaper@.service").read_text()
    page = (snippets.CONF.parent / "docs/setup.md").read_text()
    for kind, place in (("runtime", "/run"), ("state", "/var/lib")):
        name = f"MAILSHAPER_DAEMON__{kind.upper()}_DIRECTORY"
        assert f"{name}={place}/mailshaper-%i" in unit
        assert f"{name}={place}/mailshaper-second" in page
        monkeypatch.setenv(name, str(tmp_path / kind))
    file = tmp_path / "mailshaper.toml"
    file.write_text('[metrics]\nlisten = ""\n')
    assert run(["--config", str(file), "doctor", "--json"]) == 2
    wheres = [
        json.loads(line)["where"] for line in capsys.readouterr().out.splitlines()
    ]
    assert {
        str(tmp_path / "runtime/admin.sock"),
        str(tmp_path / "runtime/redis.sock"),
        str(tmp_path / "state"),
        str(tmp_path / "state/contact.key"),
    } <= set(wheres)
    assert not [one for one in wheres if one.startswith(("/run/", "/var/lib/"))]

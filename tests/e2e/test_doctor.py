"""The shipped snippets on a real Postfix and a real daemon: the doctor is content."""

import asyncio

import pytest

from shaper.cli import doctor
from shaper.cli.app import run
from shaper.config import Settings
from shaper.doctor import chain, exim, host, postconf, postfix
from shaper.doctor.finding import Level
from tests.support import needs, snippets
from tests.support.daemon import Daemon
from tests.support.exim import Exim
from tests.support.policy_road import policy_road
from tests.support.postfix import Postfix

pytestmark = pytest.mark.e2e


def bad(found):
    return [one.what for one in found if one.level in (Level.WARN, Level.FAIL)]


def test_the_snippet_satisfies_the_doctor_until_it_is_broken():
    back = f"127.0.0.1:{needs.free_port()}"
    settings = Settings(hop={"next_hop": back})
    with Postfix(relay=needs.free_port()) as mta:
        service = f"127.0.0.1:{mta.submission_port}/inet"
        snippets.apply("postfix/reinject.sh", mta.config, back=back, services=service)
        assert bad(postfix.check(postconf.read(str(mta.config)), settings)) == []
        mta.command("postconf", "-P", f"{back}/inet/content_filter=shaper:[::1]:1")
        what = bad(postfix.check(postconf.read(str(mta.config)), settings))
        assert any("goes round" in one for one in what)


def test_a_daemon_that_runs_and_one_that_does_not(tmp_path):
    with Daemon(needs.free_port()) as daemon:
        settings = Settings(
            hop={"listen": [f"127.0.0.1:{daemon.port}"]},
            policy={"listen": [f"127.0.0.1:{daemon.policy_port}"]},
            metrics={"listen": ""},
        )
        found = chain.check(settings, daemon.runtime / "admin.sock")
        assert [
            one for one in found if one.level is Level.OK and "XFORWARD" in one.what
        ]
        (what,) = bad(found)
        assert what.startswith("the next hop does not answer")
    found = chain.check(settings, tmp_path / "none.sock")
    assert "does not listen" in bad(found)[0]
    assert all(one.cure for one in found if one.level is Level.FAIL)


def test_a_wrong_configuration_fails(tmp_path, capsys):
    file = tmp_path / "mailshaper.toml"
    file.write_text("[hop]\nlisten = 3\n")
    assert run(["--config", str(file), "doctor", "-q"]) == 2
    assert "cure: " in capsys.readouterr().out


@pytest.mark.parametrize("by_unix", [False, True])
async def test_the_placement_policy_satisfies_the_doctor_until_it_is_broken(by_unix):
    main = {"authorized_submit_users": "root"}
    async with policy_road(main=main, by_unix=by_unix) as way:
        listen = f"127.0.0.1:{way.daemon.policy_port}"
        settings = Settings(
            daemon={"placement": "policy"},
            hop={"next_hop": f"127.0.0.1:{way.daemon.next_hop}"},
            policy={
                "listen": [str(way.socket) if by_unix else listen],
                "queue_helper": str(way.helper.socket),
            },
            metrics={"listen": ""},
        )
        config = str(way.postfix.config)

        def found():
            return [
                *postfix.check(postconf.read(config), settings),
                *chain.check(settings, way.daemon.runtime / "admin.sock"),
            ]

        assert bad(await asyncio.to_thread(found)) == []
        await way.daemon.change("block", sender=way.who)
        assert await way.send(("ann@example.net",)) == []
        assert len(way.on_hold()) == len(way.daemon.held()) == 1
        way.postfix.command("postconf", "-e", "maximal_queue_lifetime=12h")
        service = f"127.0.0.1:{way.postfix.submission_port}/inet"
        key = f"{service}/smtpd_recipient_restrictions=permit"
        way.postfix.command("postconf", "-P", key)
        way.helper.stop()
        life, stage, gone = sorted(bad(await asyncio.to_thread(found)))
        assert "12h" in life
        assert "recipients are not told" in stage
        assert "queue helper does not answer" in gone


def test_a_configuration_that_postfix_cannot_read_is_a_fault():
    with Postfix(relay=needs.free_port()) as mta:
        mta.command("postconf", "-e", "mine=$mine", "smtpd_banner=$mine")
        settings = Settings(daemon={"placement": "policy"})
        (found,) = doctor._mta(settings, mta.directory, str(mta.config), "")
    assert (found.level, "cannot be read: postconf" in found.what) == (Level.FAIL, True)
    assert "mine" in found.what


async def test_a_test_mail_goes_the_whole_way(next_hop):
    with Daemon(next_hop.port) as daemon:
        settings = Settings(
            hop={"listen": [f"127.0.0.1:{daemon.port}"]},
            notify={"mail_from": "admin@asso.example"},
        )
        (found,) = await asyncio.to_thread(chain.send, settings, "you@example.net")
        assert found.level is Level.OK
        (sent,) = await next_hop.wait_for(1)
        assert sent.recipients == ["you@example.net"]
        assert b"(mailshaper)" in sent.wire
        next_hop.on("rcpt", "550 5.1.1 nobody")
        (found,) = await asyncio.to_thread(chain.send, settings, "no@example.net")
        assert found.level is Level.FAIL
        assert "550 5.1.1 nobody" in found.what
        (found,) = await asyncio.to_thread(chain.send, settings, "a>\r\nRSET")
        assert "no mail address" in found.what


def test_a_real_redis_is_looked_at(redis_url, tmp_path):
    settings = Settings(
        redis={"url": redis_url},
        federation={"enabled": True},
        daemon={"state_directory": str(tmp_path)},
    )
    found = {one.what: one for one in host._redis(settings)}
    assert any(what.startswith("Redis ") and " ms" in what for what in found)
    assert any("federation daemon is not there" in what for what in found)
    gone = Settings(redis={"url": f"unix://{tmp_path}/none.sock"})
    (lost,) = host._redis(gone)
    assert lost.level is Level.FAIL


def test_a_real_exim_is_read():
    main = "auto_thaw = 2h\ntimeout_frozen_after = 1d\n"
    with Exim(relay=needs.free_port(), main=main) as mta:
        printed = exim.read((mta._binary, "-C", str(mta.config)))
    found = exim.check(printed, Settings(daemon={"placement": "policy"}))
    wheres = [one.where for one in found if one.level is Level.FAIL]
    assert wheres[:2] == ["auto_thaw", "timeout_frozen_after"]
    assert wheres[-1] == "Exim acl_not_smtp = acl_local"
    assert "2h" in found[0].what
    hop = exim.check(printed, Settings())
    assert any("no router" in one.what for one in hop)

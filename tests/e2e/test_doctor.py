"""The shipped snippets on a real Postfix and a real daemon: the doctor is content."""

import pytest

from shaper.cli.app import run
from shaper.config import Settings
from shaper.doctor import chain, postfix
from shaper.doctor.finding import Level
from tests.support import needs, snippets
from tests.support.daemon import Daemon
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
        assert bad(postfix.check(postfix.read(str(mta.config)), settings)) == []
        mta.command("postconf", "-P", f"{back}/inet/content_filter=shaper:[::1]:1")
        what = bad(postfix.check(postfix.read(str(mta.config)), settings))
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

"""What `setup exim` prints, run on a Debian host with a real Exim."""

from pathlib import Path

import pytest

from shaper.config import Settings
from shaper.doctor import exim as doctor
from shaper.doctor.finding import Level
from shaper.setup import exim as parts
from shaper.setup.machine import exim_split
from shaper.setup.pieces import State
from tests.support import needs, snippets
from tests.support.exim_debian import DebianExim

pytestmark = pytest.mark.e2e


def read(name):
    return (snippets.CONF / name).read_text()


def inside(exim, found):
    """Return pieces with the paths that they have on that host."""
    root = exim.directory
    return [
        type(one)(Path("/") / one.path.relative_to(root), one.text, one.state)
        for one in found
    ]


@pytest.mark.parametrize("split", [True, False])
def test_the_script_brings_all_parts_once(split):
    with DebianExim(world=needs.free_port(), split=split) as exim:
        etc = exim.directory / "etc/exim4"
        assert exim_split(etc) is split
        settings = Settings(
            hop={
                "listen": [f"127.0.0.1:{needs.free_port()}"],
                "next_hop": f"127.0.0.1:{exim.back_port}",
            }
        )
        for state in (State.MISSING, State.PRESENT):
            found = parts.pieces(settings, read, etc, split=split)
            assert {one.state for one in found} == {state}
            text = parts.script(inside(exim, found), Path("/etc/exim4"), split=split)
            exim.shell(text)
        assert text == "# Everything is there already."
        assert "router = mailshaper," in exim.route("bob@example.net")
        assert faults(exim, settings) == []
        (port,) = faults(exim, settings, hop={"listen": ["127.0.0.1:9"]})
        assert "hop.listen is 127.0.0.1:9" in port
        (router,) = faults(exim, settings, daemon={"placement": "watch"})
        assert "takes none in this placement" in router
        changed = etc / ("conf.d" if split else "mailshaper") / "retry/20_mailshaper"
        changed.write_text("# mine\n")
        found = parts.pieces(settings, read, etc, split=split)
        assert [one.state for one in found].count(State.DIFFERS) == 1
        text = parts.script(inside(exim, found), Path("/etc/exim4"), split=split)
        assert "differs: this replaces it" in text
        assert text.count("<<'END_OF_MAILSHAPER'") == 1
        exim.shell(text)
        assert "router = mailshaper," in exim.route("bob@example.net")


def faults(exim, settings, **changed):
    """Return what the doctor has against Exim's way, with sections changed."""
    sections = {
        "hop": {"listen": settings.hop.listen},
        "identity": {"login_header": "X-Shaper-Login"},
        "feedback": {"logs": ["/var/log/exim4/mainlog"]},
    }
    found = doctor.check(
        doctor.read(exim.inside("exim4")), Settings(**(sections | changed))
    )
    return [one.what for one in found if one.level is not Level.OK]


def judged(exim, settings):
    """Return what the doctor says of Exim's three ACLs, and of frozen mail."""
    found = doctor.check(doctor.read(exim.inside("exim4")), settings)
    asks = [one.level for one in found if "acl_" in one.where]
    return asks, [one.level for one in found if "acl_" not in one.where]


@pytest.mark.parametrize("split", [True, False])
def test_placement_policy_brings_its_own_parts_once(split):
    with DebianExim(world=needs.free_port(), split=split) as exim:
        etc = exim.directory / "etc/exim4"
        settings = Settings(
            daemon={"placement": "policy"},
            policy={"listen": [f"127.0.0.1:{(ask := needs.free_port())}"]},
            hop={"next_hop": f"127.0.0.1:{exim.back_port}"},
        )
        exim.shell("update-exim4.conf")
        # Frozen mail with an empty sender: two days in Debian.
        assert judged(exim, settings) == ([Level.FAIL] * 3, [Level.OK, Level.FAIL])
        for state in (State.MISSING, State.PRESENT):
            found = parts.pieces(settings, read, etc, split=split)
            assert len(found) == len(parts.POLICY_FILES)
            assert {one.state for one in found} == {state}
            text = parts.script(inside(exim, found), Path("/etc/exim4"), split=split)
            exim.shell(text)
        assert text == "# Everything is there already."
        (etc / found[0].path).write_text("# mine\n")
        found = parts.pieces(settings, read, etc, split=split)
        exim.shell(parts.script(inside(exim, found), Path("/etc/exim4"), split=split))
        used = exim.shell("exim4 -bP acl_smtp_rcpt acl_smtp_data acl_not_smtp")
        assert "acl_smtp_rcpt = acl_mailshaper_ask_rcpt" in used
        assert "acl_smtp_data = acl_mailshaper_ask_data" in used
        assert "acl_not_smtp = acl_mailshaper_ask_local" in used
        assert judged(exim, settings) == ([Level.OK] * 3, [Level.OK] * 2)
        moved = Settings(
            daemon={"placement": "policy"}, policy={"listen": ["127.0.0.1:9"]}
        )
        assert judged(exim, moved)[0] == [Level.FAIL] * 3
        asked = exim.shell("exim4 -bP macro MAILSHAPER_ASK")
        assert f"inet:127.0.0.1:{ask}" in asked
        if not split:
            template = (etc / "exim4.conf.template").read_text()
            assert template.count("mailshaper/acl/10_mailshaper_policy") == 1

"""What setup prints is the committed snippet with this machine's addresses."""

import socket
import subprocess
from pathlib import Path

import pytest

from shaper.cli.setup import _back, _filters, _services, _way
from shaper.config import Settings
from shaper.doctor import postconf
from shaper.doctor.finding import Level
from shaper.setup import exim, machine, render
from shaper.setup.pieces import State

CONF = Path(__file__).parents[2] / "conf"
SETTINGS = Settings(
    hop={"listen": ["127.0.0.1:11025"], "next_hop": "127.0.0.1:11026"},
    policy={"listen": ["127.0.0.1:11027"]},
)


def test_the_script_of_postfix_gets_our_addresses():
    text = render.postfix_script(
        (CONF / "postfix/reinject.sh").read_text(), SETTINGS, ["a/inet", "b/unix"]
    )
    for line in ("shaper=127.0.0.1:11025", "back=127.0.0.1:11026"):
        assert f"\n{line}" in text
    assert "\npolicy=inet:127.0.0.1:11027" in text
    assert '\nservices="a/inet b/unix"\n' in text


def test_the_macros_of_exim_get_our_ports():
    text = render.exim_macros(
        (CONF / "exim/conf.d/main/01_mailshaper").read_text(), SETTINGS
    )
    assert "\nMAILSHAPER_PORT = 11025\nMAILSHAPER_BACK = 11026\n" in text


def test_a_socket_is_named_as_each_mta_does():
    policy = (CONF / "postfix/policy.sh").read_text()
    exim = (CONF / "exim-policy/conf.d/main/01_mailshaper_policy").read_text()
    for path, queue, named in (
        ("/var/spool/postfix/shaper/ask", "/var/spool/postfix", "unix:shaper/ask"),
        ("/run/mailshaper/ask", "/var/spool/postfix", "unix:/run/mailshaper/ask"),
    ):
        settings = Settings(policy={"listen": [path]})
        text = render.postfix_script(policy, settings, ["a/inet"], queue)
        assert f"\npolicy={named} " in text
        asks = render.exim_policy_macros(exim, settings)
        assert f"\nMAILSHAPER_ASK = {path}\n" in asks


def test_what_asks_nobody_is_not_asked_for():
    master = "submission inet n - y - - smtpd\npickup unix n - y 60 1 pickup\n"
    master += "smtp inet n - y - - smtpd\n10587 inet n - y - - smtpd\n"
    known = postconf.parse("smtpd_sasl_auth_enable = yes\n", master, "")
    assert _services(known, "reinject") == [
        "submission/inet",
        "pickup/unix",
        "10587/inet",
    ]
    # Port 25 takes the mail of strangers, too.
    assert _services(known, "policy") == ["submission/inet", "10587/inet"]


def test_a_snippet_without_the_name_is_an_error():
    with pytest.raises(ValueError, match="back 0 times"):
        render.filled("x=1\n", back="y")


def test_another_next_hop_gets_the_script_without_services():
    text = render.postfix_script(
        (CONF / "postfix/next-hop.sh").read_text(), SETTINGS, ["a/inet"]
    )
    assert "\nshaper=127.0.0.1:11025" in text
    assert "services=" not in text


@pytest.mark.parametrize(
    ("more", "way"),
    [
        ({"hop": {"next_hop": "127.0.0.1:10026"}}, "reinject"),
        ({"hop": {"next_hop": "/run/hop.sock"}}, "reinject"),
        ({"hop": {"next_hop": "relay.example.net:25"}}, "next-hop"),
        ({"daemon": {"placement": "policy"}}, "policy"),
    ],
)
def test_the_way_follows_the_configuration(more, way):
    assert _way(Settings(**more)) == way


def test_a_port_is_free_ours_or_somebody_elses():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        taken = machine.port("hop.listen", address, serving=False)
        assert (taken.level, "another program" in taken.what) == (Level.WARN, True)
        assert machine.port("hop.listen", address, serving=True).level is Level.OK
    assert machine.port("hop.listen", address, serving=False).what == "is free"


def test_versions_are_told():
    assert machine.exim_version("Exim version 4.96 #2 built").what == "Exim 4.96"
    assert machine.exim_version("what").level is Level.UNKNOWN
    assert machine.exim_split(Path("/nowhere")) is None


@pytest.mark.parametrize("placement", ["hop", "policy"])
def test_a_configuration_of_exim_that_was_written_by_hand(tmp_path, placement):
    (tmp_path / "update-exim4.conf.conf").write_text("dc_use_split_config='false'\n")
    template = tmp_path / "exim4.conf.template"
    template.write_text("begin acl\nbegin routers\nbegin transports\nbegin retry\n")
    split = machine.exim_split(tmp_path)
    assert split is None

    def read(name):
        return (CONF / name).read_text()

    settings = Settings(daemon={"placement": placement})
    for _ in range(2):
        found = exim.pieces(settings, read, tmp_path, split=split)
        text = exim.script(found, tmp_path, split=split)
        # It writes our files, and leaves theirs alone.
        assert not {"sed", "update-exim4.conf", "localmacros"} & set(text.split())
        assert "A hand-written file" in text
        subprocess.run(["sh", "-c", text], check=True)
        assert not (tmp_path / "exim4.conf.localmacros").exists()
    assert {one.state for one in found} == {State.PRESENT}
    assert (tmp_path / "mailshaper/acl.conf").exists() is (placement == "hop")


def test_a_port_that_is_to_be_postfix_own_must_be_free():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = Settings(hop={"next_hop": address})
        (found,) = _back(postconf.parse("", "", ""), settings, "reinject")
        assert (found.level, address in found.where) == (Level.WARN, True)
        assert _back(postconf.parse("", "", ""), settings, "next-hop") == []
        ours = f"{address}/inet/syslog_name = postfix/shaped\n"
        assert _back(postconf.parse("", "", ours), settings, "reinject") == []


def test_where_reinject_stops_is_said_before():
    options = "submission/inet/content_filter = amavis:[127.0.0.1]:10024\n"
    options += "smtps/inet/content_filter = shaper:[127.0.0.1]:10025\n"
    options += "465/inet/smtpd_proxy_filter = 127.0.0.1:10024\n"
    known = postconf.parse("content_filter =\n", "", options)
    names = ["submission/inet", "smtps/inet", "465/inet", "pickup/unix"]
    found = _filters(known, names)
    assert [one.where.split()[1] for one in found] == ["submission/inet", "465/inet"]
    assert all("--way next-hop" in one.what for one in found)

"""A placement was changed, and the MTA kept parts of the one before."""

import pytest

from shaper.config import Settings
from shaper.doctor import exim, left, postconf, postfix
from shaper.doctor.finding import Level

ASK = "check_policy_service { inet:127.0.0.1:10027, timeout=5s, default_action=DUNNO }"
MASTER = "submission inet n - y - - smtpd\n"
ROUTER = "mailshaper\nsmarthost\n"
ACLS = """\
begin acl
  ask:
    warn
    set acl_c_x = ${readsocket{inet:127.0.0.1:10027}{request=mailshaper_policy}}
"""


def of_postfix(placement, main="", options=""):
    settings = Settings(
        daemon={"placement": placement}, feedback={"logs": ["/var/log/mail.log"]}
    )
    return left.postfix(postconf.parse(main, MASTER, options), settings)


@pytest.mark.parametrize("placement", ["policy", "watch"])
@pytest.mark.parametrize(
    ("main", "options", "where"),
    [
        ("default_transport = shaper:[127.0.0.1]:10025\n", "", "default_transport"),
        ("content_filter = shaper:[127.0.0.1]:10025\n", "", "content_filter"),
        (
            "",
            "submission/inet/content_filter = shaper:[127.0.0.1]:10025\n",
            "submission/inet",
        ),
    ],
)
def test_mail_that_postfix_still_sends_here(placement, main, options, where):
    (found,) = of_postfix(placement, main, options)
    assert (found.level, where in found.where) == (Level.FAIL, True)
    assert "off.sh" in found.cure
    assert of_postfix("hop", main, options) == []


def test_postfix_that_still_asks_a_daemon_that_only_reads():
    options = f"submission/inet/smtpd_end_of_data_restrictions = {ASK}\n"
    (found,) = of_postfix("watch", "", options)
    assert (found.level, "submission/inet" in found.where) == (Level.WARN, True)
    assert "policy-off.sh" in found.cure
    (found,) = of_postfix("watch", f"smtpd_end_of_data_restrictions = {ASK}\n")
    assert (found.level, "main.cf" in found.where) == (Level.WARN, True)
    for placement in ("hop", "policy"):
        assert of_postfix(placement, "", options) == []


@pytest.mark.parametrize("placement", ["hop", "policy", "watch"])
def test_nothing_is_said_where_nothing_is_left(placement):
    main = "content_filter = scan:[127.0.0.1]:10024\ndefault_transport = smtp\n"
    options = "submission/inet/content_filter =\n"
    assert of_postfix(placement, main, options) == []
    assert of_exim(placement, routers="smarthost\n") == []


def of_exim(placement, routers="", data=""):
    settings = Settings(
        daemon={"placement": placement}, feedback={"logs": ["/var/log/mail.log"]}
    )
    return left.exim(exim.parse(f"acl_smtp_data = {data}\n", routers, ACLS), settings)


@pytest.mark.parametrize("placement", ["policy", "watch"])
def test_a_router_of_exim_that_was_left(placement):
    (found,) = of_exim(placement, ROUTER)
    assert found.level is Level.FAIL
    assert "rm /etc/exim4/conf.d/router/190_mailshaper" in found.cure
    assert of_exim("hop", ROUTER) == []


@pytest.mark.parametrize("placement", ["hop", "watch"])
def test_an_acl_of_exim_that_was_left(placement):
    (found,) = of_exim(placement, data="ask")
    assert (found.level, "acl_smtp_data" in found.where) == (Level.WARN, True)
    assert "10_mailshaper_policy" in found.cure
    assert of_exim("policy", data="ask") == []


def test_the_checks_of_each_placement_say_what_is_left():
    watch = Settings(
        daemon={"placement": "watch"}, feedback={"logs": ["/var/log/mail.log"]}
    )
    filtered = postconf.parse("content_filter = shaper:[::1]:1\n", MASTER, "")
    assert [one.level for one in postfix.check(filtered, watch)] == [Level.FAIL]
    assert postfix.check(postconf.parse("", MASTER, ""), watch) == []
    assert [one.level for one in exim.check(exim.parse("", ROUTER), watch)] == [
        Level.FAIL
    ]
    assert exim.check(exim.parse("", "smarthost\n"), watch) == []
    policy = Settings(daemon={"placement": "policy"})
    for found in (
        postfix.check(filtered, policy),
        exim.check(exim.parse("", ROUTER), policy),
    ):
        assert any("takes none in this placement" in one.what for one in found)
    hop = exim.check(exim.parse("acl_smtp_data = ask\n", ROUTER, ACLS), Settings())
    assert any("answers no such question" in one.what for one in hop)

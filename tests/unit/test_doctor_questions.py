"""The question is asked, and yet something is wrong with it: Exim, Postfix, daemon."""

import pytest

from shaper.config import Settings
from shaper.doctor import chain, exim, eximacl, postconf, postfix
from shaper.doctor.finding import Level

ASK = "check_policy_service { inet:127.0.0.1:10027, timeout=5s, default_action=DUNNO }"
SOCKET = (
    "${readsocket{inet:127.0.0.1:10027}"
    "{request=mailshaper_policy\\nsender=${base64:$sender_address}\\n}"
    "{5s}{ }{action=DUNNO silent}}"
)
ACLS = f"""\
begin acl
  ask:
    warn
    set acl_c_x = {SOCKET}
    require
    acl = obey
    accept
  obey:
    accept
    condition = ${{if match{{$acl_c_x}}{{HOLD}}}}
    control = freeze/no_tell
"""


def of_exim(config):
    options = dict.fromkeys(eximacl.STAGES, "ask")
    return eximacl.check(options, config, ["127.0.0.1:10027"])


def test_exim_that_asks_and_obeys():
    assert [one.level for one in of_exim(ACLS)] == [Level.OK] * 3


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("{action=DUNNO silent}", "", "while mailshaper is down"),
        ("{5s}{ }{action=DUNNO silent}", "", "while mailshaper is down"),
        ("  obey:", "  other:", "no ACL obey"),
    ],
)
def test_one_fault_of_exims_question_is_found_at_every_stage(old, new, what):
    assert old in ACLS
    found = of_exim(ACLS.replace(old, new))
    assert [one.level for one in found] == [Level.FAIL] * 3
    assert all(what in one.what and "setup exim" in one.cure for one in found)


def test_exim_that_does_not_freeze_what_is_to_wait():
    found = of_exim(ACLS.replace("control = freeze/no_tell", ""))
    by_stage = {one.where.split()[1]: one for one in found}
    assert by_stage["acl_smtp_rcpt"].level is Level.OK  # none is held there
    for stage in ("acl_smtp_data", "acl_not_smtp"):
        assert by_stage[stage].level is Level.FAIL
        assert "control = freeze" in by_stage[stage].what


MASTER = """\
submission inet n - n - - smtpd
smtp inet n - y - 1 postscreen
127.0.0.1:10040 inet n n n - 0 spawn
shaper unix - - n - 20 smtp
127.0.0.1:10026 inet n - n - - smtpd
"""
MAIN = f"""\
enable_long_queue_ids = yes
maximal_queue_lifetime = 5d
message_size_limit = 10240000
authorized_submit_users = root
queue_directory = /var/spool/postfix
smtpd_sasl_auth_enable = yes
smtpd_recipient_restrictions = {ASK}
smtpd_end_of_data_restrictions = {ASK}
"""
HOP = """\
shaper/unix/smtp_send_xforward_command = yes
submission/inet/content_filter = shaper:[127.0.0.1]:10025
submission/inet/receive_override_options = no_address_mappings
127.0.0.1:10026/inet/receive_override_options = no_milters
127.0.0.1:10026/inet/content_filter =
127.0.0.1:10026/inet/smtpd_sasl_auth_enable = no
"""


def bad(placement, main=MAIN, options=HOP, master=MASTER, listen="127.0.0.1:10027"):
    settings = Settings(daemon={"placement": placement}, policy={"listen": [listen]})
    found = postfix.check(postconf.parse(main, master, options), settings)
    return [one for one in found if one.level is not Level.OK]


NO_FILTER = HOP.replace("shaper:[127.0.0.1]:10025", "")


def test_only_services_that_take_mail_are_to_ask():
    assert bad("policy", options=NO_FILTER) == []
    assert bad("hop") == []
    # Where postscreen hands on, smtpd is the service "pass" of the type "pass".
    behind = MASTER.replace("submission inet", "smtpd pass")
    lost = "smtpd/pass/smtpd_end_of_data_restrictions =\n"
    (found,) = bad("policy", options=NO_FILTER + lost, master=behind)
    assert "smtpd/pass" in found.where


# As Modoboa, iRedMail and mailcow have them: a port of habit, one for programs, and
# those where a filter gives mail back.
MORE = """\
465 inet n - n - - smtpd
588 inet n - n - - smtpd
590 inet n - n - - smtpd
127.0.0.1:10025 inet n - n - - smtpd
"""
SHUT = """\
588/inet/smtpd_client_restrictions = $users
590/inet/smtpd_client_restrictions = permit_mynetworks,reject
127.0.0.1:10025/inet/smtpd_recipient_restrictions = permit_mynetworks, reject
"""
USERS = "users = permit_mynetworks,permit_sasl_authenticated,reject\n"


def test_where_people_log_in_follows_from_the_restrictions():
    known = postconf.parse(MAIN + USERS, MASTER + MORE, HOP + SHUT)
    assert known.takers() == ["465/inet", "588/inet", "submission/inet"]
    old = MASTER.replace("1 postscreen", "- smtpd") + "smtpd pass - - n - - smtpd\n"
    known = postconf.parse(MAIN + USERS, old + MORE, HOP + SHUT)
    assert known.takers() == ["465/inet", "588/inet", "submission/inet"]
    assert known.logins_on_port_25() == ["smtp/inet", "smtpd/pass"]


def test_mail_of_people_that_goes_past_mailshaper():
    many = {"main": MAIN + USERS, "master": MASTER + MORE}
    found = bad("hop", options=HOP + SHUT, **many)
    assert [one.where.split()[1] for one in found] == ["465/inet", "588/inet"]
    assert {one.level for one in found} == {Level.FAIL}
    # All that leaves this host comes through in any case.
    many["main"] += "default_transport = shaper:[127.0.0.1]:10025\n"
    assert bad("hop", options=HOP + SHUT, **many) == []


def test_a_filter_that_gives_back_to_mailshaper():
    filtered = HOP.replace("shaper:[127.0.0.1]:10025", "amavis:[127.0.0.1]:10024")
    elsewhere = "127.0.0.1:10025/inet/content_filter = shaper:[127.0.0.1]:10025\n"
    elsewhere += "127.0.0.1:10025/inet/receive_override_options = no_milters\n"
    master = MASTER + "127.0.0.1:10025 inet n - n - - smtpd\n"
    options = filtered + SHUT + elsewhere
    options += "127.0.0.1:10025/inet/smtpd_authorized_xforward_hosts = 127.0.0.0/8\n"
    (found,) = bad("hop", options=options, master=master)
    assert "receive_override_options=no_milters,no_address_mappings'" in found.cure
    (found,) = bad("hop", options=filtered, master=MASTER)
    assert "no mail is sent" in found.what


def test_a_filter_that_gives_back_without_the_login():
    master = MASTER + "127.0.0.1:10025 inet n - n - - smtpd\n"
    main = MAIN + "default_transport = shaper:[127.0.0.1]:10025\n"
    filtered = HOP.replace("shaper:[127.0.0.1]:10025", "amavis:[127.0.0.1]:10024")
    filtered += SHUT + "127.0.0.1:10025/inet/content_filter =\n"
    (found,) = bad("hop", main=main, options=filtered, master=master)
    assert (found.level, "lost its login" in found.what) == (Level.WARN, True)
    assert "127.0.0.1:10025/inet/smtpd_authorized_xforward_hosts=" in found.cure
    told = filtered + found.cure.split()[2].replace("=", " = ", 1) + "\n"
    assert bad("hop", main=main, options=told, master=master) == []


def test_a_login_on_port_25_does_not_go_through():
    (found,) = bad("hop", master=MASTER.replace("1 postscreen", "- smtpd"))
    assert (found.level, "port 25" in found.what) == (Level.WARN, True)


def test_a_proxy_before_the_queue_makes_hold_impossible():
    proxied = "submission/inet/smtpd_proxy_filter = 127.0.0.1:10024\n"
    (found,) = bad("policy", options=NO_FILTER + proxied)
    assert (found.level, "held" in found.what) == (Level.FAIL, True)
    assert "smtpd_proxy_filter" in found.where
    past, login = bad("hop", options=HOP + proxied)
    assert (past.level, "past mailshaper" in past.what) == (Level.FAIL, True)
    assert (login.level, "from:ADDRESS" in login.what) == (Level.WARN, True)


@pytest.mark.parametrize(
    ("to", "is_right"),
    [
        ("shaper:[127.0.0.1]:10025", True),
        ("shaper:127.0.0.1:10025", True),
        ("shaper:[localhost]:10025", True),
        ("shaper:[127.0.0.1]:10099", False),
        ("shaper:[127.0.0.1]", False),
    ],
)
def test_mail_that_is_sent_to_a_port_where_nobody_listens(to, is_right):
    found = bad("hop", options=HOP.replace("shaper:[127.0.0.1]:10025", to))
    assert (found == []) is is_right
    for one in found:
        assert (one.level, "hop.listen" in one.what) == (Level.FAIL, True)
        assert "setup postfix" in one.cure


@pytest.mark.parametrize(
    ("ask", "listen"),
    [
        (ASK.replace("127.0.0.1", "localhost"), "127.0.0.1:10027"),
        (ASK.replace("inet:127.0.0.1:10027", "unix:shaper/ask"), "shaper"),
        (ASK.replace("=DUNNO", " = dunno"), "127.0.0.1:10027"),
    ],
)
def test_logins_are_told_in_other_right_ways(ask, listen):
    if listen == "shaper":
        listen = "/var/spool/postfix/shaper/ask"
    assert bad("hop", main=MAIN.replace(ASK, ask), listen=listen) == []


def test_a_daemon_that_runs_with_another_placement():
    settings = Settings(daemon={"placement": "policy"})
    (found,) = chain.placement_findings({"placement": "hop"}, settings, "x")
    assert (found.level, "restart" in found.cure) == (Level.FAIL, True)
    assert "hop" in found.what
    assert "policy" in found.what
    assert chain.placement_findings({"placement": "policy"}, settings, "x") == []
    assert chain.placement_findings({}, settings, "x") == []


@pytest.mark.parametrize(
    ("port", "is_right"), [("10025", True), ("10099", False), ("${if eq{a}{b}}", True)]
)
def test_exims_transport_leads_to_where_mailshaper_listens(port, is_right):
    settings = Settings(identity={"login_header": "X-Shaper-Login"})
    config = (
        "begin acl\n  mailshaper:\n    port = 1\n"
        f"begin transports\n  mailshaper:\n    driver = smtp\n    port = {port}\n"
        "  other:\n    port = 2\n"
    )
    found = exim.check(exim.parse("", "mailshaper\n", config), settings)
    bad = [one for one in found if one.level is not Level.OK]
    assert (bad == []) is is_right
    for one in bad:
        assert (one.level, "hop.listen" in one.what) == (Level.FAIL, True)
        assert "setup exim" in one.cure

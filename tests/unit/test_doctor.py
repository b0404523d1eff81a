"""One thing is broken at a time; the finding names it and its cure."""

import os
import threading
from functools import partial

import pytest

from shaper.config import Settings
from shaper.doctor import (
    chain,
    exim,
    eximacl,
    host,
    logs,
    onhold,
    postconf,
    postfix,
    probes,
)
from shaper.doctor.finding import Level
from shaper.doctor.host import redis_findings, speed_findings
from shaper.doctor.target import same

MAIN = """\
content_filter =
enable_long_queue_ids = yes
message_size_limit = 10240000
default_transport = smtp
smtpd_sasl_auth_enable = no
smtpd_end_of_data_restrictions = check_policy_service { inet:127.0.0.1:10027, timeout=5s, default_action=DUNNO }
"""  # noqa: E501
MASTER = """\
submission inet n - y - - smtpd
shaper unix - - n - 20 smtp
127.0.0.1:10026 inet n - n - - smtpd
"""
OPTIONS = """\
submission/inet/smtpd_sasl_auth_enable = yes
submission/inet/content_filter = shaper:[127.0.0.1]:10025
submission/inet/receive_override_options = no_address_mappings
shaper/unix/smtp_send_xforward_command = yes
127.0.0.1:10026/inet/content_filter =
127.0.0.1:10026/inet/receive_override_options = no_milters
"""


def bad(main=MAIN, master=MASTER, options=OPTIONS):
    found = postfix.check(postconf.parse(main, master, options), Settings())
    return [one for one in found if one.level is not Level.OK]


def test_a_good_postfix_has_no_finding():
    assert bad() == []


@pytest.mark.parametrize(
    ("part", "old", "new", "what", "cure"),
    [
        ("main", "ids = yes", "ids = no", "queue ids", "enable_long_queue_ids=yes"),
        ("main", "inet:127.0.0.1:10027", "inet:x:1", "not asked", "setup postfix"),
        ("main", ", default_action=DUNNO", "", "451", "default_action=DUNNO"),
        ("main", "10240000", "0", "larger mail", "message_size_limit="),
        (
            "main",
            "content_filter =",
            "default_destination_rate_delay = 5s",
            "one in 5s",
            "shaper_destination_rate_delay=0s",
        ),
        ("master", "shaper unix", "other unix", "is missing", "setup postfix"),
        ("options", "command = yes", "command = no", "XFORWARD", "postconf -P"),
        ("options", "no_address_mappings", "", "twice", "no_address_mappings"),
        (
            "main",
            "content_filter =",
            "smtp_fallback_relay = [192.0.2.1]",
            "to [192.0.2.1], unseen",
            "shaper/unix/smtp_fallback_relay=",
        ),
        ("options", "= no_milters", "=", "milters", "no_milters"),
        (
            "options",
            "10026/inet/content_filter =",
            "10026/inet/content_filter = shaper:[127.0.0.1]:10025",
            "goes round",
            "content_filter= ",
        ),
    ],
)
def test_one_fault_of_postfix_is_found(part, old, new, what, cure):
    whole = {"main": MAIN, "master": MASTER, "options": OPTIONS}
    assert old in whole[part]
    whole[part] = whole[part].replace(old, new)
    assert [one for one in bad(**whole) if what in one.what and cure in one.cure]


def test_exim_without_its_parts():
    good = exim.parse("auto_thaw = 0s\n", "mailshaper\n")
    settings = Settings(identity={"login_header": "X-Shaper-Login"})
    assert [one.level for one in exim.check(good, settings)] == [Level.OK]
    assert "router" in exim.check(exim.parse("auto_thaw = 0s\n"), settings)[0].what
    assert "login_header" in exim.check(good, Settings())[0].cure
    thawing = exim.parse("auto_thaw = 1h\n", "mailshaper\n")
    assert "1h" in exim.check(thawing, settings)[0].what


def test_exim_that_lets_go_of_what_we_hold_is_a_fault():
    hop = Settings(identity={"login_header": "X-Shaper-Login"})
    held = Settings(daemon={"placement": "policy"})
    for name in ("timeout_frozen_after", "ignore_bounce_errors_after"):
        for after, level in (
            ("1w", Level.OK),
            ("5d", Level.FAIL),
            ("1h30m", Level.FAIL),
        ):
            mta = exim.parse(f"auto_thaw = 0s\n{name} = {after}\n", "mailshaper\n")
            found = exim.check(mta, held)
            assert [one.level for one in found if one.where == name] == [level]
            assert all(one.level is Level.OK for one in exim.check(mta, hop))
    thawed = exim.check(exim.parse("auto_thaw = 1h\n"), held)[0]
    assert (thawed.level, "held spam leaves" in thawed.what) == (Level.FAIL, True)
    assert exim.seconds("1w2d3h4m5s") == 788_645.0
    assert exim.seconds("0s") == exim.seconds("") == 0.0


EXIM_CONFIG = """\
acl_smtp_rcpt = theirs
begin acl

  ours:
  warn
    set acl_c_x = ${readsocket{inet:127.0.0.1:10027}\
      {request=mailshaper_policy\\n}{5s}{ }{none}}
  accept
    control = freeze

  theirs:
  require
    acl = ours
  accept
  alien:
  accept
begin routers
  ours:
"""


@pytest.mark.parametrize(
    ("value", "level", "what"),
    [
        ("ours", Level.OK, "is asked"),
        ("theirs", Level.OK, "is asked"),
        ("alien", Level.FAIL, "none is held"),
        ("", Level.FAIL, "none is held"),
        ("${if eq{a}{b}{ours}{alien}}", Level.UNKNOWN, "cannot be looked into"),
        ("/etc/exim4/an_acl", Level.UNKNOWN, "cannot be looked into"),
    ],
)
def test_whether_exim_asks_is_followed_through_its_acls(value, level, what):
    options = {"acl_smtp_data": value}
    found = eximacl.check(options, EXIM_CONFIG, ["127.0.0.1:10027"])
    (one,) = [one for one in found if "acl_smtp_data" in one.where]
    assert (one.level, what in one.what) == (level, True)
    others = [one for one in found if "acl_smtp_data" not in one.where]
    assert [one.level for one in others] == [Level.FAIL, Level.FAIL]


def test_exim_that_asks_elsewhere():
    options = dict.fromkeys(eximacl.STAGES, "theirs")
    for one in eximacl.check(options, EXIM_CONFIG, ["127.0.0.1:10028"]):
        assert one.level is Level.FAIL
        assert "inet:127.0.0.1:10027" in one.what
    for one in eximacl.check(options, "", ["127.0.0.1:10027"]):
        assert one.level is Level.UNKNOWN


@pytest.mark.parametrize(
    ("target", "address", "is_same"),
    [
        ("inet:127.0.0.1:10027", "127.0.0.1:10027", True),
        ("inet:localhost:10027", "127.0.0.1:10027", True),
        ("inet:10027", "127.0.0.1:10027", True),
        ("inet:[::1]:10027", "[::1]:10027", True),
        ("inet:127.0.0.1:10027", "0.0.0.0:10027", True),
        ("inet:[::1]:10027", "127.0.0.1:10027", False),
        ("inet:127.0.0.1:1002", "127.0.0.1:10027", False),
        ("inet:localhost:policy", "127.0.0.1:10027", False),
        ("inet:127.0.0.1:10027", "/run/x", False),
        ("unix:/run/x", "/run/x", True),
        ("/run/x", "/run/x", True),
        ("unix:shaper/policy", "/var/spool/postfix/shaper/policy", True),
        ("unix:private/policy", "/run/x", False),
        ("unix:/run/x", "127.0.0.1:10027", False),
        ("", "127.0.0.1:10027", False),
    ],
)
def test_ways_to_write_one_socket(target, address, is_same):
    assert same(target, address, "/var/spool/postfix") is is_same


ASK = "check_policy_service { inet:127.0.0.1:10027, timeout=5s, default_action=DUNNO }"
ASKING = """\
queue_directory = /var/spool/postfix
enable_long_queue_ids = yes
maximal_queue_lifetime = 5d
authorized_submit_users = root
smtpd_policy_service_default_action = 451 4.3.5 Server configuration problem
smtpd_sasl_auth_enable = no
"""
KEPT = """\
submission/inet/smtpd_recipient_restrictions = $mailshaper_recipient_submission_inet
submission/inet/smtpd_end_of_data_restrictions = $mailshaper_end_of_data_submission_inet
"""


def asking_of(ask=ASK, main="", options=KEPT, listen="127.0.0.1:10027", before=""):
    """Return what is said of a Postfix that asks at both stages in these words."""
    restrictions = f"mailshaper_recipient_submission_inet = {before}{ask}, permit\n"
    restrictions += f"mailshaper_end_of_data_submission_inet = {before}{ask}\n"
    settings = Settings(daemon={"placement": "policy"}, policy={"listen": [listen]})
    text = ASKING + restrictions + main
    master = f"{MASTER}smtp inet n - y - - smtpd\n"
    found = postfix.check(postconf.parse(text, master, options), settings)
    return [one for one in found if one.level is not Level.OK]


def test_a_postfix_that_asks_has_no_finding():
    # Where nobody logs in by SASL: it is the service that asks that counts.
    assert asking_of() == []
    assert asking_of(options=KEPT.replace("submission/", "127.0.0.1:10026/")) == []


@pytest.mark.parametrize(
    ("ask", "listen"),
    [
        ("check_policy_service{inet:127.0.0.1:10027 default_action=dunno}", ""),
        ("check_policy_service { inet:localhost:10027, default_action = DUNNO }", ""),
        (
            "check_policy_service { inet:[::1]:10027, default_action=DUNNO }",
            "[::1]:10027",
        ),
        (
            "check_policy_service { unix:shaper/ask, default_action=DUNNO }",
            "/var/spool/postfix/shaper/ask",
        ),
    ],
)
def test_other_right_ways_to_ask(ask, listen):
    assert asking_of(ask, listen=listen or "127.0.0.1:10027") == []


def test_a_default_action_for_all_services_will_do():
    bare = "check_policy_service inet:127.0.0.1:10027"
    assert all("451" in one.what for one in asking_of(bare))
    assert len(asking_of(bare)) == 2
    everywhere = "smtpd_policy_service_default_action = DUNNO\n"
    assert asking_of(bare, everywhere) == []


@pytest.mark.parametrize(
    ("given", "what", "cure"),
    [
        ({"ask": "permit"}, "none is held", "--way policy"),
        ({"listen": "127.0.0.1:10028"}, "none is held", "--way policy"),
        (
            {"before": "permit_sasl_authenticated, "},
            "permit_sasl",
            "before permit_sasl",
        ),
        (
            {
                "ask": ASK.replace("inet:127.0.0.1:10027", "unix:/run/x"),
                "listen": "/run/x",
            },
            "chroot",
            "unix:NAME",
        ),
        ({"main": "maximal_queue_lifetime = 1h\n"}, "expires", "requeue_after"),
        (
            {"options": KEPT + "smtp/inet/smtpd_sasl_auth_enable = yes\n"},
            "on port 25 is not judged",
            "smtpd_sasl_auth_enable=no",
        ),
        ({"main": "authorized_submit_users = static:anyone\n"}, "sendmail", "hop"),
        (
            {"options": KEPT + "submission/inet/content_filter = shaper:[::1]:1\n"},
            "takes none in this placement",
            "off.sh",
        ),
    ],
)
def test_one_fault_in_asking_is_found(given, what, cure):
    found = asking_of(**given)
    assert [one for one in found if what in one.what and cure in one.cure], found


def test_a_reject_before_the_question_is_no_fault():
    assert asking_of(before="reject_non_fqdn_recipient, ") == []


def test_a_hidden_session_is_no_fault():
    found = postfix.check(
        postconf.parse(MAIN + "smtpd_hide_client_session = yes\n", MASTER, OPTIONS),
        Settings(),
    )
    (one,) = [one for one in found if "hide" in one.where]
    assert one.level is Level.OK


@pytest.mark.parametrize(
    ("version", "trip", "said"),
    [("7.0.15", 0.0002, "0.2 ms"), ("6.0.16", 0.0002, "too old"), ("8", 0.02, "20.0")],
)
def test_redis_that_is_old_or_far(version, trip, said):
    (found,) = speed_findings(version, trip, "x")
    assert said in found.what
    assert (found.level is Level.OK) == (said == "0.2 ms")


def test_our_own_redis_that_is_not_there_is_no_secret(tmp_path):
    settings = Settings(daemon={"runtime_directory": str(tmp_path / "none")})
    (found,) = host._redis(settings)
    assert (found.level, "restart mailshaper" in found.cure) == (Level.FAIL, True)


def test_our_own_redis_is_cured_by_a_restart():
    bad = {"appendonly": "no", "maxmemory-policy": "noeviction"}
    (found,) = redis_findings(bad, "x", own=True)
    assert found.cure == "systemctl restart mailshaper"


def test_what_never_answers_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(probes, "_TIMEOUT", 0.01)
    never = threading.Event()
    with pytest.raises(probes.ProbeError, match=r"the resolver gave no answer"):
        probes.bounded(never.wait, "the resolver")
    never.set()
    with pytest.raises(OSError, match="lost"):
        probes.bounded(partial(_raise, OSError("lost")), "x")


def _raise(error):
    raise error


@pytest.mark.parametrize(
    ("announced", "said"),
    [("SIZE 99999999", "as large"), ("SIZE 1000", "1000"), ("8BITMIME", "no SIZE")],
)
def test_the_size_that_the_next_hop_takes(announced, said):
    answer = f"250-mx.example\r\n250-{announced}\r\n250 DSN\r\n"
    (found,) = chain._size(Settings(), answer, "x")
    assert said in found.what


def test_redis_that_forgets():
    good = {"appendonly": "yes", "maxmemory-policy": "noeviction"}
    assert [one.level for one in redis_findings(good, "x")] == [Level.OK]
    (found,) = redis_findings(good | {"appendonly": "no"}, "x")
    assert "CONFIG SET appendonly yes" in found.cure
    (found,) = redis_findings(good | {"maxmemory-policy": "allkeys-lru"}, "x")
    assert "noeviction" in found.cure


def test_a_log_that_the_daemon_may_not_read(tmp_path):
    log = tmp_path / "mail.log"
    log.touch(mode=0o600)
    (found,) = logs.readable(log, "nobody")
    assert (found.level, found.cure[:15]) == (Level.FAIL, "adduser nobody ")
    log.chmod(0o644)
    assert logs.readable(log, "nobody")[0].level is Level.OK


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_state_that_was_restored_as_another_user(tmp_path):
    settings = Settings(daemon={"state_directory": str(tmp_path)})
    tmp_path.chmod(0o700)
    (tmp_path / "spool").mkdir()
    (found,) = host._disk(settings)
    assert found.level is Level.OK
    os.chown(tmp_path, 65534, 65534)
    (found,) = host._disk(settings)
    assert (found.level, "spool" in found.what) == (Level.FAIL, True)
    assert f"chown -R --reference={tmp_path} {tmp_path}" in found.cure


def test_a_unit_that_writes_nothing_is_not_the_mtas():
    (found,) = logs.journal_findings("postfix@-.service", "", "postfix.service")
    assert (found.level, "postfix.service" in found.cure) == (Level.WARN, True)
    (found,) = logs.journal_findings("postfix@-.service", "", "")
    assert "list-units" in found.cure
    (found,) = logs.journal_findings("postfix@-.service", "statistics: max", "x")
    assert found.level is Level.OK


def test_no_log_at_all_is_a_fault_where_no_mail_passes_us():
    def faults(placement):
        return [
            one.what for one in logs.check(Settings(daemon={"placement": placement}))
        ]

    assert faults("hop") == []
    (said,) = faults("policy")
    assert "no log" in said


def test_what_exim_has_frozen():
    printed = """\
 4m   419 1xWbqu-00005J-2E <alice@example.test> *** frozen ***
          bob@example.net

 2d  1.2K 1xWbqv-000000000Ab-25Mz <"a b"@x.test> (www-data) *** frozen ***
          bob@example.net

 9h  3.1K 1xWbqw-00005K-2E <> *** frozen ***
        D alice@example.test

 1m   419 1xWbqx-00005L-2E <alice@example.test>
          bob@example.net
"""
    assert onhold.exim_queue(printed) == {"1xWbqu-00005J-2E", "1xWbqv-000000000Ab-25Mz"}


def test_what_postfix_has_on_hold():
    printed = """\
{"queue_name": "hold", "queue_id": "A1"}
{"queue_name": "deferred", "queue_id": "A2"}
{"queue_name": "hold"}
[1]
not JSON
"""
    assert onhold.postfix_queue(printed) == {"A1"}


def test_mail_on_hold_without_a_record():
    (found,) = onhold.forgotten(set(), "do that")
    assert found.level is Level.OK
    (found,) = onhold.forgotten({"A", "B", "C", "D"}, "do that")
    assert (found.level, found.cure) == (Level.WARN, "do that")
    assert found.what.endswith(": 4 (A, B, C, ...)")

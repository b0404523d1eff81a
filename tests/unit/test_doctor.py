"""One thing is broken at a time; the finding names it and its cure."""

import pytest

from shaper.config import Settings
from shaper.doctor import exim, postfix
from shaper.doctor.finding import Level
from shaper.doctor.host import readable, redis_findings

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
    found = postfix.check(postfix.parse(main, master, options), Settings())
    return [one for one in found if one.level is not Level.OK]


def test_a_good_postfix_has_no_finding():
    assert bad() == []


@pytest.mark.parametrize(
    ("part", "old", "new", "what", "cure"),
    [
        ("main", "ids = yes", "ids = no", "queue ids", "enable_long_queue_ids=yes"),
        ("main", "inet:127.0.0.1:10027", "inet:x:1", "not asked", "reinject.sh"),
        ("main", ", default_action=DUNNO", "", "451", "default_action=DUNNO"),
        ("main", "10240000", "0", "larger mail", "message_size_limit="),
        ("master", "shaper unix", "other unix", "is missing", "reinject.sh"),
        ("options", "command = yes", "command = no", "XFORWARD", "postconf -P"),
        ("options", "no_address_mappings", "", "twice", "no_address_mappings"),
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
    good = "auto_thaw = 0s\nmailshaper\n"
    settings = Settings(identity={"login_header": "X-Shaper-Login"})
    assert [one.level for one in exim.check(good, settings)] == [Level.OK]
    assert "router" in exim.check("auto_thaw = 0s\n", settings)[0].what
    assert "login_header" in exim.check(good, Settings())[0].cure
    assert "1h" in exim.check("auto_thaw = 1h\nmailshaper\n", settings)[0].what


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
    (found,) = readable(log, "nobody")
    assert (found.level, found.cure[:15]) == (Level.FAIL, "adduser nobody ")
    log.chmod(0o644)
    assert readable(log, "nobody")[0].level is Level.OK

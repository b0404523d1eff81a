"""Logs made to hurt: lines and entries that a follower meets, in linear time.

Time is compared between a size and its double, as in ``test_feedback_bombs``; what is
kept is bounded.
"""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.feedback.follow import LogFollower
from shaper.feedback.journalctl import line_of
from shaper.feedback.live import LiveLog
from shaper.feedback.logfile import MAX_LINE
from shaper.feedback.returns import delivered_to, read_return, verp_address
from shaper.feedback.table import shipped_table

HEAD = "2026-11-25T12:00:00+00:00 mail postfix/smtp[1]: ABCDEF1: "
EXIM = "2026-11-25 12:00:00 1abcde-000001-AB "

LINES = {
    "brackets": lambda n: HEAD + "to=<b@c.d>, relay=" + "[" * n,
    "addresses": lambda n: HEAD + "to=<" + "a@" * n,
    "ports": lambda n: HEAD + "to=<b@c.d>, relay=" + "[1]:" * n + ", status=sent (250)",
    "exim hosts": lambda n: EXIM + "=> b@c.d R=r" + " H=x [1.2.3.4" * n,
    "exim transports": lambda n: EXIM + "=> b@c.d" + " T=mailshaper_" * n,
    "exim fields": lambda n: EXIM + "** b@c.d" + " <a@b>" * n,
    "blanks": lambda n: " " * n,
    "digits": lambda n: "2026-11-25 " + "1" * n,
}


def _seconds(work, *arguments):
    begun = time.process_time()
    work(*arguments)
    return time.process_time() - begun


@pytest.mark.parametrize("name", LINES)
@pytest.mark.timeout(60)
def test_twice_the_line_takes_no_more_than_twice_the_time(name):
    def feed(text):
        live = LiveLog(shipped_table(), time.time, ["127.0.0.1:10025"])
        for _ in range(20):
            live.feed(text)

    make = LINES[name]
    feed(make(10))
    once, twice = _seconds(feed, make(20_000)), _seconds(feed, make(40_000))
    assert twice < 3 * once + 0.5, (once, twice)


@pytest.mark.parametrize("piece", ["+", "=", "a+", "+a=", "-a=b.", "<", "a=b@"])
@pytest.mark.timeout(60)
def test_verp_of_any_length(piece):
    for count in (10, 100, 590 // len(piece), 100_000):
        assert verp_address(piece * count) is not None


@given(st.binary(max_size=500), st.lists(st.text(max_size=60), max_size=3))
def test_any_mail_with_any_recipients(data, recipients):
    delivered_to(data)
    read_return(data, shipped_table(), recipients)


@given(st.text(max_size=400))
def test_any_line(text):
    live = LiveLog(shipped_table(), lambda: 1.8e9, ["0.0.0.0:25", "/run/hop", "x"])
    for head in ("", HEAD, EXIM):
        live.feed(head + text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["MESSAGE", "_PID", "SYSLOG_PID", "_HOSTNAME", "__REALTIME_TIMESTAMP",
             "SYSLOG_IDENTIFIER"]
        ),
        json_values,
    )
)  # fmt: skip
def test_any_entry_of_a_journal(entry):
    line = line_of(json.loads(json.dumps(entry)))
    assert "\n" not in line


@pytest.mark.timeout(60)
def test_a_log_without_a_line_end_fills_no_memory(tmp_path):
    path = tmp_path / "mail.log"
    follower = LogFollower(path, tmp_path / "place")
    follower.begin()
    path.write_bytes(b"x" * 50_000_000 + b"\nnext\n")
    lines = []
    while more := follower.advance():
        lines += more
    follower.close()
    assert lines[-1] == "next"
    assert sum(map(len, lines)) <= 3 * MAX_LINE

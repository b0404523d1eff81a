"""A past judged: whom it would have slowed, in logs and traces."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shaper.cli.app import run
from shaper.core.state import State
from shaper.replay.answer import answer, replay
from shaper.replay.ordered import WINDOW, Ordered
from shaper.replay.past import DAY, Past
from shaper.replay.story import page

START = 1_793_000_000.0 // DAY * DAY
TRACES = Path(__file__).parents[3] / "shared" / "data" / "traffic"
BOUNCED = (
    "dsn=5.1.1, status=bounced (host mx[192.0.2.1] said: 550 5.1.1 <{0}>: Recipient "
    "address rejected: User unknown (in reply to RCPT TO command))"
)
SENT = "dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 1234567)"


def lines(at, number, login, recipient, *, dead=False):
    """Return what Postfix writes of one submission."""
    when = datetime.fromtimestamp(at, UTC).isoformat()
    name = f"{0x10000000 + number:X}"
    fate = BOUNCED.format(recipient) if dead else SENT
    return [
        f"{when} mx postfix/{text}"
        for text in (
            (
                f"submission/smtpd[1]: {name}: client=pc[192.0.2.7], "
                f"sasl_method=PLAIN, sasl_username={login}"
            ),
            f"cleanup[2]: {name}: message-id=<{name}@example.com>",
            f"qmgr[3]: {name}: from=<{login}>, size=9, nrcpt=1 (queue active)",
            (
                f"smtp[4]: {name}: to=<{recipient}>, relay=mx[192.0.2.1]:25, delay=1, "
                f"delays=0/0/0/1, {fate}"
            ),
            f"qmgr[3]: {name}: removed",
        )
    ]


def month(login="a@example.com", days=20, stolen=True, evil="victim{}@example.net"):
    """Return a person's log; near its end the account is stolen for 200 messages."""
    log = []
    number = 0
    for day in range(days):
        for hour in (9, 11, 14, 16):
            number += 1
            at = START + day * DAY + hour * 3600
            log += lines(at, number, login, f"friend{number % 5}@example.org")
    for shot in range(200 if stolen else 0):
        at = START + (days - 1) * DAY + 3 * 3600 + 5 * shot
        dead = shot % 4 == 0
        log += lines(at, 10_000 + shot, login, evil.format(shot), dead=dead)
    return log


def judged(tmp_path, log, **more):
    path = tmp_path / "mail.log"
    path.write_text("\n".join(log) + "\n")
    past = Past(b"key")
    read = replay(past, [path])
    return answer("mail.log", past, read, **more)


def test_a_theft_is_found_with_what_it_would_have_spared(tmp_path):
    found = judged(tmp_path, month())
    (case,) = found["cases"]
    assert case["sender"] == "login:a@example.com"
    assert case["ending"] == "blocked"
    assert case["reached"]["recipients"] <= 10
    # Nearly all, and a quarter of those did not exist, as the log tells.
    assert case["spared_recipients"] + case["trickled"]["recipients"] >= 190
    assert 45 <= case["held_outcomes"]["dead"] <= 50
    assert case["steps"][0]["state"] == "slowed"
    assert case["why"].endswith("at which this sender is slowed.")
    assert case["slowed_at"] >= START + 19 * DAY + 3 * 3600
    assert found["summary"]["spared_recipients"] == case["spared_recipients"]


def test_an_ordinary_month_slows_nobody(tmp_path):
    found = judged(tmp_path, month(stolen=False))
    assert found["cases"] == []
    assert found["messages"] == 80
    assert (found["senders"], found["active_sender_days"]) == (1, 20)


def test_what_comes_in_the_learning_period_is_counted_and_not_shown(tmp_path):
    found = judged(tmp_path, month(), start_day=30)
    assert found["cases"] == []
    assert found["cases_while_learning"] == 1


def test_corrupt_lines_are_counted(tmp_path):
    found = judged(tmp_path, [*month(stolen=False), "garbage", "\x1b[31m"])
    assert found["read"]["corrupt_lines"] == 2


def test_who_was_found_a_thief_is_normal_again_and_nothing_of_it_is_learned(tmp_path):
    path = tmp_path / "mail.log"
    later = lines(START + 25 * DAY, 50_000, "a@example.com", "friend1@example.org")
    path.write_text("\n".join([*month(), *later]) + "\n")
    past = Past(b"key")
    replay(past, [path])
    (case,) = past.cases
    assert case.verdict == "theft"
    assert past.senders["login:a@example.com"].record.state is State.NORMAL
    profile = past.senders["login:a@example.com"].record.profile
    assert len(profile.contacts) < 20


def test_a_trace_is_read_too(tmp_path):
    path = tmp_path / "trace"
    rows = [
        f"alice friend{n % 3} {START + n * 7200:.0f}\n"
        for n in range(300)
        if n % 12 < 4  # hours of work
    ]
    rows += [f"alice new{n} {START + 24 * DAY + n * 2:.0f}\n" for n in range(300)]
    path.write_text("".join([*rows, "nonsense\n"]))
    past = Past(b"key")
    found = answer("trace", past, replay(past, [path]))
    assert [case["sender"] for case in found["cases"]] == ["alice"]
    assert found["read"]["corrupt_lines"] == 1


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_page_is_whole_escaped_and_brings_everything_with_it(tmp_path, language):
    log = month(login="<script>alert(1)</script>@x", evil="<b>{}@example.net")
    found = judged(tmp_path, [line.replace("<<", "<") for line in log])
    found["source"] = "<img src=x>\x1b[31m"
    text = page(found, language)
    assert f'lang="{language}"' in text
    assert "<script" not in text
    assert "<img" not in text
    assert "\x1b" not in text
    assert not re.search(r"https?://|url\(|@import", text)
    assert text.count("<svg") == text.count("</svg>") >= 1


def test_the_command_prints_a_table_json_and_a_page(tmp_path, capsys):
    path = tmp_path / "mail.log"
    path.write_text("\n".join(month()) + "\n")
    out = tmp_path / "page.html"
    assert run(["replay", str(path), "--html", str(out)]) == 0
    shown = capsys.readouterr()
    assert "login:a@example.com" in shown.out
    assert shown.err == ""
    assert out.read_text().startswith("<!doctype html>")
    assert run(["replay", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["cases"] == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["missing.log"], 66),
        (["{empty}"], 65),
        (["{empty}", "--start-day", "-1"], 64),
        (["{empty}", "--language", "de"], 64),
        (["{empty}", "--learn"], 64),
    ],
)
def test_what_cannot_be_done_says_so(tmp_path, capsys, arguments, code):
    empty = tmp_path / "empty.log"
    empty.write_text("nothing here\n")
    given = [text.format(empty=empty) for text in arguments]
    assert run(["replay", *given]) == code
    assert "mailshaper: " in capsys.readouterr().err


def test_what_comes_out_of_order_is_sorted_within_the_window():
    ordered = Ordered()
    out = []
    for time in (100.0, 50.0, 70.0, 100.0 + WINDOW + 1, 20.0):
        ordered.put(time, time)
        out += [at for at, _ in ordered.ready()]
    out += [at for at, _ in ordered.rest()]
    assert out == [50.0, 70.0, 100.0, 100.0, 100.0 + WINDOW + 1]
    assert ordered.late == 1


@pytest.mark.slow
@pytest.mark.skipif(not TRACES.exists(), reason="the public traces are not here")
def test_a_public_trace_of_innocent_mail_has_few_cases():
    past = Past(b"k")
    found = answer("enron", past, replay(past, [TRACES / "enron-core.txt.gz"]))
    assert found["messages"] == 21_537
    assert found["summary"]["cases"] <= 3

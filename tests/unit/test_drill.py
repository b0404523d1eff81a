"""The fire drill: traces read right, thefts planted fairly, figures named."""

import gzip
import json
import math
import random
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from shaper.cli.drill import drill as command
from shaper.core.evidence import Level, weigh
from shaper.core.model import Model
from shaper.core.profile import Profile
from shaper.core.state import State
from shaper.replay.attacks import DAY, PROFILES, Plant, draw, shots
from shaper.replay.custody import OPERATOR, Custody, Held
from shaper.replay.drill import OURS, Settings, default_start, run
from shaper.replay.page import page
from shaper.replay.report import figures
from shaper.replay.rivals import RIVALS, Bucket, Limit, ZScore
from shaper.replay.tally import poisson_interval, quantile
from shaper.replay.trace import Mail, collect, looks_like_trace, read_trace
from shaper.replay.words import conclusions

BY_NAME = {a.name: a for a in PROFILES}
PLANT = Plant(1_000_000.0, "any", 0.5, 7)
REAL = Path(__file__).parents[3] / "shared/data/traffic/enron-core.txt.gz"


def village(days=40, people=8, seed=1):
    """People who write to each other at office hours."""
    rng = random.Random(seed)
    mails = []
    for day in range(days):
        for person in range(people):
            for _ in range(rng.randrange(4)):
                when = day * DAY + 9 * 3600 + rng.randrange(8 * 3600)
                whom = (f"r{rng.randrange(15)}",)
                mails.append(Mail(float(when), f"s{person}", whom))
    return collect("village", mails)


def small(**changes):
    profiles = tuple(BY_NAME[n] for n in ("blast", "bulk"))
    return Settings(**{"attacks": 12, "profiles": profiles, **changes})


@pytest.fixture(scope="module")
def result():
    return run(village(), small())


def test_lines_of_one_second_are_one_message_and_rubbish_is_counted(tmp_path):
    path = tmp_path / "t"
    path.write_text(
        "# a comment\na x 5\na y 5\na x 5\n\nb x 4.5\nnonsense\n"
        "a x nan\na x -3\na x 1e5\na z 99999999999999\n" + "q" * 9000 + "\n",
        encoding="utf-8",
    )
    trace = read_trace(path)
    assert trace.mails == (Mail(4.5, "b", ("x",)), Mail(5.0, "a", ("x", "y")))
    assert trace.repeated == 1
    assert trace.corrupt == 6


def test_a_compressed_trace_is_read_alike(tmp_path):
    plain, packed = tmp_path / "t", tmp_path / "t.gz"
    plain.write_text("a x 5\nb y 6\n", encoding="utf-8")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_trace(plain).mails == read_trace(packed).mails
    assert looks_like_trace(packed)


def test_a_mail_log_does_not_look_like_a_trace(tmp_path):
    path = tmp_path / "mail.log"
    path.write_text("Jan  1 00:00:00 host postfix/qmgr[1]: A: removed\n" * 3)
    assert not looks_like_trace(path)


@pytest.mark.parametrize(
    ("name", "messages", "recipients", "gap"),
    [
        ("blast", 5000, 1, 1.0),
        ("multi", 250, 20, 10.0),
        ("drip", 2880, 1, 30.0),
        ("stealth", 288, 1, 300.0),
        ("lateral", 5000, 1, 5.0),
        ("contacts", 1440, 1, 60.0),
        ("bulk", 100, 50, 60.0),
    ],
)
def test_attacks_are_what_they_are_called(name, messages, recipients, gap):
    sent = list(shots(BY_NAME[name], PLANT, [1, 2, 3], 0.0))
    assert len(sent) == messages
    assert {len(s.recipients) for s in sent} == {recipients}
    assert sent[1].time - sent[0].time == gap
    known = sum(r in {1, 2, 3} for s in sent for r in s.recipients)
    share = known / (messages * recipients)
    assert share == pytest.approx(BY_NAME[name].known, abs=0.05)
    assert sum(s.unknown for s in sent) == messages * recipients - known


def test_the_ramp_grows_a_tenth_a_day_at_usual_hours():
    sent = list(shots(BY_NAME["ramp"], PLANT, [], 9 * 3600.0))
    first = sent[0].time
    per_day = [0] * 90
    for shot in sent:
        per_day[int((shot.time - first) // DAY)] += 1
    assert per_day[:3] == [2, 2, 2]
    assert per_day[30] == round(2 * 1.1**30)
    assert len(sent) == 5000
    assert all(9 * 3600 <= s.time % DAY < 17 * 3600 for s in sent)


def test_plants_are_drawn_by_the_seed_in_order_and_inside():
    plants = draw(3, 200, 10.0, 20.0)
    assert plants == draw(3, 200, 10.0, 20.0) == sorted(plants)
    assert plants != draw(4, 200, 10.0, 20.0)
    assert all(10.0 <= p.time < 20.0 for p in plants)
    assert {p.pool for p in plants} == {"active", "any", "new"}
    assert {p.time for p in draw(3, 50, 10.0, 20.0, [11.0, 12.0])} == {11.0, 12.0}


def test_rivals_keep_their_rules():
    limit = Limit()
    assert [limit.over(float(i), 1) for i in range(101)] == [False] * 100 + [True]
    assert not limit.over(3600.5, 1)
    slow = Limit()
    assert [slow.over(i * 60.0, 1) for i in range(501)].index(True) == 500
    bucket = Bucket()
    assert [bucket.over(0.0, 1) for _ in range(61)].index(True) == 60
    assert not bucket.over(61.0, 1)
    zscore = ZScore()
    assert any(zscore.over(float(i), 1) for i in range(100))


@pytest.mark.parametrize("name", sorted(RIVALS))
def test_a_copy_of_a_rival_is_independent(name):
    rival = RIVALS[name]()
    other = rival.copy()
    for i in range(300):
        other.over(float(i), 5)
    assert not rival.over(400.0, 1)


def test_quantiles_and_intervals():
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile(range(1, 101), 0.9) == 90
    assert math.isnan(quantile([], 0.5))
    assert poisson_interval(0) == pytest.approx((0.0, 3.689), abs=1e-3)
    assert poisson_interval(5) == pytest.approx((1.623, 11.668), abs=1e-3)
    low, high = poisson_interval(400)
    assert (low, high) == pytest.approx((361.8, 441.2), abs=0.2)


def test_the_same_seed_gives_the_same_drill(result):
    assert figures(run(village(), small())) == figures(result)
    other = figures(run(village(), small(seed=2)))
    assert (
        other["detectors"][OURS]["profiles"]
        != (figures(result)["detectors"][OURS]["profiles"])
    )


def test_attacks_teach_the_replay_nothing(result):
    without = run(village(), small(attacks=1))
    assert without.innocents[OURS].alarms == result.innocents[OURS].alarms
    assert without.model == result.model


def test_the_figures_have_their_names(result):
    found = json.loads(json.dumps(figures(result), allow_nan=False))
    assert found["trace"] == "village"
    assert found["senders"] == 8
    assert found["active_sender_days"] > 100
    assert list(found["detectors"]) == ["mailshaper", "limit", "bucket", "zscore"]
    for detector in found["detectors"].values():
        assert detector["false_alarms"] >= 0
        assert "false_alarms_per_10k_sender_days" in detector
        assert "legitimate_recipients_delayed_ratio" in detector
        for profile in detector["profiles"].values():
            assert {
                "escaped_median",
                "escaped_p90",
                "escaped_max",
                "missed_ratio",
                "seconds_to_alarm_median",
            } <= set(profile)
    blast = found["detectors"]["limit"]["profiles"]["blast"]
    # The sender's own mail goes on and fills the limit too.
    assert 90 <= blast["escaped_median"] <= 100
    ours = found["detectors"]["mailshaper"]["profiles"]["blast"]
    assert ours["escaped_median"] < 20
    assert ours["missed_ratio"] == 0
    assert set(ours["with_bounces"]) == {"5", "20", "40"}


def test_the_start_day_is_where_a_third_was_sent():
    trace = village()
    assert default_start(trace.mails) == pytest.approx(13, abs=1)
    assert default_start(()) == 0


def test_an_empty_or_tiny_history_is_no_error():
    assert figures(run(collect("none", []), small()))["active_sender_days"] == 0
    one = collect("one", [Mail(5.0, "a", ("b",))])
    found = figures(run(one, small(start_day=0)))
    assert found["active_sender_days"] == 1
    assert conclusions(found)
    late = figures(run(one, small(start_day=9)))
    assert "Lower --start-day" in conclusions(late)[0]


def test_the_page_stands_alone_and_escapes_names(result):
    found = figures(result)
    found["trace"] = "<script>alert(1)</script>"
    text = page(found)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "http" not in text.replace("http-equiv", "")
    assert "median / 90 %" in text


def test_an_innocent_in_custody_comes_back_by_itself_or_by_the_operator():
    model = Model.default()
    for spam in (0, 400):
        profile = Profile.new(0.0, "login")
        now, i = 3600.0 * 9, 0
        while weigh(profile, model, [i], now).level < Level.SLOW:
            now, i = now + 1, i + 1
        custody = Custody(profile, model, Held(now, (i,), thief=False))
        for j in range(spam):
            custody.advance(now + j, operator=True)
            custody.hold(Held(now + j, (10**6 + j,), thief=False))
        assert custody.record.state is (State.BLOCKED if spam else State.SLOWED)
        custody.advance(now + spam + OPERATOR + DAY, operator=True)
        assert custody.over
        assert not custody.waiting
        assert len(custody.released) == spam + 1


APP = typer.Typer()
APP.command()(command)


def write(tmp_path):
    path = tmp_path / "village"
    path.write_text(
        "".join(f"{m.sender} {m.recipients[0]} {m.time:.0f}\n" for m in village().mails)
    )
    return path


def test_the_command_prints_json_and_a_page(tmp_path):
    path, html = write(tmp_path), tmp_path / "page.html"
    args = [str(path), "--json", "--attacks", "3", "--profile", "blast"]
    done = CliRunner().invoke(APP, [*args, "--html", str(html)])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert list(found["detectors"]["mailshaper"]["profiles"]) == ["blast"]
    assert html.read_text().startswith("<!doctype html>")


def test_the_command_prints_a_table_for_people(tmp_path):
    done = CliRunner().invoke(
        APP, [str(write(tmp_path)), "--attacks", "3", "--profile", "blast"]
    )
    assert done.exit_code == 0, done.output
    assert "blast" in done.stdout
    assert "innocent sender-days" in done.stdout


@pytest.mark.parametrize(
    ("make", "args", "code", "said"),
    [
        (None, [], 66, "cannot read"),
        ("hello\n", [], 65, "no mail found"),
        ("a b 1\n", ["--profile", "nosuch"], 64, "nosuch"),
        ("a b 1\n", ["--html", "/nonexistent/x.html"], 73, "cannot write"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_exit_code(
    tmp_path, make, args, code, said
):
    path = tmp_path / "trace"
    if make:
        path.write_text(make)
    done = CliRunner().invoke(APP, [str(path), "--attacks", "1", *args])
    assert done.exit_code == code
    assert said in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(not REAL.exists(), reason="the reference traffic is not here")
def test_a_real_trace_keeps_the_promises():
    """Few false alarms and early stops where nothing was tuned."""
    found = figures(run(read_trace(REAL), Settings(attacks=20, start_day=900)))
    ours = found["detectors"]["mailshaper"]
    assert ours["false_alarms"] <= 2
    for name in ("blast", "drip", "stealth", "lateral"):
        profile = ours["profiles"][name]
        assert profile["missed_ratio"] == 0
        assert profile["escaped_median"] <= 25
        assert profile["messages_leaked_until_block_p90"] <= 10
    assert ours["profiles"]["ramp"]["escaped_median"] <= 300

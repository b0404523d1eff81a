"""Names, labels and the page are what the declarations say; counting counts."""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.message import Action, Decision, HeldMessage, RecipientFate, Submission
from shaper.core.outcome import Kind, Meaning, Outcome
from shaper.core.reply import Phase, Reply
from shaper.metrics.counting import Metrics
from shaper.metrics.declared import ALL
from shaper.metrics.page import page
from shaper.metrics.standing import Standing

ROOT = Path(__file__).parents[2]


def submission(recipients=1):
    listed = tuple(Recipient(f"r{i}@example.net") for i in range(recipients))
    envelope = Envelope("a@example.org", listed)
    return Submission("m1", "login:a", envelope, Client(), 0.0)


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def metrics(registry):
    return Metrics(registry, "hop")


def test_the_page_is_what_the_declarations_say():
    assert (ROOT / "docs" / "metrics.md").read_text() == page(), (
        "python -m shaper.metrics.page > docs/metrics.md"
    )


def test_names_have_base_units_and_counters_end_in_total():
    names = [one.name for one in ALL]
    assert len(names) == len(set(names))
    for one in ALL:
        assert one.name.startswith("mailshaper_")
        assert (one.kind == "counter") == one.name.endswith("_total"), one.name
        assert not re.search(r"_(ms|milliseconds|percent|kb|mb|octets)\b", one.name)
        assert one.help.endswith("."), one.name
        assert one.act, one.name
        assert bool(one.labels) == bool(one.values), one.name
        for label in one.labels:
            assert f"`{label}`" in one.values, one.name


def test_no_label_can_hold_a_person():
    allowed = {
        "action", "allowance", "channel", "class", "event", "fate", "friend", "log",
        "meaning",
        "part", "phase", "placement", "python", "queue", "reason", "receiver",
        "result", "state", "version",
    }  # fmt: skip
    assert {label for one in ALL for label in one.labels} <= allowed


def test_a_refusal_for_now_counts_as_answer_and_a_twin_does_not(registry, metrics):
    def answered():
        labels = {"action": "answer", "placement": "hop"}
        return registry.get_sample_value("mailshaper_recipients_total", labels)

    twin = Decision(Action.ANSWER, Reply(250, ("2.0.0 Held already",), Phase.END))
    metrics.decided(submission(3), twin, 0.001)
    assert answered() == 0
    away = Decision(Action.ANSWER, Reply(451, ("4.3.0 later",), Phase.END))
    metrics.decided(submission(3), away, 0.001)
    assert answered() == 3
    name = "mailshaper_decision_duration_seconds_count"
    assert registry.get_sample_value(name) == 2


def test_a_release_is_a_held_message_that_reached_somebody(registry, metrics):
    def released(queue):
        name = "mailshaper_releases_total"
        return registry.get_sample_value(name, {"queue": queue})

    gone = {0: RecipientFate.DELIVERED, 1: RecipientFate.REFUSED}
    metrics.finished(HeldMessage(submission(2), 10, fates=gone))
    metrics.finished(HeldMessage(submission(2), 10, fates=gone, order="o1"))
    metrics.finished(HeldMessage(submission(2), 10, fates=gone, notice=True))
    dropped = dict.fromkeys(range(2), RecipientFate.DROPPED)
    metrics.finished(HeldMessage(submission(2), 10, fates=dropped, order="o1"))
    assert [released(q) for q in ("trickle", "released", "notice")] == [1, 1, 1]
    name = "mailshaper_held_recipients_total"
    assert registry.get_sample_value(name, {"fate": "delivered"}) == 2
    assert registry.get_sample_value(name, {"fate": "dropped"}) == 2


def test_what_no_server_said_is_an_error_and_no_reply(registry, metrics):
    lost = Reply(451, ("4.4.1 no answer",), Phase.CONNECT, synthetic=True)
    metrics.replied(lost, 0.0)
    metrics.replied(Reply(250, ("2.0.0 ok",)), 0.2)
    value = registry.get_sample_value
    assert value("mailshaper_next_hop_errors_total", {"phase": "connect"}) == 1
    assert value("mailshaper_next_hop_replies_total", {"class": "2xx"}) == 1
    assert value("mailshaper_next_hop_replies_total", {"class": "4xx"}) == 0
    assert value("mailshaper_forward_duration_seconds_sum") == 0.2


def test_outcomes_are_counted_by_meaning_and_group(registry, metrics):
    outcome = Outcome(Kind.DSN, Meaning.DEAD_ADDRESS, recipient="x@nobody.example")
    metrics.outcome(outcome, "login:a")
    metrics.outcome(outcome, "login:a")
    behind = Outcome(
        Kind.LOG,
        Meaning.HOST_REFUSED,
        recipient="x@nobody.example",
        remote_mta="gmail-smtp-in.l.google.com",
    )
    metrics.outcome(behind, "")

    def counted(meaning, receiver):
        labels = {"meaning": meaning, "receiver": receiver}
        return registry.get_sample_value("mailshaper_outcomes_total", labels)

    assert counted("dead_address", "other") == 2
    assert counted("host_refused", "google") == 1


async def test_an_engine_that_is_not_there_yet_is_not_ready():
    standing = Standing("1", "hop")
    assert list(await standing.reasons()) == ["restoring"]
    values = await standing.read()
    assert values["mailshaper_unready"][("restoring",)] == 1
    with pytest.raises(ValueError, match="not declared"):
        standing.add("mailshaper_surprise", dict)

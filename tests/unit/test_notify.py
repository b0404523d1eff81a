"""The notice mail: complete in both languages, harmless whatever came in."""

import email
from datetime import UTC, datetime
from email import policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.core.case import Case, Step
from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.evidence import weigh
from shaper.core.judgement import Transition
from shaper.core.message import Submission
from shaper.core.model import Model
from shaper.core.profile import Profile
from shaper.core.record import Run
from shaper.core.state import Event, State
from shaper.core.text import bland
from shaper.notify.mail import NoticeSettings, compose
from shaper.notify.text import LANGUAGES, WORDS, part_name, why

NOW = 1.8e9
WHEN = datetime.fromtimestamp(NOW, UTC)


def evidence():
    profile = Profile.new(NOW, "login")
    for i in range(200):
        found = weigh(profile, Model.default(), [i], NOW + i)
    return found


def case(sender="login:alice@example.org", subject="Win"):
    made = Case.open("c1", sender, Run(NOW - 60, 4, 7, NOW), NOW, "main")
    made.moved(Transition(Event.ALARM, State.NORMAL, State.SLOWED, NOW, evidence()))
    envelope = Envelope("a@b.example", (Recipient("x@y.example"),))
    made.saw(
        Submission("m1", sender, envelope, Client("192.0.2.1"), NOW, subject=subject)
    )
    return made


def read(made, language="en", **over):
    settings = NoticeSettings(("admin@example.org",), "m@x.example", language, **over)
    envelope, content = compose(made, settings, "mail.example.org", WHEN, UTC)
    mail = email.message_from_bytes(
        content.replace(b"\r\n..", b"\r\n."), policy=policy.default
    )
    return envelope, mail, mail.get_content()


def test_every_word_exists_in_every_language():
    assert set(WORDS) == set(LANGUAGES)
    assert WORDS["en"].keys() == WORDS["fr"].keys()
    for language in LANGUAGES:
        for part in evidence().parts:
            words = part_name(part.name, language)
            assert words != part.name
            assert part.note in {"nats", "recipients", "messages"}
    assert part_name("made up 3 h", "fr") == "made up 3 h"


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_says_who_since_when_why_how_much_and_what_to_type(language):
    envelope, mail, text = read(case(), language)
    assert envelope.recipients == (Recipient("admin@example.org"),)
    assert "alice@example.org" in mail["Subject"]
    assert mail["Auto-Submitted"] == "auto-generated"
    assert why(evidence(), language).split(":")[0] in text
    assert "2027-01-15 08:00:00 UTC" in text
    assert WORDS[language]["counts"].format(messages=4, recipients=7) in text
    assert WORDS[language]["counts"].format(messages=1, recipients=1) in text
    assert "mailshaper show c1" in text
    assert "mailshaper release login:alice@example.org --reason" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_end_is_told_without_commands():
    made = case()
    made.moved(Transition(Event.CALM, State.SLOWED, State.NORMAL, NOW + 9, evidence()))
    _, mail, text = read(made)
    assert "back to normal" in mail["Subject"]
    assert "--reason" not in text


def test_observation_says_so():
    assert WORDS["fr"]["observed"] in read(case(), "fr", enforce=False)[2]


def test_an_operators_block_names_person_and_reason():
    made = case()
    made.note(Step(NOW, "confirmed", "blocked", "root", "password changed"))
    made.state = State.BLOCKED
    assert "blocked by root: password changed" in read(made)[2]


@given(st.text(min_size=1, max_size=60), st.text(max_size=60))
def test_outside_text_stays_text(sender, subject):
    envelope, mail, text = read(case(f"login:{sender}", subject))
    assert [r.address for r in envelope.recipients] == ["admin@example.org"]
    assert mail["To"] == "admin@example.org"
    assert mail["Bcc"] is None
    assert all(
        line.rstrip("\r") == bland(line.rstrip("\r")) for line in text.split("\n")
    )

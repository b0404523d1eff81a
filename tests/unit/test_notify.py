"""The notice mail: complete in both languages, harmless whatever came in."""

import email
import subprocess
from datetime import UTC
from email import policy
from html.parser import HTMLParser

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
from shaper.notify.mail import Composer, NoticeSettings
from shaper.notify.owner import owner_address
from shaper.notify.text import (
    LANGUAGES,
    WORDS,
    counts,
    measure,
    part_name,
    percent,
    why,
)

NOW = 1.8e9


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


def opened(content):
    return email.message_from_bytes(
        content.replace(b"\r\n..", b"\r\n."), policy=policy.default
    )


def composer(language="en", **over):
    settings = NoticeSettings(
        ("admin@example.org",), "m@x.example", language, zone=UTC, **over
    )
    return Composer(settings, "mail.example.org")


def read(made, language="en", *, waiting=(1, 1), first=True, **over):
    envelope, content = composer(language, **over).case(made, waiting, NOW, first=first)
    mail = opened(content)
    plain = mail.get_body(("plain",)).get_content().replace("\r\n", "\n")
    return envelope, mail, plain


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
    envelope, mail, text = read(case(), language, waiting=(3, 1200))
    flat = " ".join(text.replace("\n", " ").split(" "))
    assert envelope.recipients == (Recipient("admin@example.org"),)
    assert "alice@example.org" in mail["Subject"]
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Id"] is None
    assert why(evidence(), language).split(":")[0].strip() in text
    assert "2027-01-15 08:00:00 UTC" in text
    assert counts((4, 7), language) in flat
    assert counts((3, 1200), language) in flat
    assert "\n  mailshaper show c1\n" in text
    assert "\n  mailshaper release login:alice@example.org --reason '...'\n" in text
    assert max(map(len, text.splitlines())) <= 80


def test_french_is_written_as_french_is():
    assert counts((0, 1), "fr") == "0\xa0message pour 1\xa0destinataire"
    assert counts((2, 1234), "fr") == "2\xa0messages pour 1\u202f234\xa0destinataires"
    assert counts((0, 1), "en") == "0 messages to 1 recipient"
    assert counts((1, 1234), "en") == "1 message to 1,234 recipients"
    assert measure(2.5, "nats", "fr") == "2,5\xa0nats de surprise"
    assert measure(1.0, "nats", "fr") == "1,0\xa0nat de surprise"
    assert measure(1.0, "nats", "en") == "1.0 nat of surprise"
    assert percent(2.5, "fr") == "250\xa0%"
    for key, text in WORDS["fr"].items():
        assert " :" not in text, key
        assert " ;" not in text, key
    assert "\xa0: " in why(evidence(), "fr")


def test_a_command_for_a_strange_sender_can_be_copied_and_is_harmless():
    made = case("login:o'brien \x1b[2J$(reboot)\u202e")
    text = read(made)[2]
    line = next(row for row in text.splitlines() if "mailshaper release" in row)
    said = subprocess.run(
        ["bash", "-c", f'mailshaper() {{ printf %s "$2"; }}; {line}'],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert said == made.sender
    assert bland(line) == line


def test_the_mails_of_a_case_form_one_thread():
    made = case()
    first = read(made)[1]
    assert read(made)[1]["Message-ID"] == first["Message-ID"]
    made.moved(
        Transition(Event.SEVERE, State.SLOWED, State.BLOCKED, NOW + 9, evidence())
    )
    later = read(made, first=False)[1]
    assert later["In-Reply-To"] == later["References"] == first["Message-ID"]
    assert later["Message-ID"] != first["Message-ID"]


def test_a_blocked_senders_mail_offers_to_throw_it_away():
    made = case()
    made.moved(
        Transition(Event.SEVERE, State.SLOWED, State.BLOCKED, NOW + 9, evidence())
    )
    text = read(made)[2]
    assert "mailshaper queue drop --sender login:alice@example.org --reason" in text
    assert WORDS["en"]["severe"].split(maxsplit=1)[0] in text


def test_the_end_is_told_without_commands():
    made = case()
    made.moved(Transition(Event.CALM, State.SLOWED, State.NORMAL, NOW + 9, evidence()))
    _, mail, text = read(made)
    assert "back to normal" in mail["Subject"]
    assert "--reason" not in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_observation_never_says_that_something_was_held(language):
    _, mail, text = read(case(), language, enforce=False)
    words = WORDS[language]
    assert words["slowed_observed"].split("}")[1] in mail["Subject"]
    assert words["would"] in text
    assert words["held"] not in text
    assert "mailshaper block" not in text


def test_an_operators_block_names_person_and_reason():
    made = case()
    made.note(Step(NOW, "confirmed", "blocked", "root", "password changed"))
    made.state = State.BLOCKED
    assert "blocked by root: password changed" in read(made)[2]


def test_a_note_in_the_story_is_no_step_to_tell_of():
    made = case()
    made.told.append(made.untold)
    made.note(Step(NOW + 5, "expired", "blocked"))
    assert made.untold == ""


class Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


@given(st.text(max_size=40), st.text(max_size=60))
def test_the_html_form_holds_no_markup_from_outside_and_fetches_nothing(who, subject):
    made = case(f"login:<img src=//evil.example>{who}", f"<script>{subject}")
    mail = read(made, html=True)[1]
    assert mail.get_content_type() == "multipart/alternative"
    found = Elements()
    found.feed(mail.get_body(("html",)).get_content())
    assert not {"img", "script", "link", "a", "iframe"} & set(found.tags)
    assert not {"src", "href", "background"} & {name for name, _ in found.attributes}
    assert not any("url(" in (value or "") for _, value in found.attributes)
    assert "<img src=//evil.example>" in found.text
    assert "mailshaper show c1" in found.text


@pytest.mark.parametrize("language", LANGUAGES)
def test_many_cases_and_the_digest_are_lists_of_bounded_length(language):
    cases = [(case(f"login:user{n}@example.org"), (n, n)) for n in range(50)]
    for write in (composer(language).summary, composer(language).digest):
        mail = opened(write(cases, NOW)[1])
        text = mail.get_content()
        assert "50" in mail["Subject"]
        assert "login:user29@example.org" in text
        assert "login:user30@example.org" not in text
        assert "mailshaper cases" in text
        assert len(text) < 10_000


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_owner_is_told_in_plain_words_without_internals(language):
    write = composer(language, owner=True).owner
    envelope, content = write(case("login:alice@example.org"), NOW)
    assert envelope.is_null
    assert envelope.recipients == (Recipient("alice@example.org"),)
    mail = opened(content)
    text = mail.get_content()
    assert mail["To"] == "alice@example.org"
    for word in ("nats", "mailshaper ", "spam", "http", "login:"):
        assert word not in text
    assert composer(language).owner(case(), NOW) is None


@pytest.mark.parametrize(
    "sender",
    ["login:alice", "script:/var/www/x@y.example", "from:a@b.example", "login:",
     "login:a@b.example\r\nBcc: x@y.example", "login:a b@c.example", "login:a@b@c.de",
     "login:é@example.org", "login:-x@example.org", "login:a,b@example.org"],
)  # fmt: skip
def test_an_owner_is_never_guessed(sender):
    assert owner_address(sender) == ""


@given(st.text(min_size=1, max_size=60), st.text(max_size=60))
def test_outside_text_stays_text(sender, subject):
    envelope, mail, text = read(case(f"login:{sender}", subject))
    assert [r.address for r in envelope.recipients] == ["admin@example.org"]
    assert mail["To"] == "admin@example.org"
    assert mail["Bcc"] is None
    assert all(
        line.rstrip("\r") == bland(line.rstrip("\r")) for line in text.split("\n")
    )

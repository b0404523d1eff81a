"""Senders as operators write them become senders as the hop writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.admin_commands import canonical
from shaper.core.envelope import Client, Envelope
from shaper.core.header import HeaderFacts
from shaper.core.identity import identify


@pytest.mark.parametrize(
    ("text", "sender"),
    [
        ("login:alice@example.org", "login:alice@example.org"),
        ("LOGIN:Alice@Example.ORG", "login:alice@example.org"),
        ("from:Straße@example.org", "from:strasse@example.org"),
        ("login:a:b", "login:a:b"),
        ("uid:1000", "uid:1000"),
        ("Uid:007", "uid:7"),
        ("Friend:Asso", "friend:Asso"),  # as the configuration names it
        ("friend:a b", ""),
        ("friend:", ""),
        ("uid:www-data", ""),
        ("uid:²", ""),
        ("uid:99999999999", ""),
        ("alice@example.org", ""),
        ("login:", ""),
        ("log:alice", ""),
        ("", ""),
    ],
)
def test_canonical(text, sender):
    assert canonical(text) == sender


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(texts)
def test_the_hop_writes_a_login_the_same_way(text):
    sender = identify(
        Envelope("x@example.org", ()),
        Client(),
        HeaderFacts(),
        policy_login=text,
        login_header="",
        trust_auth=False,
    )
    if sender.startswith("login:"):
        assert canonical(f"Login:{text}") == sender


@given(texts)
def test_the_hop_writes_an_envelope_sender_the_same_way(text):
    sender = identify(
        Envelope(text, ()),
        Client(),
        HeaderFacts(),
        policy_login=None,
        login_header="",
        trust_auth=False,
    )
    assert canonical(f"FROM:{text}") == sender
    assert canonical(sender) == sender

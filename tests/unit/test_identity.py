"""Who the sender is: the order of trust, as a table."""

import pytest

from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.header import HeaderFacts
from shaper.core.identity import identify

RECIPIENTS = (Recipient("bob@example.net"),)


def who(
    sender="Alice@Example.test",
    parameters=(),
    *,
    policy=None,
    client=None,
    logins=(),
    userid="",
    field="X-Login",
    auth=True,
):
    return identify(
        Envelope(sender, RECIPIENTS, parameters),
        client or Client(),
        HeaderFacts(logins=list(logins), userid=userid),
        policy_login=policy,
        login_header=field,
        trust_auth=auth,
    )


LOCAL = Client(source="LOCAL")


@pytest.mark.parametrize(
    ("arguments", "identity"),
    [
        ({}, "from:alice@example.test"),
        ({"sender": ""}, ""),
        ({"sender": "", "policy": "alice"}, "login:alice"),
        ({"sender": "", "client": LOCAL, "userid": "33"}, "uid:33"),
        ({"policy": "Alice"}, "login:alice"),
        ({"policy": "alice", "logins": ["login:bob"]}, "login:alice"),
        ({"policy": "alice", "client": Client(login="bob")}, "login:alice"),
        ({"client": Client(login="Bob")}, "login:bob"),
        ({"client": Client(login="bob"), "logins": ["login:carol"]}, "login:bob"),
        ({"logins": ["login:Carol"]}, "login:carol"),
        ({"logins": ["Carol"]}, "login:carol"),
        ({"logins": ["uid:33"]}, "uid:33"),
        ({"logins": ["uid:33x"]}, "from:alice@example.test"),
        ({"logins": [""]}, "from:alice@example.test"),
        # Two copies: one is the client's, and nobody knows which.
        ({"logins": ["login:a", "login:b"]}, "from:alice@example.test"),
        ({"logins": ["login:a"], "field": ""}, "from:alice@example.test"),
        ({"parameters": ("AUTH=Dan+2Bx@y",)}, "login:dan+x@y"),
        ({"parameters": ("AUTH=dan",), "auth": False}, "from:alice@example.test"),
        ({"parameters": ("AUTH=<>",)}, "from:alice@example.test"),
        ({"parameters": ("AUTH=a+0Ab",)}, "from:alice@example.test"),
        ({"parameters": ("AUTH=dan",), "logins": ["login:eve"]}, "login:eve"),
        ({"client": LOCAL, "userid": "1000"}, "uid:1000"),
        ({"client": LOCAL}, "from:alice@example.test"),
        # Remote mail may carry any Received it likes.
        ({"userid": "0"}, "from:alice@example.test"),
        ({"client": Client(source="REMOTE"), "userid": "0"}, "from:alice@example.test"),
        ({"client": LOCAL, "userid": "1000", "policy": "alice"}, "login:alice"),
        ({"policy": "evil\nname"}, "from:alice@example.test"),
        ({"policy": "x" * 400}, "from:alice@example.test"),
        ({"policy": "STRASSE"}, "login:strasse"),
    ],
)
def test_the_order_of_trust(arguments, identity):
    assert who(**arguments) == identity

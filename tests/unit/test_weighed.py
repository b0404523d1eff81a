"""A message is weighed once however it is retried, and no thief gains by that."""

from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.message import Submission
from shaper.engine.weighed import Weighed


def message(ident="", message_id="<m@x>"):
    envelope = Envelope("a@x", (Recipient("b@y"),))
    return Submission(
        "1", "login:a", envelope, Client(ident=ident), 0.0, message_id=message_id
    )


def test_a_retry_with_fewer_or_other_recipients_counts_only_the_new_ones():
    weighed = Weighed()
    weighed.note(message("Q1"), [1, 2, 3], 0.0)
    assert weighed.fresh(message("Q1"), [1, 2]) == []
    assert weighed.fresh(message("Q1"), [3, 4]) == [4]
    weighed.note(message("Q1"), [3, 4], 1.0)
    assert weighed.fresh(message("Q1"), [1, 2, 3, 4]) == []
    assert weighed.fresh(message("Q2"), [1]) == [1]


def test_a_repeated_message_id_counts_anew_once_it_was_accepted():
    weighed = Weighed()
    for _ in range(3):
        assert weighed.fresh(message(), [1]) == [1]
        weighed.note(message(), [1], 0.0)
        assert weighed.fresh(message(), [1]) == []
        weighed.accepted(message())


def test_a_queue_id_stays_known_after_acceptance():
    weighed = Weighed()
    weighed.note(message("Q1"), [1], 0.0)
    weighed.accepted(message("Q1"))
    assert weighed.fresh(message("Q1"), [1]) == []


def test_mail_without_any_name_always_counts():
    weighed = Weighed()
    weighed.note(message(message_id=""), [1], 0.0)
    assert weighed.fresh(message(message_id=""), [1]) == [1]


def test_old_messages_are_forgotten():
    weighed = Weighed()
    weighed.note(message("Q1"), [1], 0.0)
    weighed.note(message("Q2"), [1], 6 * 86400.0)
    assert weighed.fresh(message("Q1"), [1]) == [1]
    assert weighed.fresh(message("Q2"), [1]) == []

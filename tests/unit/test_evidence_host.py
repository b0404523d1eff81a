"""Many senders at once are an alarm of their own."""

import pytest

from shaper.core.host import host_evidence


@pytest.mark.parametrize(
    ("deviating", "active", "alarm"),
    [
        (0, 0, False),
        (1, 1, False),
        (1, 30, False),
        (2, 27, False),
        (5, 25, True),
        (10, 1000, False),
        (40, 1000, True),
        (-3, 10, False),
        (50, 10, True),
    ],
)
def test_only_many_at_once_alarm(deviating, active, alarm):
    assert host_evidence(deviating, active).alarm is alarm


def test_more_deviating_senders_are_never_less_evidence():
    totals = [host_evidence(n, 200).total for n in range(201)]
    assert totals == sorted(totals)


def test_it_says_the_numbers():
    assert "5 of 25 senders" in host_evidence(5, 25).sentence()

"""Floors on the reference data; ``python -m bench.outcomes`` prints the figures."""

import pytest

from bench.outcomes.measure import CONTESTED, Figures, run
from tests.support.needs import shared_data


@pytest.fixture(scope="module")
def figures() -> Figures:
    return run(shared_data("bounces").parent)


def test_no_living_address_is_called_dead(figures):
    assert figures.living_called_dead == []


def test_every_flufl_address_and_temporary_flag_is_right(figures):
    assert figures.flufl_addresses.wrong == []
    assert figures.flufl_temporary.wrong == []


@pytest.mark.parametrize(
    ("name", "floor"),
    [("hardness", 0.97), ("replies", 0.97), ("status", 0.97), ("code", 0.97)],
)
def test_the_floors_hold_without_any_excuse(figures, name, floor):
    score = getattr(figures, name)
    assert score.ratio >= floor, score.wrong


def test_recipients_are_found(figures):
    # Four of the 318 references cannot be met: two are placeholders, one is cut off,
    # one is an address that the bounce does not blame (see CONTESTED).
    assert figures.recipients.ratio >= 0.985
    assert figures.recipients.without(CONTESTED) >= 0.99, figures.recipients.wrong


def test_postfix_fields_that_matter_are_all_right(figures):
    assert figures.postfix.total > 180
    assert figures.postfix.wrong == []


def test_every_wrong_answer_about_hard_or_soft_is_contested_by_name(figures):
    for score in (figures.hardness, figures.replies, figures.recipients):
        assert [name for name in score.wrong if name not in CONTESTED] == []

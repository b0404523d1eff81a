"""The operator's table."""

from federation.trust.levels import Level, Standing, Trust
from tests.support.federated import org, trust


def test_who_is_not_in_the_table_has_no_weight():
    assert Trust().weight(org("x")) == 0
    assert Trust().standing(org("x")) == Standing(Level.SEEN)


def test_levels_in_thousandths():
    table = trust(a="refused", b="seen", c="known", d="trusted", e="sole", f="self")
    assert [table.weight(org(name)) for name in "abcdef"] == [
        0,
        0,
        40_000,
        100_000,
        200_000,
        0,
    ]
    assert table.believed() == [org("c"), org("d"), org("e")]


def test_the_audit_only_lowers():
    table = trust({"a": 500, "b": 5000, "c": -5}, a="trusted", b="trusted", c="trusted")
    assert [table.weight(org(name)) for name in "abc"] == [50_000, 100_000, 0]


def test_a_group_has_one_name_and_a_lone_organisation_its_own():
    table = trust(a="known/g", b="known/g", c="known")
    assert table.group(org("a")) == table.group(org("b")) == "group g"
    assert table.group(org("c")) != table.group(org("d"))
    fooled = trust(a=f"known/{org('c').hex()}", c="known")
    assert fooled.group(org("a")) != fooled.group(org("c"))

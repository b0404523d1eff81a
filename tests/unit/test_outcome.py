"""The judging function, its guards, and the table that drives it."""

import pytest

from shaper.core.meaning import Signals, Table, TableError, judge, normalise
from shaper.core.outcome import Kind, Meaning, Outcome
from shaper.feedback.table import load_table, shipped_table


def _table(**sections):
    return Table(sections)


def _entry(**more):
    return {"name": "x", "meaning": "dead_address", "reason": "r", **more}


def test_the_enhanced_status_decides_before_the_digits():
    table = shipped_table()
    assert judge(Signals("5.1.1", "550", "no"), table).meaning == "dead_address"
    assert judge(Signals("5.2.2", "550", "no"), table).meaning == "temporary"
    assert judge(Signals("4.1.1", "550", "no"), table).meaning == "temporary"
    assert judge(Signals("", "550", "no"), table).meaning == "unknown"


def test_the_text_decides_only_over_the_statuses_that_its_entry_lists():
    table = _table(
        text=[_entry(any=["gone"], status=["5.0.*"])],
        status=[_entry(name="s", meaning="temporary", status=["5.3.*"])],
    )
    assert judge(Signals("5.0.0", "550", "it is Gone"), table).rule == "x"
    assert judge(Signals("5.3.0", "550", "it is gone"), table).rule == "s"


@pytest.mark.parametrize(
    ("status", "code", "phase", "meaning"),
    [
        ("5.7.1", "550", "rcpt", Meaning.MESSAGE_REFUSED),
        ("5.7.999", "550", "rcpt", Meaning.MESSAGE_REFUSED),
        ("4.1.1", "450", "rcpt", Meaning.TEMPORARY),
        ("", "450", "rcpt", Meaning.TEMPORARY),
        ("5.1.1", "550", "mail", Meaning.UNKNOWN),
        ("5.1.1", "550", "connect", Meaning.UNKNOWN),
        ("5.1.1", "550", "rcpt", Meaning.DEAD_ADDRESS),
    ],
)
def test_no_entry_of_a_table_can_condemn_by_accident(status, code, phase, meaning):
    table = _table(text=[_entry(any=["a"])], status=[_entry(status=["*"])])
    verdict = judge(Signals(status, code, "aaa", phase), table)
    assert verdict.meaning is meaning
    assert verdict.permanent is (code == "550")


def test_a_success_is_a_success_whatever_its_text_says():
    verdict = judge(
        Signals("2.0.0", "250", "user unknown, mailbox full"), shipped_table()
    )
    assert (verdict.meaning, verdict.permanent) == (Meaning.DELIVERED, False)


def test_what_nothing_understands_is_unknown_and_condemns_nobody():
    verdict = judge(Signals("", "", "gibberish"), shipped_table())
    assert (verdict.meaning, verdict.permanent) == (Meaning.UNKNOWN, False)
    assert judge(Signals("5.99.99", "599", "gibberish"), shipped_table()).permanent


def test_a_malformed_status_counts_as_none():
    assert judge(Signals("banana", "", ""), shipped_table()).meaning == "unknown"
    assert judge(Signals("5.1", "452", ""), shipped_table()).meaning == "temporary"


def test_stars_in_phrases_stand_for_anything_in_between():
    table = _table(text=[_entry(any=["user * not here"], status=["none"])])
    assert judge(Signals(text="the user bob is not here"), table).rule == "x"
    assert judge(Signals(text="not here, user"), table).rule == ""


def test_an_entry_may_be_bound_to_phase_code_and_domain():
    table = _table(
        text=[_entry(any=["no"], phase=["rcpt"], code=["55x"], domain=["example.org"])]
    )
    yes = Signals("", "553", "no", "rcpt", "bob@mx.EXAMPLE.org".replace("mx.", ""))
    assert judge(yes, table).rule == "x"
    for other in (
        Signals("", "453", "no", "rcpt", "bob@example.org"),
        Signals("", "553", "no", "end", "bob@example.org"),
        Signals("", "553", "no", "rcpt", "bob@notexample.org"),
    ):
        assert judge(other, table).rule == ""


def test_ranges_of_statuses():
    table = _table(status=[_entry(meaning="temporary", status=["5.7.500-599"])])
    assert judge(Signals("5.7.509"), table).rule == "x"
    assert judge(Signals("5.7.600"), table).rule == ""
    assert judge(Signals("5.7.50"), table).rule == ""


def test_normalising_joins_replies_and_forgets_addresses_and_paths():
    text = (
        "550-5.7.1 This is Likely\n550-5.7.1  spam from spam@spam.example, "
        "see https://x.example/user-unknown?q=1 550 5.7.1 bye"
    )
    assert (
        normalise(text)
        == "550-5.7.1 this is likely spam from @, see https://x.example bye"
    )


def test_normalising_repairs_utf8_that_was_read_as_latin1():
    assert normalise("boîte".encode().decode("latin-1")) == "boîte"
    assert normalise("caf\xe9") == "caf\xe9"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"words": []}, "unknown section"),
        ({"text": {"any": ["a"]}}, r"\[\[text\]\]"),
        ({"text": ["a"]}, "number 1 is not a table"),
        ({"text": [{"meaning": "dead", "any": ["a"]}]}, "meaning must be one of"),
        ({"text": [{"meaning": "unknown"}]}, "nothing to match by"),
        ({"text": [{"meaning": "unknown", "any": "a"}]}, "must be a list"),
        ({"text": [{"meaning": "unknown", "any": ["a"], "an": 1}]}, "unknown key"),
        ({"status": [{"meaning": "unknown", "status": ["5.1"]}]}, "no status pattern"),
        ({"code": [{"meaning": "unknown", "code": ["5"]}]}, "no reply code"),
        (
            {"text": [{"meaning": "unknown", "any": ["a"], "phase": ["rctp"]}]},
            "unknown phase",
        ),
    ],
)
def test_a_wrong_entry_is_named(data, told):
    with pytest.raises(TableError, match=told):
        Table(data)


def test_an_own_table_is_asked_first_and_the_shipped_one_still_holds(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        '[[text]]\nname = "ours"\nmeaning = "host_refused"\nany = ["go away"]\n'
        'status = ["5.1.1"]\n'
    )
    table = load_table(path)
    assert judge(Signals("5.1.1", "550", "Go away"), table).rule == "ours"
    assert judge(Signals("5.1.1", "550", "x"), table).meaning == "dead_address"
    assert judge(Signals("5.1.1", "550", "Go away"), shipped_table()).rule != "ours"


@pytest.mark.parametrize("text", ["[[text", '[[text]]\nmeaning = "x"\n', "\xff"])
def test_a_broken_own_table_is_refused_with_its_name(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(TableError, match=r"own\.toml"):
        load_table(path)


def test_the_sample_of_the_configuration_is_a_table(request):
    sample = request.config.rootpath / "conf" / "outcomes.toml"
    table = load_table(sample)
    shipped = shipped_table()
    assert len(table.text_rules) > len(shipped.text_rules)


def test_every_shipped_entry_has_a_name_of_its_own_and_a_reason():
    table = shipped_table()
    rules = [*table.text_rules, *table.status_rules, *table.code_rules]
    assert len({rule.name for rule in rules}) == len(rules)
    assert all(rule.reason for rule in rules)


def test_no_shipped_entry_condemns_under_every_status():
    for rule in shipped_table().text_rules:
        if rule.meaning is Meaning.DEAD_ADDRESS:
            assert rule.statuses, rule.name
            assert "*" not in rule.statuses, rule.name


def test_json_has_the_public_keys_first():
    row = Outcome(Kind.DSN, Meaning.UNKNOWN, recipient="a@example.org").to_json()
    assert list(row)[:9] == [
        "recipient",
        "status",
        "code",
        "meaning",
        "permanent",
        "kind",
        "reason",
        "message_id",
        "feedback_type",
    ]
    assert (row["kind"], row["meaning"], row["permanent"]) == ("dsn", "unknown", False)

"""The vector files are what their program makes, and we answer them."""

import json
import re
from collections import Counter

import pytest

from federation.conformance import VECTORS, answer, load
from tools.federation_vectors import curve
from tools.federation_vectors.__main__ import groups, stale
from tools.federation_vectors._bodies import GOOD
from tools.federation_vectors.event import HEAD

GROUPS = sorted(path.stem for path in VECTORS.glob("*.jsonl"))


def by_name(group):
    return {vector.name: vector for vector in load([group])}


def test_the_files_are_up_to_date():
    texts = groups()
    assert stale(texts) == [], "python -m tools.federation_vectors"
    assert sorted(texts) == GROUPS


def test_a_file_that_differs_or_is_missing_is_found(tmp_path):
    (tmp_path / "same.jsonl").write_text("1\n")
    (tmp_path / "other.jsonl").write_text("1\n")
    (tmp_path / "gone.jsonl").write_text("1\n")
    made = {"same": "1\n", "other": "2\n", "new": "3\n"}
    assert stale(made, tmp_path) == ["gone", "new", "other"]


@pytest.mark.parametrize("group", GROUPS)
def test_we_answer_every_vector(group):
    wrong = [
        (vector.name, got)
        for vector in load([group])
        if (got := answer(group, vector.input)) != vector.expect
    ]
    assert wrong == []


@pytest.mark.parametrize("group", GROUPS)
def test_names_are_names_and_reasons_are_given(group):
    vectors = load([group])
    names = Counter(vector.name for vector in vectors)
    assert [name for name, count in names.items() if count > 1] == []
    assert all(re.fullmatch(r"[a-z0-9_.-]+", name) for name in names)
    assert all(vector.why for vector in vectors)
    assert (VECTORS / f"{group}.jsonl").read_text().isascii()


def test_the_groups_have_what_was_promised():
    canon = load(["canon"])
    assert len([one for one in canon if "text" in one.input]) >= 60
    addr = load(["addr"])
    assert len([one for one in addr if "canon" in one.expect]) >= 40
    assert all(len(one.input["peppers"]) == 2 for one in addr)
    event = by_name("event")
    for kind in GOOD:
        of_kind = [event[f"{kind.replace('.', '_')}_{number}"] for number in range(3)]
        assert all(one.expect["weight"] for one in of_kind)
        assert len({one.expect["id"] for one in of_kind}) == 3
    for field in HEAD:
        codes = {
            one.expect["code"]
            for name, one in event.items()
            if name.startswith(f"head_{field}_") or name == f"head_other_{field}"
        }
        assert codes - {"ok"}, field
        assert event[f"head_without_{field}"].expect == {"code": "bad-form"}


def lenient(key, message, signature, hashed_key, hashed_r):
    """Verify as the most lenient do: points modulo p, any S, times the cofactor."""

    def point(data):
        number = int.from_bytes(data, "little")
        return curve.with_y((number % 2**255) % curve.P, number >> 255)

    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    h = curve.challenge(hashed_r or r, hashed_key or key, message)
    left = curve.times(8 * s, curve.BASE)
    right = curve.add(curve.times(8, point(r)), curve.times(8 * h, point(key)))
    return left == right


def test_each_speccheck_case_is_valid_for_somebody():
    """A vector that everybody refuses would show nothing."""
    cases = [one for name, one in by_name("keys").items() if "speccheck" in name]
    assert len(cases) == 12
    canonical = curve.packed(curve.with_y(0))
    for one in cases:
        key, message, signature = (
            bytes.fromhex(one.input[name]) for name in ("key", "message", "signature")
        )
        other = canonical if "canonical_hashed" in one.name else None
        assert lenient(
            key,
            message,
            signature,
            other if "_a_not" in one.name else None,
            other if "_r_not" in one.name else None,
        ), one.name
    assert [one.name for one in cases if one.expect["valid"]] == [
        "speccheck_3_mixed_valid"
    ]


def test_a_line_of_a_file_is_one_json_object():
    for path in VECTORS.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            assert json.loads(line).keys() == {"name", "input", "expect", "why"}

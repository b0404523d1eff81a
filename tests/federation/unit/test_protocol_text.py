"""What PROTOCOL.md shows is what the code does."""

import hashlib
import re
from pathlib import Path

from federation.exchange.httpsig import check
from federation.format.errors import CODES
from federation.format.event import authentic, parse
from federation.format.kinds import KINDS
from federation.format.profile import b64
from federation.format.tags import Pepper
from federation.trust.decision import HALVES

SOURCE = Path(__file__).parents[3] / "federation"
TEXT = (SOURCE / "PROTOCOL.md").read_text()


def test_every_section_that_the_code_cites_is_there():
    numbers = set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?)[. ]", TEXT, re.MULTILINE))
    cited = [
        (path.name, number)
        for path in SOURCE.rglob("*.py")
        for text in re.findall(
            r"PROTOCOL\.md((?:,? (?:and |to )?\d+(?:\.\d+)?\b)*)", path.read_text()
        )
        for number in re.findall(r"\d+(?:\.\d+)?", text) or ["none at all"]
    ]
    assert len(cited) > 20
    assert [(name, number) for name, number in cited if number not in numbers] == []


def test_the_lines_of_the_example_are_good_and_have_these_ids():
    lines = re.findall(r"^    (\S{86} \{.*\})$", TEXT, re.MULTILINE)
    events = [parse(line.encode() + b"\n", "test") for line in lines]
    assert len(events) == 2
    assert all(map(authentic, events))
    ids = re.findall(r"^\| id of the \w+ line \| `([\w-]{43})` \|$", TEXT, re.MULTILINE)
    assert ids == [b64(event.id) for event in events]
    lengths = re.search(r"line feed \| (\d+) and (\d+) bytes", TEXT)
    assert [len(event.line) for event in events] == list(map(int, lengths.groups()))


def test_the_tag_of_the_example_is_the_address():
    secret = re.search(r"SHA-256 of `(.+?)`; its id `pk` is `(\S+)`", TEXT)
    pepper = Pepper(hashlib.sha256(secret[1].encode()).digest())
    assert b64(pepper.id) == secret[2]
    assert f'"r":"{b64(pepper.recipient("nobody@example.org"))}"' in TEXT


def test_the_table_of_halving_is_ours():
    block = TEXT.split("binding, not the formula:\n\n")[1].split("\n\n")[0]
    assert tuple(map(int, block.split())) == HALVES


def test_every_code_is_explained_and_none_else():
    section = TEXT.split("## 6. Checks")[1].split("## 7.")[0]
    column = re.findall(r"^\|[^|]*\|[^|]*\| `([a-z-]+)` \|", section, re.MULTILINE)
    assert set(column) == {*CODES, "ok", "parked"}


def test_every_kind_has_its_stream_and_fields():
    rows = re.findall(
        r"^\| `(\w+\.\w+)` \| ([chs]|h or s) \| ([^|]+) \|", TEXT, re.MULTILINE
    )
    said = {
        kind: (
            streams.replace(" or ", ""),
            {name for name in fields.split(", ") if not name.endswith("?")},
            {name[:-1] for name in fields.split(", ") if name.endswith("?")},
        )
        for kind, streams, fields in rows
    }
    assert said == {
        name: (kind.streams, set(kind.needs), set(kind.may))
        for name, kind in KINDS.items()
    }


def test_the_signed_request_is_valid():
    head, body = TEXT.split("    POST /fed/v1/vector HTTP/1.1\n")[1].split("\n\n")[:2]
    fields = dict(line.strip().split(": ", 1) for line in head.splitlines())
    signed = check(
        "POST",
        fields["Host"],
        "/fed/v1/vector",
        {name.lower(): value for name, value in fields.items()},
        body.strip().encode(),
        now=1790000100,
        age=60,
    )
    assert signed.nonce == bytes(16)
    base = TEXT.split("none at the end:\n\n")[1].split("\n\n")[0]
    assert f'    "content-digest": {fields["Content-Digest"]}' in base

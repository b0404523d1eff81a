"""The pages on notices say what is: examples are printed, code in them runs."""

import re
import time
from pathlib import Path

import pytest

from shaper.notify.webhook import signature
from tools.notices.page import event, filled

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["notices.md", "webhook.md"])
def test_the_examples_are_what_is_printed(name):
    text = (DOCS / name).read_text()
    assert filled(text) == text, "run python -m tools.notices.page"


def test_the_picture_is_there_and_small():
    assert 1_000 < (DOCS / "notices.png").stat().st_size < 200_000


def test_every_field_and_event_is_explained():
    text = (DOCS / "webhook.md").read_text()
    table = text.split("## Check")[0].replace(event(), "")
    for name in re.findall(r'^  "(\w+)":', event(), re.MULTILINE):
        assert f"`{name}`" in table, name


def test_the_check_in_the_docs_accepts_ours_and_nothing_else():
    text = (DOCS / "webhook.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    space = {}
    exec(code[1], space)  # noqa: S102 - our own page
    genuine = space["genuine"]
    now, body, secret = int(time.time()), b'{"schema":1}', b"secret"
    header = signature(secret, now, body)
    assert genuine(header, body, secret)
    assert not genuine(header, body + b" ", secret)
    assert not genuine(header, body, b"another")
    assert not genuine(signature(secret, now - 301, body), body, secret)
    for broken in ("", "t=1", f"t={now},v1=é", "v1=,t=", header[:-1]):
        assert not genuine(broken, body, secret)

"""What setup prints is the committed snippet with this machine's addresses."""

from pathlib import Path

import pytest

from shaper.config import Settings
from shaper.setup import render

CONF = Path(__file__).parents[2] / "conf"
SETTINGS = Settings(
    hop={"listen": ["127.0.0.1:11025"], "next_hop": "127.0.0.1:11026"},
    policy={"listen": ["127.0.0.1:11027"]},
)


def test_the_script_of_postfix_gets_our_addresses():
    text = render.postfix_script(
        (CONF / "postfix/reinject.sh").read_text(), SETTINGS, ["a/inet", "b/unix"]
    )
    for line in ("shaper=127.0.0.1:11025", "back=127.0.0.1:11026"):
        assert f"\n{line}" in text
    assert "\npolicy=127.0.0.1:11027" in text
    assert '\nservices="a/inet b/unix"\n' in text


def test_the_macros_of_exim_get_our_ports():
    text = render.exim_macros(
        (CONF / "exim/conf.d/main/01_mailshaper").read_text(), SETTINGS
    )
    assert "\nMAILSHAPER_PORT = 11025\nMAILSHAPER_BACK = 11026\n" in text


def test_a_snippet_without_the_name_is_an_error():
    with pytest.raises(ValueError, match="back 0 times"):
        render.filled("x=1\n", back="y")

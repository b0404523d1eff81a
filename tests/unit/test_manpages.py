"""The manual pages name every command, option and key, and are sound roff."""

import re
import shutil
import subprocess

import pytest

from scripts.manpages import pages
from shaper.config import sections


@pytest.fixture(scope="module")
def made():
    return pages()


def plain(page):
    return page.replace("\\-", "-").replace("\\(dq", '"').replace("\\&", "")


def test_every_command_is_there_with_its_options(made):
    page = plain(made["mailshaper.1"])
    names = re.findall(r"^\.SS (.+)$", page, re.MULTILINE)
    assert {"status", "show", "queue release", "classify", "drill", "daemon"} <= {
        *names
    }
    release = page.split(".SS release\n")[1].split(".SS ")[0]
    for option in ("--filter", "--rate", "--reason", "--dry-run", "--id", "--json"):
        assert f".B {option}" in release


def test_every_key_is_there_with_its_default_and_meaning(made):
    page = plain(made["mailshaper.toml.5"])
    for section, kind in sections().items():
        assert f".SH [{section}]" in page
        for key, field in kind.model_fields.items():
            assert f".BR {key} " in page
            assert " ".join(field.description.split())[:20] in page


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
@pytest.mark.parametrize(
    "name", ["mailshaper.1", "mailshaper.toml.5", "mailshaper-daemon.8"]
)
def test_roff_has_nothing_to_say_against_it(made, name):
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-Kutf8", "-z"],
        input=made[name].encode(),
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""


def test_the_same_source_gives_the_same_pages(made):
    assert pages() == made

"""The manual pages name every command, option and key, and are sound roff."""

import re
import shutil
import subprocess

import pytest

from federation.config import sections as federation_sections
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


def test_the_federation_has_pages_of_its_own(made):
    page = plain(made["mailshaper-federation.1"])
    names = set(re.findall(r"^\.SS (.+)$", page, re.MULTILINE))
    assert {"join", "peers", "peers add", "keys", "keys revoke", "lookup"} <= names
    assert not names & {*re.findall(r"^\.SS (federation.*)$", page, re.MULTILINE)}
    keys = plain(made["mailshaper-federation.toml.5"])
    for section, kind in federation_sections().items():
        assert f".SH [{section}]" in keys
        for key in kind.model_fields:
            assert f".BR {key} " in keys


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
@pytest.mark.parametrize(
    "name",
    [
        "mailshaper.1",
        "mailshaper.toml.5",
        "mailshaper-daemon.8",
        "mailshaper-federation.1",
        "mailshaper-federation.toml.5",
    ],
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

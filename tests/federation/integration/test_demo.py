"""Two hosts on one machine, as docs/federation-cli.md tells it: typed and compared.

MAILSHAPER_DEMO=1 writes the answers of this run into the page.
"""

import os
import re
import shlex
import time
from pathlib import Path

import pytest

from tests.support.fednode import FederationNode
from tests.support.waiting import poll

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PAGE = Path(__file__).parents[3] / "docs" / "federation-cli.md"
BLOCK = re.compile(r"(<!-- demo -->\n```\n)(.*?)(```\n)", re.DOTALL)
PROMPT = re.compile(r"(club|asso)# (.*)")
# What differs from run to run: keys, tags, the word, times, sizes, processes.
VARIES = (
    (r"sm2tp1\.[\w.-]+", "INVITATION"),
    (r"https://localhost:\d+", "https://fed.club.example:8641"),
    (r"/tmp/[\w/-]+/state", "/var/lib/mailshaper-federation"),
    (r"\b[\w-]{43}\b", "K" * 43),
    (r"[\w-]{22}(?= |$)", "T" * 22),
    (r"pk=[\w-]{8}", "pk=" + "P" * 8),
    (r"last=\d+", "last=0"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "2026-11-25 20:00 UTC"),
    (r"(-|\d+[smhd])(?=  asks us)", "0s"),
    (r"pid \d+", "pid 1"),
    (r"[\d.]+ MB", "0.1 MB"),
    (r" +\d+[smh](?= )", " 0s"),
    (r"clock +([+-]\d+ s|no peer met yet)", "clock       +0 s"),
    (r"(-- )?[A-Za-z0-9_-]{12}(?= seen$|$)", "K" * 12),
)


def masked(text):
    for pattern, instead in VARIES:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    # Column widths follow what varies, and so does where a line is folded.
    return " ".join(text.split())


def steps(block):
    """Return (host, command, answer) of a demo block."""
    found = []
    for line in block.splitlines():
        if prompt := PROMPT.fullmatch(line):
            found.append([*prompt.groups(), []])
        elif found:
            found[-1][2].append(line)
    return [(host, command, "\n".join(answer)) for host, command, answer in found]


class Story:
    def __init__(self, hosts):
        self.hosts = hosts
        self.word = ""

    def do(self, host, command):
        node = self.hosts[host]
        if command.startswith("systemctl enable --now"):
            node.start()
            return ""
        words = shlex.split(command)[2:]
        words = [self.word if word == "INVITATION" else word for word in words]
        answer = node(*words)
        if words[0] == "invite":
            self.word = re.search(r"sm2tp1\.\S+", answer)[0]
        if words[0] in {"report", "erase"}:
            poll(self.equal, "equal logs", 30)
        return answer

    def equal(self):
        one, other = (host.events() for host in self.hosts.values())
        return one == other


def test_the_demo_goes_as_the_page_tells():
    begin = time.monotonic()
    page = PAGE.read_text()
    block = BLOCK.search(page)[2]
    told = []
    with FederationNode("club", listen=True) as club, FederationNode("asso") as asso:
        story = Story({"club": club, "asso": asso})
        for host, command, expected in steps(block):
            answer = story.do(host, command).rstrip("\n")
            assert all(
                len(line) <= 80 or "sm2tp1." in line for line in answer.split("\n")
            )
            told.append((host, command, expected, answer))
            if command.startswith("systemctl enable") and host == "asso":
                assert time.monotonic() - begin < 60, "joining takes a minute"
    if os.environ.get("MAILSHAPER_DEMO"):
        PAGE.write_text(BLOCK.sub(lambda found: rewritten(found, told), page))
        return
    for host, command, expected, answer in told:
        assert masked(answer) == masked(expected), f"{host}# {command}"


def rewritten(found, told):
    lines = []
    for host, command, _, answer in told:
        lines += [f"{host}# {command}", *shown(answer)]
    return found[1] + "\n".join(lines) + "\n" + found[3]


def shown(answer):
    if not answer:
        return []
    text = re.sub(r"sm2tp1\.[\w-]+", "sm2tp1.eyJuYW1lIjoiT3VyIGNsdWIi...", answer)
    text = re.sub(r"https://localhost:\d+", "https://fed.club.example:8641", text)
    text = re.sub(r"/tmp/[\w/-]+/state", "/var/lib/mailshaper-federation", text)
    return [*text.split("\n"), ""]

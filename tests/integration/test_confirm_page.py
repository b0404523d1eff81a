"""The confirmation page: over plain HTTP, and in a real browser."""

import asyncio
import contextlib
import http.client
import re

import pytest

from shaper.confirm import ConfirmPage
from shaper.core.ports import StateUnavailableError
from shaper.core.suppression import digest
from shaper.core.token import LIFETIME, derive, read, sign
from tests.support.chromium import Chromium

KEY = derive(b"k" * 32)
NOW = 1_800_000_000.0
GOOD = sign(KEY, digest("bob@example.net"), NOW + LIFETIME)
OLD = sign(KEY, digest("bob@example.net"), NOW - 1)


class Lifts:
    """What the engine does with a token, without Redis."""

    def __init__(self):
        self.lifted = []
        self.away = False

    def valid(self, token):
        return read(KEY, token, NOW) is not None

    async def confirm(self, token):
        if self.away:
            raise StateUnavailableError("away")
        if self.valid(token):
            self.lifted.append(read(KEY, token, NOW))
        return self.valid(token)


@contextlib.asynccontextmanager
async def served(hostname="mail.example.org"):
    lifts, now = Lifts(), [0.0]
    page = ConfirmPage(lifts, hostname, lambda: now[0])
    await page.start("127.0.0.1:0")
    lifts.port, lifts.now = page.port, now
    try:
        yield lifts
    finally:
        await page.stop()


def asked(port, method="GET", path=f"/alive?t={GOOD}", body=None, language="", **more):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Accept-Language": language} | more
    if body is not None:
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, dict(response.getheaders()), text


async def ask(lifts, *arguments, **more):
    return await asyncio.to_thread(asked, lifts.port, *arguments, **more)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded; charset=foo", b"t=x"),
        (
            "multipart/form-data; boundary=b",
            (
                b"--b\r\nContent-Disposition: form-data; name=t\r\n"
                b"Content-Transfer-Encoding: foo\r\n\r\nx\r\n--b--\r\n"
            ),
        ),
        ("text/plain", b"t=\xff"),
    ],
)
async def test_a_form_that_is_not_the_page_s_is_a_bad_link(kind, body, caplog):
    async with served() as lifts:
        more = {"Content-Type": kind}
        status, *_ = await ask(lifts, "POST", "/alive", body, **more)
    assert status == 404
    assert not caplog.records


async def test_opening_the_link_changes_nothing_and_shows_one_button():
    async with served() as lifts:
        for method in ("GET", "HEAD", "GET"):
            status, headers, text = await ask(lifts, method)
            assert status == 200
        assert not lifts.lifted
        assert text.count("<button") == 1
        assert "<script" not in text
        assert 'method="post"' in text
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"


async def test_the_button_lifts():
    async with served() as lifts:
        status, _, text = await ask(lifts, "POST", body=f"t={GOOD}")
        assert status == 200
        assert "Thank you" in text
        assert lifts.lifted == [digest("bob@example.net")]


async def test_every_bad_link_gets_the_same_answer():
    async with served() as lifts:
        answers = set()
        for token in ("", OLD, "x", GOOD[:-1], GOOD + "A", "%00", "<script>", "%f0%28"):
            answers.add((await ask(lifts, path=f"/?t={token}"))[::2])
            answers.add((await ask(lifts, "POST", body=f"t={token}"))[::2])
        answers.add((await ask(lifts, path="/"))[::2])
        answers.add((await ask(lifts, "POST", "/", body=""))[::2])
        ((status, text),) = answers
        assert status == 404
        assert "once more" in text
        assert not lifts.lifted


async def test_what_is_no_form_lifts_nothing():
    async with served() as lifts:
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        head = 'Content-Disposition: form-data; name="t"; filename="f"'
        body = f"--x\r\n{head}\r\n\r\n{GOOD}\r\n--x--\r\n"
        assert (await ask(lifts, "POST", "/", body, **kind))[0] == 404
        broken = {"Content-Type": "multipart/form-data"}
        assert (await ask(lifts, "POST", "/", "x", **broken))[0] in {400, 404}
        assert (await ask(lifts, "POST", "/", "t=" + "x" * 10_000))[0] == 413
        assert (await ask(lifts, "PUT", "/", ""))[0] == 405
        assert not lifts.lifted


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"), ("fr", "fr"), ("fr-CH, en;q=0.9", "fr"), ("de, en", "en"),
        ("en;q=0.1, fr;q=0.2", "fr"), ("fr;q=x, en", "en"), ("de", "en"),
        ("fr;q=0", "en"), ("*", "en"), (",;,;q=" * 500, "en"),
    ],
)  # fmt: skip
async def test_it_speaks_the_readers_language(header, language):
    async with served() as lifts:
        _, _, text = await ask(lifts, language=header)
        assert f'<html lang="{language}">' in text


async def test_the_name_of_the_server_is_escaped():
    async with served("<b>&\"'") as lifts:
        _, _, text = await ask(lifts)
        assert "<b>" not in text
        assert "&lt;b&gt;&amp;" in text


async def test_too_many_requests_are_sent_away_for_a_while():
    async with served() as lifts:
        codes = [(await ask(lifts))[0] for _ in range(103)]
        assert codes[:100] == [200] * 100
        assert codes[100:] == [429] * 3
        _, headers, text = await ask(lifts)
        assert headers["Retry-After"] == "60"
        assert "minute" in text
        lifts.now[0] += 1
        assert (await ask(lifts))[0] == 200


async def test_redis_away_asks_for_patience_and_keeps_the_link():
    async with served() as lifts:
        lifts.away = True
        status, _, text = await ask(lifts, "POST", body=f"t={GOOD}")
        assert status == 503
        assert "stays valid" in text


@pytest.mark.timeout(120)
@pytest.mark.parametrize("language", ["en", "fr"])
async def test_a_person_opens_the_link_and_presses_the_button(tmp_path, language):
    browser = Chromium(tmp_path, language=language)
    async with served() as lifts:
        url = f"http://127.0.0.1:{lifts.port}/alive?t={GOOD}"

        def person():
            with browser.drive(url, width=320) as tab:
                tab.screenshot(tmp_path / f"ask-{language}.png")
                seen = {
                    "lang": tab.value("document.documentElement.lang"),
                    "wide": tab.value("document.documentElement.scrollWidth"),
                    "tall": tab.value(
                        "document.querySelector('button').getBoundingClientRect().height"
                    ),
                    "styled": tab.value(
                        "getComputedStyle(document.querySelector('button'))"
                        ".backgroundColor"
                    ),
                    "before": list(lifts.lifted),
                }
                tab.scripts(enabled=False)
                tab.click("button")
                tab.wait("document.querySelector('button') === null")
                seen["title"] = tab.value("document.querySelector('h1').innerText")
                seen["after"] = tab.value("document.documentElement.scrollWidth")
                tab.screenshot(tmp_path / f"done-{language}.png")
            return seen

        seen = await asyncio.to_thread(person)
        assert seen["lang"] == language
        assert seen["wide"] <= 320
        assert seen["after"] <= 320
        assert seen["tall"] >= 44  # a finger's width (WCAG 2.2, 2.5.5)
        assert seen["styled"] == "rgb(11, 95, 174)"  # the policy lets our style in
        assert seen["before"] == []
        assert lifts.lifted == [digest("bob@example.net")]
        assert re.match("Thank you|Merci", seen["title"])

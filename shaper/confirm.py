"""The page on which a suppressed recipient says that it is alive.

GET shows one button and changes nothing: link scanners and previews open every
link. POST lifts. No account, no script, no cookie, nothing stored, nothing loaded
from elsewhere; whatever is wrong with a link gets the same answer. Behind the
admin's web server, which does TLS; so the client's address is not known here and
the bound on requests is one for all.

Imported only when ``[suppression] confirm_listen`` is set.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs

from aiohttp import web

from shaper.addresses import split_address
from shaper.core.ports import StateUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ConfirmPage"]

log = logging.getLogger(__name__)

_RATE = 20.0  # requests a second over all clients
_BURST = 100.0
_MOST = 4096  # octets of a form
_STYLE = (
    ":root{color-scheme:light dark}"
    "body{margin:0;font:1.125rem/1.5 system-ui,sans-serif}"
    "main{max-width:32rem;margin:0 auto;padding:1.5rem 1rem}"
    "h1{font-size:1.5rem;line-height:1.25;margin:0 0 1rem}"
    "p{margin:0 0 1rem;overflow-wrap:anywhere}"
    "button{font:inherit;font-weight:600;width:100%;min-height:3rem;"
    "padding:.75rem 1rem;border:0;border-radius:.5rem;background:#0b5fae;"
    "color:#fff;cursor:pointer}"
    "button:focus-visible{outline:3px solid #f5a623;outline-offset:3px}"
    "footer{margin-top:2rem;font-size:.95rem}"
)
_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
    "Vary": "Accept-Language",
}

_WORDS = {
    "en": {
        "ask_title": "Is your mailbox in use?",
        "ask": "Mailings to your address came back, so no more are sent. If your "
        "mailbox is in order again and you want them, press the button.",
        "button": "Yes, send me mail again",
        "else": "If you do nothing, nothing changes.",
        "done_title": "Thank you",
        "done": "Mail to your address is sent again from now on. You can close this "
        "page.",
        "bad_title": "This link is not valid",
        "bad": "It may be incomplete, or older than 30 days. Open it once more from "
        "the mail, in one piece. If that does not help, write to those whose mailing "
        "you miss: they can have your address freed.",
        "busy_title": "Please try again in a minute",
        "busy": "The page cannot do that just now. Your link stays valid.",
        "from": "Mail server {hostname}",
    },
    "fr": {
        "ask_title": "Votre boîte est-elle utilisée ?",
        "ask": "Des envois à votre adresse sont revenus ; plus aucun ne vous est "
        "adressé. Si votre boîte fonctionne de nouveau et que vous souhaitez les "
        "recevoir, appuyez sur le bouton.",
        "button": "Oui, écrivez-moi de nouveau",
        "else": "Si vous ne faites rien, rien ne change.",
        "done_title": "Merci",
        "done": "Le courrier vous est de nouveau adressé dès maintenant. Vous pouvez "
        "fermer cette page.",
        "bad_title": "Ce lien n'est pas valable",
        "bad": "Il est peut-être incomplet, ou vieux de plus de 30 jours. Ouvrez-le "
        "encore une fois depuis le message, en entier. Si cela ne suffit pas, écrivez "
        "à ceux dont les envois vous manquent : ils peuvent faire libérer votre "
        "adresse.",
        "busy_title": "Réessayez dans une minute",
        "busy": "La page ne peut pas le faire pour l'instant. Votre lien reste "
        "valable.",
        "from": "Serveur de courrier {hostname}",
    },
}


class Confirm(Protocol):
    """What the page asks of the engine (``shaper.engine.confirming``)."""

    def valid(self, token: str) -> bool:
        """Whether a token is good."""

    async def confirm(self, token: str) -> bool:
        """Lift what it stands for; False for a bad one."""


class ConfirmPage:
    """Serves the page until stopped."""

    def __init__(
        self,
        confirm: Confirm,
        hostname: str,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """``clock`` is monotonic, in seconds; the loop's unless given."""
        self._confirm = confirm
        self._hostname = hostname
        self._clock = clock or asyncio.get_running_loop().time
        self._left = _BURST
        self._at = self._clock()
        self._runner: web.AppRunner | None = None

    async def start(self, address: str) -> None:
        """Listen on ``host:port`` or the path of a unix socket. Raises OSError."""
        app = web.Application(client_max_size=_MOST)
        # Any path: what the web server in front leaves of the URL is its affair.
        app.router.add_get("/{path:.*}", self._get)
        app.router.add_post("/{path:.*}", self._post)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        self._runner = runner
        site: web.BaseSite
        if address.startswith("/"):
            site = web.UnixSite(runner, address)
        else:
            site = web.TCPSite(runner, *split_address(address))
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            text = f"confirmation page: cannot listen on {address}: {error.strerror}"
            raise OSError(error.errno, text) from error

    async def stop(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def port(self) -> int:
        """The port that the system chose for port 0."""
        if self._runner is None:
            return 0
        return int(self._runner.addresses[0][1])

    def _admitted(self) -> bool:
        now = self._clock()
        self._left = min(_BURST, self._left + (now - self._at) * _RATE)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    async def _get(self, request: web.Request) -> web.Response:
        language = _language(request.headers.get("Accept-Language", ""))
        if not self._admitted():
            return self._busy(language, 429)
        token = request.query.get("t", "")
        if not self._confirm.valid(token):
            return self._page(language, "bad", 404)
        words = _WORDS[language]
        form = (
            f'<form method="post"><input type="hidden" name="t" '
            f'value="{escape(token)}"><button>{escape(words["button"])}</button>'
            f"</form><footer><p>{escape(words['else'])}</p></footer>"
        )
        return self._page(language, "ask", 200, form)

    async def _post(self, request: web.Request) -> web.Response:
        language = _language(request.headers.get("Accept-Language", ""))
        if not self._admitted():
            return self._busy(language, 429)
        # The page's own form only: what else a request may claim to be (a charset,
        # parts with encodings) raises all sorts of errors.
        form = parse_qs((await request.read()).decode("ascii", "replace"))
        (token, *_) = form.get("t", [""])
        try:
            done = await self._confirm.confirm(token)
        except StateUnavailableError as error:
            log.warning("a confirmation could not be stored: %s", error)
            return self._busy(language, 503)
        return (
            self._page(language, "done", 200)
            if done
            else (self._page(language, "bad", 404))
        )

    def _busy(self, language: str, status: int) -> web.Response:
        response = self._page(language, "busy", status)
        response.headers["Retry-After"] = "60"
        return response

    def _page(
        self, language: str, name: str, status: int, more: str = ""
    ) -> web.Response:
        words = _WORDS[language]
        title = escape(words[f"{name}_title"])
        host = escape(words["from"].format(hostname=self._hostname))
        text = (
            f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><style>{_STYLE}</style></head><body><main>"
            f"<h1>{title}</h1><p>{escape(words[name])}</p>{more}"
            f"<footer><p>{host}</p></footer></main></body></html>"
        )
        return web.Response(
            text=text, status=status, content_type="text/html", headers=_HEADERS
        )


def _language(header: str) -> str:
    """Return the first of our languages that a reader wants (RFC 9110 12.5.4)."""
    best, found = 0.0, "en"
    for part in header[:1000].split(","):
        name, _, rest = part.strip().partition(";")
        tag = name.strip().lower().partition("-")[0]
        try:
            quality = float(rest.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if tag in _WORDS and quality > best:
            best, found = quality, tag
    return found

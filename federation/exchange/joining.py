"""How a host joins: one command on each side, one word carried between them.

The inviting host prints a word with its address, key, pin and a one-time secret.
The joining host shows the secret over TLS that this pin (or an authority) has
authenticated, and its control events, which prove that its machine's key speaks
for its organisation. The answer holds the same of the other side, and the peppers.
Each side then has the other among its peers, with the level its operator chose,
and introduces it to the others (``ctl.peer``), whose storage it then enters.

Who is among the peers by the operator's own hand (``peers add``) asks without a
secret, so that each side learns the other's control events; nothing else changes.

A secret is good for one join and for a week; only its hash is stored. A request
that fails leaves it unused. PROTOCOL.md 9.8.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from federation.exchange.service import error
from federation.exchange.session import Answer, Ask, Unavailable
from federation.exchange.sync import Want
from federation.format.errors import Refused
from federation.format.profile import Value, b64, decode, encode, unb64
from federation.log.chain import LogKey
from federation.log.tables import Peer
from federation.trust.levels import Level

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from federation.exchange.replica import Replica
    from federation.log.own import OwnLog

__all__ = [
    "JOIN",
    "LIFETIME",
    "Door",
    "Invitation",
    "Joined",
    "ask",
    "greeted",
    "greeting",
    "invite",
    "joined",
]

JOIN: Final = "/fed/v1/join"
LIFETIME: Final = 7 * 86_400
_MARK: Final = "sm2tp1."
_LONGEST = 2048
_SECRET = 16
_PEPPER = 32
_CONTROLS = 500


@dataclass(frozen=True, slots=True)
class Invitation:
    """What the word says."""

    net: str
    org: bytes
    name: str
    url: str
    pin: str
    secret: bytes

    @property
    def word(self) -> str:
        """The one word to hand over; whoever has it may join once."""
        value: dict[str, Value] = {
            "net": self.net,
            "org": b64(self.org),
            "name": self.name,
            "url": self.url,
            "secret": b64(self.secret),
        }
        if self.pin:
            value["pin"] = self.pin
        return _MARK + b64(encode(value))

    @classmethod
    def read(cls, word: str) -> Invitation:
        """Return the invitation of a word. Refused("bad-form"): it is none."""
        text = "".join(word.split())  # a mail program may have broken it
        if not text.startswith(_MARK) or len(text) > _LONGEST:
            raise Refused("bad-form", f"an invitation begins with {_MARK}")
        try:
            value = decode(unb64(text.removeprefix(_MARK)))
            pin = _text(value, "pin", "")
            if pin:
                unb64(pin, 32)
            return cls(
                net=_text(value, "net"),
                org=unb64(value.get("org"), 32),
                name=_text(value, "name"),
                url=_url(_text(value, "url")),
                pin=pin,
                secret=unb64(value.get("secret"), _SECRET),
            )
        except Refused as error:
            raise Refused(
                "bad-form",
                "this invitation is damaged or cut off: copy the whole word, from "
                f"{_MARK} on ({error.why})",
            ) from error


@dataclass(frozen=True, slots=True)
class Joined:
    """The other side, and the peppers it handed over, newest first."""

    org: bytes
    name: str
    peppers: tuple[bytes, ...]


def invite(
    replica: Replica,
    invitation: Invitation,
    *,
    level: str,
    name: str,
    now: int,
) -> str:
    """Keep an invitation for a friend called ``name``; return the word."""
    data = json.dumps({"level": level, "name": name})
    secret = sha256(invitation.secret).digest()
    replica.store.put_invite(secret, expires=now + LIFETIME, data=data)
    return invitation.word


class Door:
    """Answers those who show an invitation."""

    def __init__(
        self,
        replica: Replica,
        own: OwnLog,
        *,
        name: str,
        peppers: Callable[[], Sequence[bytes]],
        settled: Callable[[], bool] = lambda: True,
    ) -> None:
        """``settled``: own events may be written (see exchange.rounds)."""
        self._settled = settled
        self._replica = replica
        self._own = own
        self._name = name
        self._peppers = peppers

    def answer(self, body: bytes, key: bytes, now: int) -> Answer:
        """Let the signer of a request in, or say why not."""
        try:
            ask = decode(body)
            # All or nothing: a join that fails does not use the secret up.
            with self._replica.store.writing(durable=True):
                return self._let_in(ask, key, now)
        except Refused as refusal:
            status = 400 if refusal.code == "bad-form" else 403
            return error(status, refusal.why, now)

    def _let_in(self, ask: dict[str, Value], key: bytes, now: int) -> Answer:
        store = self._replica.store
        org = unb64(ask.get("org"), 32)
        name, url, pin = _who(ask)
        controls = _lines(ask)
        if "secret" not in ask:
            # Somebody whom the operator has put among the peers, with a key that
            # is not known here yet.
            if store.peer(org) is None:
                raise Refused("refused", "not a peer")
            _admit(self._replica, org, controls, Level.SEEN, key, now)
            return self._reply()
        if not self._settled():
            return error(503, "this host has just started: try in a minute", now)
        secret = sha256(unb64(ask.get("secret"), _SECRET)).digest()
        data = store.take_invite(secret, now=now)
        if data is None:
            raise Refused("refused", "no such invitation, or it was used or is old")
        invited = json.loads(data)
        if org == self._own.org:
            raise Refused("refused", "an organisation does not join itself")
        _admit(self._replica, org, controls, invited["level"], key, now)
        store.put_peer(Peer(org, url, pin, invited["name"] or name, now))
        _introduce(self._own, org, url, name, now)
        return self._reply(self._peppers())

    def _reply(self, peppers: Sequence[bytes] = ()) -> Answer:
        reply = _greeting(self._replica, self._own, self._name)
        if peppers:
            reply["peppers"] = [b64(one) for one in peppers]
        return Answer(200, encode(reply))


def ask(
    replica: Replica,
    own: OwnLog,
    invitation: Invitation,
    *,
    name: str,
    url: str,
    pin: str,
) -> Ask:
    """Return the request with which an invitation is taken."""
    if invitation.net != replica.store.net:
        raise Refused("wrong-net", "the invitation is for another network")
    value = _greeting(replica, own, name)
    value["secret"] = b64(invitation.secret)
    if url:
        value["url"] = url
    if pin:
        value["pin"] = pin
    return Ask(JOIN, encode(value))


def joined(
    replica: Replica,
    own: OwnLog,
    invitation: Invitation,
    answer: Answer,
    *,
    level: str,
    now: int,
) -> Joined:
    """Take the answer: the inviting host becomes a peer with this level.

    Raises Unavailable with the other side's reason, and Refused.
    """
    value = decode(answer.body)
    if answer.status != 200:  # noqa: PLR2004 - HTTP
        why = value.get("err")
        raise Unavailable(answer.status, why if type(why) is str else "no reason given")
    org = unb64(value.get("org"), 32)
    if org != invitation.org:
        raise Refused("refused", "the host that answered is not the one that invited")
    listed = value.get("peppers", [])
    peppers = tuple(
        unb64(one, _PEPPER) for one in (listed if isinstance(listed, list) else [])
    )
    with replica.store.writing(durable=True):
        _admit(replica, org, _lines(value), level, org, now)
        peer = Peer(org, invitation.url, invitation.pin, invitation.name, now)
        replica.store.put_peer(peer)
        _introduce(own, org, invitation.url, invitation.name, now)
    return Joined(org, invitation.name, peppers)


def greeting(replica: Replica, own: OwnLog) -> Ask:
    """Return what a peer is told that does not know our key: our control events."""
    return Ask(JOIN, encode(_greeting(replica, own, "")))


def greeted(replica: Replica, org: bytes, answer: Answer, now: int) -> None:
    """Take a peer's control events out of its answer to a greeting."""
    if answer.status == 200 and (lines := _lines(decode(answer.body))):  # noqa: PLR2004
        replica.take(lines, peer=b64(org), now=now)


def _greeting(replica: Replica, own: OwnLog, name: str) -> dict[str, Value]:
    controls = controls_of(replica, own.org)
    value: dict[str, Value] = {"org": b64(own.org), "name": name}
    if controls:
        value["control"] = [b64(one) for one in controls]
    return value


def controls_of(replica: Replica, org: bytes) -> list[bytes]:
    """Return the control lines of an organisation, as many as a join carries."""
    found: list[bytes] = []
    for log in replica.store.logs_of(org):
        if log.which.st == "c" and len(found) < _CONTROLS:
            want = Want(LogKey(*log.which), log.floor + 1, log.head)
            found += replica.lines(
                want, _CONTROLS - len(found), replica.limits.batch_bytes // 2
            )
    return found


def _admit(
    replica: Replica, org: bytes, lines: list[bytes], level: str, key: bytes, now: int
) -> None:
    """Trust an organisation and take its control events. Refused: not ``key``'s."""
    store = replica.store
    if store.level(org) == "refused":
        raise Refused("refused", "this organisation is refused here")
    if store.level(org) is None:
        store.set_trust(org, level, now=now)
    if lines:
        replica.take(lines, peer=b64(org), now=now)
    if replica.knows(key, [org]) is None:
        raise Refused("refused", "the key that signed does not speak for its org")


def _introduce(own: OwnLog, org: bytes, url: str, name: str, now: int) -> None:
    body: dict[str, Value] = {"peer": b64(org)}
    if url:
        body["url"] = url
    if name:
        body["name"] = name
    own.append("ctl.peer", body, now)


def _who(value: dict[str, Value]) -> tuple[str, str, str]:
    """Return name, url and pin that a joining host tells."""
    name, url, pin = (_text(value, one, "") for one in ("name", "url", "pin"))
    if pin:
        unb64(pin, 32)
    return name, _url(url) if url else "", pin


def _lines(value: dict[str, Value]) -> list[bytes]:
    listed = value.get("control", [])
    if not isinstance(listed, list) or len(listed) > _CONTROLS:
        raise Refused("bad-form", "control is no list, or too long")
    return [unb64(one) for one in listed]


def _text(value: dict[str, Value], name: str, default: str | None = None) -> str:
    found = value.get(name, default)
    if type(found) is not str or len(found) > 128:  # noqa: PLR2004 - as in kinds
        raise Refused("bad-form", f"{name} is missing, or no text of 128 characters")
    return found


def _url(url: str) -> str:
    # Only https, and nothing that asks for a path on the way: no redirects, no
    # files, no metadata services by another scheme. The operator sees it as well.
    host = url.removeprefix("https://")
    if not url.startswith("https://") or not host or set(host) & set("/?#@ \\"):
        raise Refused("bad-form", "an address is https://HOST or https://HOST:PORT")
    return url

"""What a node answers: the resources of the protocol, without the network.

Takes a request whose signature is good and returns status and body; the HTTPS
server, the simulation and the tests call the same code. Peers of the operator's
table may ask, nobody else; ``join`` is open to whoever shows an invitation.
The caller holds a vector back for a long poll (``idle``).

PROTOCOL.md 9.2 to 9.6. Works on the store, so it is kept off the event loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from federation.exchange.session import PULL, PUSH, VECTOR, Answer, PeerFault, split
from federation.exchange.sync import read_wants, refusals, where, write_vector
from federation.format.errors import PEERS_FAULT, Refused
from federation.format.profile import Value, b64, decode, encode, unb64
from federation.log.chain import LogKey
from federation.log.database import StoreFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from federation.exchange.replica import Replica

__all__ = ["SOFTWARE", "Held", "Rates", "Service", "error"]

SOFTWARE: Final = "mailshaper"
_WANTS = 1000
_CHECKED: Final = 100  # lines that were not taken count as one request
_FINE: Final = 600  # a minute's requests, for what no honest node sends
_OK, _BAD, _FORBIDDEN, _MISSING, _UNREADY = 200, 400, 403, 404, 503


@dataclass(frozen=True, slots=True)
class Held:
    """An answer that may wait until something changes after ``since``."""

    since: int
    seconds: int


def error(status: int, why: str, now: int) -> Answer:
    """Return an error answer. It tells the clock: who is refused as stale sees why."""
    text = "".join(one for one in why if " " <= one <= "~" and one not in '"\\')
    return Answer(status, encode({"err": text, "now": now}))


class Rates:
    """Requests of each peer: ``burst`` at once, ``rate`` a second on average."""

    def __init__(self, rate: float = 10.0, burst: int = 100) -> None:
        self._rate = rate
        self._burst = burst
        self._left: dict[bytes, tuple[float, float]] = {}

    def allow(self, peer: bytes, now: float) -> bool:
        """Count a request; False if the peer has none left."""
        left, at = self._left.get(peer, (float(self._burst), now))
        left = min(self._burst, left + max(0.0, now - at) * self._rate)
        allowed = left >= 1
        self._left[peer] = (left - allowed, now)
        return allowed

    def charge(self, peer: bytes, cost: int) -> None:
        """Count a request for more, after all that it has cost."""
        left, at = self._left[peer]
        self._left[peer] = (left - cost, at)


class Service:
    """The answering side of a node. ``ready`` says why nothing is taken, or ""."""

    def __init__(self, replica: Replica, ready: Callable[[], str] = lambda: "") -> None:
        self.replica = replica
        self.ready = ready

    def peer_of(self, key: bytes) -> bytes | None:
        """Return the peer for which a key speaks, None if it is none of ours."""
        orgs = [peer.org for peer in self.replica.store.peers()]
        return self.replica.knows(key, orgs)

    def well_known(self, now: int) -> Answer:
        """Return what everybody may read."""
        limits = self.replica.limits
        return Answer(
            _OK,
            encode(
                {
                    "net": self.replica.store.net,
                    "versions": [1],
                    "sw": SOFTWARE,
                    "now": now,
                    "limits": {
                        "lines": limits.batch_lines,
                        "bytes": limits.batch_bytes,
                        "future": limits.future,
                        "age": limits.request_age,
                        "wait": limits.poll,
                    },
                }
            ),
        )

    def answer(self, path: str, body: bytes, *, peer: bytes, now: int) -> Answer:
        """Answer a request of a peer."""
        try:
            if path == VECTOR:
                return self._vector(body, now)
            if path == PULL:
                return self._pull(body)
            if path == PUSH:
                return self._push(body, peer, now)
        except (Refused, PeerFault) as wrong:
            return error(_BAD, str(wrong), now)
        except StoreFull:
            # Look-ups and pulls go on; who pushes tries again later.
            return error(_UNREADY, "the disk is full", now)
        return error(_MISSING, "no such resource", now)

    def held(self, body: bytes) -> Held | None:
        """Return how long a vector's answer may be held back, None if not at all."""
        try:
            ask = decode(body)
        except Refused:
            return None
        wait, text = ask.get("wait"), ask.get("since")
        if type(wait) is not int or type(text) is not str or wait < 1:
            return None
        since = self.replica.store.since(text)
        # By the token and not by the digests: these stay different for ever
        # where one side refuses an organisation.
        if not since or self.changed(since):
            return None
        return Held(since, min(wait, self.replica.limits.poll))

    def changed(self, since: int) -> bool:
        """Return whether there is something newer."""
        return self.replica.store.counter() > since

    def _vector(self, body: bytes, now: int) -> Answer:
        ask = decode(body)
        store = self.replica.store
        token = store.token()
        reply: dict[str, Value] = {"token": token, "now": now}
        if refused := self.replica.refused():
            reply["refuse"] = [b64(org) for org in sorted(refused)]
        if "org" in ask:
            vector = self.replica.vector(0, unb64(ask["org"], 32))
            reply["full"] = True
        elif unb64(ask.get("digest"), 32) == self.replica.whole().digest:
            reply["same"] = True
            return Answer(_OK, encode(reply), same=True)
        else:
            text = ask.get("since", "")
            since = store.since(text) if type(text) is str else 0
            vector = self.replica.vector(since)
            if not since:
                reply["full"] = True
            unwanted = refusals(ask["refuse"]) if "refuse" in ask else set()
            if unwanted:
                vector = [
                    one
                    for one in vector
                    if self.replica.org_of(LogKey(*one[:3])) not in unwanted
                ]
        if vector:
            reply["vec"] = write_vector(vector)
        return Answer(_OK, encode(reply))

    def _pull(self, body: bytes) -> Answer:
        wants = read_wants(decode(body).get("want", []), _WANTS)
        limits = self.replica.limits
        most, room = limits.batch_lines, limits.batch_bytes
        found: list[bytes] = []
        end = b"# end\n"
        for want in wants:
            some = self.replica.lines(want, most, room)
            found += some
            most -= len(some)
            room -= sum(map(len, some))
            place = where(some[-1]) if some else None
            reached = want.first - 1 if place is None else place.seq
            if reached < min(want.last, self.replica.head(want.log)) or room <= 0:
                end = b"# more\n"
                break
        return Answer(_OK, b"".join([*found, end]))

    def _push(self, body: bytes, peer: bytes, now: int) -> Answer:
        if why := self.ready():
            return error(_UNREADY, why, now)
        lines = split(body, self.replica.limits.batch_lines)
        codes = self.replica.take(lines, peer=b64(peer), now=now)
        wrong: list[Value] = []
        for number, code in enumerate(codes):
            if code != "ok":
                wrong.append([number, code])
        reply: dict[str, Value] = {"ok": codes.count("ok")}
        if wrong:
            reply["err"] = wrong
        # Each of them was verified, and will be again if it comes again.
        cost = sum(code not in {"ok", "dup"} for code in codes) // _CHECKED
        if not PEERS_FAULT.isdisjoint(codes):
            cost += _FINE
        return Answer(_OK, encode(reply), cost=cost)

"""Writing one's own events, and never two with the same number.

Each append re-reads the head inside the transaction that writes, flushed to the
disk: two processes on one file cannot fork, and nothing published is lost.
Against a restored backup or a second machine with the same key a file cannot
protect itself; a new incarnation of the log can, because it continues nothing:

* the file is not where it was written (``Database.moved``): opened by itself;
* a peer shows more of our log than we hold (``check``): opened by itself;
* a fork is proven: the operator must act (``reopen``), since maybe the key is stolen.

PROTOCOL.md 4.1. Randomness: the nonce of each event.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from federation.format.errors import Refused
from federation.format.event import Event, write
from federation.format.kinds import defect, stream_of
from federation.format.profile import b64
from federation.log.chain import LogKey, live, room
from federation.log.derive import derive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.format.limits import Limits
    from federation.format.profile import Value
    from federation.format.signing import Signer
    from federation.log.chain import Entry, Log
    from federation.log.store import Store

__all__ = ["OwnLog"]

_BY_ROOT = frozenset({"ctl.org", "ctl.grant", "ctl.revoke", "ctl.rotate", "ctl.open"})


class OwnLog:
    """The logs of this host's key, and of the root key where it is at hand."""

    def __init__(
        self,
        store: Store,
        *,
        org: bytes,
        node: Signer,
        root: Signer | None,
        limits: Limits,
    ) -> None:
        self.store = store
        self.org = org
        self.node = node
        self.root = root
        self.limits = limits
        if store.level(org) != "self":
            store.set_trust(org, "self", now=0)

    def append(
        self, kind: str, body: dict[str, Value], now: int, *, st: str | None = None
    ) -> Event:
        """Write an event at the end of the right log, on the disk when it returns.

        ``st`` chooses for the kinds that have two streams (fix.retract). Raises
        Refused: no root key at hand, a body without weight, the own log is forked.
        """
        stream = st or stream_of(kind)
        if stream is None:
            raise Refused("bad-form", f"{kind}: name the stream")
        signer = self._signer(kind)
        with self.store.writing(durable=True):
            if not self.store.identity(self.org).allows(signer.public):
                raise Refused("refused", "the root has not granted this host's key")
            log = self._log(signer.public, stream, now)
            if log.head >= log.end:
                raise Refused("refused", "this host's key is revoked")
            event = write(
                signer,
                net=self.store.net,
                org=self.org,
                st=stream,
                inc=log.which.inc,
                seq=log.head + 1,
                prev=log.head_id,
                # A clock that went back must not break the log.
                ts=max(now, log.head_ts, log.which.inc),
                k=kind,
                n=os.urandom(16),
                b=body,
            )
            if why := defect(event):
                raise Refused("bad-form", f"{kind} would count nowhere: {why}")
            self.store.add(event, log, derive(event), now)
        return event

    def retract(self, ids: Sequence[bytes], why: str, now: int) -> list[Event]:
        """Take own events back: one event for each stream they are in."""
        places = self.store.among(
            "SELECT st, ev.id, org FROM ev JOIN log ON log.id=ev.log"
            " WHERE ev.id IN (?)",
            list(ids),
        )
        streams: dict[str, list[Value]] = {}
        for st, ident, org in places:
            if org == self.org and st != "c":
                streams.setdefault(st, []).append(b64(ident))
        with self.store.writing(durable=True):
            return [
                self.append(
                    "fix.retract", {"ids": some[at : at + 32], "why": why}, now, st=st
                )
                for st, some in sorted(streams.items())
                for at in range(0, len(some), 32)
            ]

    def publish_proofs(self, now: int) -> list[Event]:
        """Tell the others of forks that were found here, once for each log."""
        told = []
        while lines := self.store.untold_fork(now - self.limits.proofs_period):
            body: dict[str, Value] = {"a": b64(lines[0]), "b": b64(lines[1])}
            told.append(self.append("proof.fork", body, now))
        return told

    def behind(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return which of a peer's entries show more of our logs than we hold."""
        keys = {self.node.public} | ({self.root.public} if self.root else set())
        found = []
        for entry in entries:
            if entry.key in keys:
                log = self.store.log(LogKey(entry.key, entry.st, entry.inc))
                if log is None or entry.head > log.head:
                    found.append(entry)
        return found

    def check(self, entries: Sequence[Entry], now: int) -> bool:
        """Open new incarnations if a peer knows more of us than we do.

        Returns whether it was so. To be asked before the first own event after a
        start; what the peer holds comes back by the ordinary exchange.
        """
        if not self.behind(entries):
            return False
        self.renew(now)
        return True

    def renew(self, now: int) -> None:
        """Continue none of the logs opened so far."""
        newest = max((log.which.inc for log in self._logs()), default=0)
        with self.store.writing(durable=True):
            self.store.set_meta("own since", max(now, newest + 1))

    def reopen(self, now: int) -> list[Event]:
        """Recover from forks of own logs; the root key must be at hand.

        Opens a new incarnation for each forked log and announces it, which gives
        weight to what is written from then on.
        """
        forked = sorted(
            {log.which[:2] for log in self._logs() if log.ended}, reverse=True
        )
        if not forked:
            return []
        if self.root is None:
            raise Refused("refused", "the root key is needed to reopen a forked log")
        with self.store.writing(durable=True):
            self.renew(now)
            inc = int(self.store.meta("own since"))
            return [
                self.append("ctl.open", {"key": b64(key), "st": st, "inc": inc}, now)
                for key, st in forked
            ]

    def forked(self) -> list[LogKey]:
        """Return the own logs that a fork has ended and nothing has replaced."""
        return [
            log.which
            for log in self._logs()
            if log.ended and log is self._newest(*log.which[:2])
        ]

    def cut(self, key: bytes) -> list[Value]:
        """Return where the logs of a key stand, as ``ctl.revoke`` says it."""
        return [
            [entry.st, entry.inc, entry.head, b64(entry.head_id)]
            for entry in self.store.vector(org=self.org)
            if entry.key == key
        ]

    def _signer(self, kind: str) -> Signer:
        if kind not in _BY_ROOT:
            return self.node
        if self.root is None:
            raise Refused(
                "refused", f"{kind} is signed by the root key: it is not here"
            )
        return self.root

    def _logs(self) -> list[Log]:
        keys = {self.node.public} | ({self.root.public} if self.root else set())
        return [log for log in self.store.logs_of(self.org) if log.which.key in keys]

    def _newest(self, key: bytes, st: str) -> Log | None:
        mine = [log for log in self._logs() if log.which[:2] == (key, st)]
        return max(mine, key=lambda log: log.which.inc, default=None)

    def _log(self, key: bytes, st: str, now: int) -> Log:
        """Return the log to write to, a new one where the last may not go on."""
        if self.store.moved:
            self.renew(now)
            self.store.settle()
        since = int(self.store.meta("own since") or 0)
        log = self._newest(key, st)
        if log is not None and log.which.inc >= since:
            if not log.ended:
                return log
            raise Refused(
                "fork",
                "this host's log has two events with one number: was a backup restored,"
                " or do two machines use one key? Nothing is written until"
                " `mailshaper federation reopen` (or revoke the key, if it was stolen)",
            )
        if not room(live(self._logs(), key, st), st, self.limits):
            raise Refused("quota", "too many incarnations of this log are still alive")
        inc = max(now, since, log.which.inc + 1 if log else 0)
        return self.store.new_log(LogKey(key, st, inc), self.org)

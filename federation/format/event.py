"""An event: the signed line that is the same on disk and on the network.

``<signature> SP <JSON> LF``. Reading a line is checks V1 to V3 of PROTOCOL.md 6:
its length, its form, the types and ranges of its header. The signature (V5) is
asked for separately, because a line that is here already needs none. Whether
the signer was allowed, where the event stands in its log and what its body is
worth are questions for chain, identity and kinds.

Nothing here depends on the kind but the length: versions of this program that
know different kinds must store the same lines. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from federation.format.errors import Refused
from federation.format.profile import LARGEST, Value, b64, decode, encode, unb64
from federation.format.signing import EVENT, Signer, event_id, verify

__all__ = [
    "LONGEST",
    "LONGEST_PROOF",
    "STREAMS",
    "Event",
    "Stub",
    "authentic",
    "parse",
    "write",
]

LONGEST: Final = 2048
"""Bytes of a line with its LF."""
LONGEST_PROOF: Final = 8192
"""Bytes of a line of kind proof.fork, which holds two others."""
LATEST: Final = 253_402_300_799
"""The last second of the year 9999: calendars of many languages end there."""
STREAMS: Final = ("c", "h", "s")

_SIGNATURE_CHARS = 86
_FIELDS = frozenset(
    {"v", "net", "org", "key", "st", "inc", "seq", "prev", "ts", "k", "n", "b"}
)
_NET = re.compile(r"[a-z0-9-]{1,32}")
_KIND = re.compile(r"[a-z]{1,16}\.[a-z]{1,16}")
_STUB = re.compile(rb"- ([\w-]{43}) ([chs]) (0|[1-9]\d*) ([1-9]\d*) ([\w-]{43})\n")
_LONGEST_STUB = 128


class Event(NamedTuple):
    """A well-formed event. ``raw`` is its JSON, byte for byte as received."""

    raw: bytes
    sig: bytes
    id: bytes
    net: str
    org: bytes
    key: bytes
    st: str
    inc: int
    seq: int
    prev: bytes
    ts: int
    k: str
    n: bytes
    b: dict[str, Value]

    @property
    def line(self) -> bytes:
        """The line with its LF."""
        return b"%s %s\n" % (b64(self.sig).encode("ascii"), self.raw)


def parse(line: bytes, net: str) -> Event:
    """Return the event of a line with its LF. Refused: V1 to V3, nothing else."""
    if len(line) > LONGEST_PROOF:
        raise Refused("too-long", f"a line of more than {LONGEST_PROOF} bytes")
    signature, space, rest = line.partition(b" ")
    if not space or not rest.endswith(b"\n") or len(signature) != _SIGNATURE_CHARS:
        raise Refused("bad-form", "a line is a signature, a space, JSON and LF")
    raw = rest[:-1]
    sig = unb64(signature.decode("latin-1"), 64)
    event = _event(raw, sig, decode(raw))
    if len(line) > LONGEST and event.k != "proof.fork":
        raise Refused("too-long", f"a line of more than {LONGEST} bytes")
    if event.net != net:
        raise Refused("wrong-net", "the event is of another network")
    return event


def authentic(event: Event) -> bool:
    """Whether the event's key signed it (V5)."""
    return verify(event.key, EVENT, event.raw, event.sig)


def write(  # noqa: PLR0913 - a header has that many fields
    signer: Signer,
    *,
    net: str,
    org: bytes,
    st: str,
    inc: int,
    seq: int,
    prev: bytes,
    ts: int,
    k: str,
    n: bytes,
    b: dict[str, Value],
) -> Event:
    """Return a signed event. Refused: these fields make no well-formed line."""
    raw = encode(
        {
            "v": 1,
            "net": net,
            "org": b64(org),
            "key": b64(signer.public),
            "st": st,
            "inc": inc,
            "seq": seq,
            "prev": b64(prev),
            "ts": ts,
            "k": k,
            "n": b64(n),
            "b": b,
        }
    )
    line = b"%s %s\n" % (b64(signer.sign(EVENT, raw)).encode("ascii"), raw)
    # Read back: whatever is written here will be accepted by others.
    return parse(line, net)


@dataclass(frozen=True, slots=True)
class Stub:
    """What is left of an erased event: its place in its log, and its id."""

    key: bytes
    st: str
    inc: int
    seq: int
    id: bytes

    @property
    def line(self) -> bytes:
        """The line ``- key st inc seq id`` with its LF."""
        text = f"- {b64(self.key)} {self.st} {self.inc} {self.seq} {b64(self.id)}\n"
        return text.encode("ascii")

    @classmethod
    def parse(cls, line: bytes) -> Stub:
        """Return the stub of a line. Refused("bad-form"): it is none."""
        # The length first: int() of thousands of digits is an error of its own.
        found = _STUB.fullmatch(line) if len(line) <= _LONGEST_STUB else None
        if found is None:
            raise Refused("bad-form", "a stub is '- key st inc seq id'")
        key, st, inc, seq, ident = (part.decode("ascii") for part in found.groups())
        stub = cls(unb64(key, 32), st, int(inc), int(seq), unb64(ident, 32))
        if stub.inc > LATEST or stub.seq > LARGEST:
            raise Refused("bad-form", "a number of the stub is out of range")
        return stub


def _event(raw: bytes, sig: bytes, fields: dict[str, Value]) -> Event:
    """Check the header (V3) and return the event."""
    if fields.keys() != _FIELDS:
        raise Refused("bad-form", "the header has other fields than the twelve")
    # `type(...) is int` and not isinstance: true is no integer.
    if type(fields["v"]) is not int or fields["v"] != 1:
        raise Refused("bad-form", "v is not 1")
    inc, seq, ts = (
        _integer(fields, "inc"),
        _integer(fields, "seq"),
        _integer(fields, "ts"),
    )
    if not inc <= ts <= LATEST:
        raise Refused("bad-form", "inc is after ts, or ts after the year 9999")
    if seq < 1 or (seq == 1) != (fields["prev"] == ""):
        raise Refused("bad-form", "prev is empty at seq 1 and nowhere else")
    body = fields["b"]
    if not isinstance(body, dict):
        raise Refused("bad-form", "b is no object")
    st, k, net = _text(fields, "st"), _text(fields, "k"), _text(fields, "net")
    if st not in STREAMS:
        raise Refused("bad-form", "st is none of c, h, s")
    if not _is_kind(k):
        raise Refused("bad-form", f"k does not match {_KIND.pattern}")
    if not _NET.fullmatch(net):
        raise Refused("bad-form", f"net does not match {_NET.pattern}")
    return Event(
        raw=raw,
        sig=sig,
        id=event_id(raw),
        net=net,
        org=_key(_text(fields, "org")),
        key=_key(_text(fields, "key")),
        st=st,
        inc=inc,
        seq=seq,
        prev=unb64(fields["prev"], 32) if seq > 1 else b"",
        ts=ts,
        k=k,
        n=unb64(fields["n"], 16),
        b=body,
    )


@lru_cache(1024)  # the same few keys sign everything
def _key(text: str) -> bytes:
    return unb64(text, 32)


@lru_cache(256)
def _is_kind(text: str) -> bool:
    return _KIND.fullmatch(text) is not None


def _integer(fields: dict[str, Value], name: str) -> int:
    value = fields[name]
    if type(value) is not int:
        raise Refused("bad-form", f"{name} is no integer")
    return value


def _text(fields: dict[str, Value], name: str) -> str:
    value = fields[name]
    if type(value) is not str:
        raise Refused("bad-form", f"{name} is no string")
    return value

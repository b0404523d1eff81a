"""Three good bodies for each kind, and one wrong form for each field."""

from __future__ import annotations

from typing import Any, Final

from federation.format.profile import b64
from tools.federation_vectors.case import NODE, OTHER, ROOT, T0

HOUR: Final = T0 - T0 % 3600
DAY: Final = T0 - T0 % 86_400
PK: Final = "uwBm6_w3"
TAGS: Final = [b64(bytes([number] * 16)) for number in (1, 2, 3)]
IDS: Final = [b64(bytes([number] * 32)) for number in range(1, 33)]
KEYS: Final = [b64(one.public) for one in (ROOT, NODE, OTHER)]
LARGEST: Final = 2**53 - 1
_BOUNCE: Final = {"pk": PK, "r": TAGS[0], "cnt": 1, "last": HOUR, "via": "smtp"}
_PEPPER_IDS: Final = [PK, "AAAAAAAA"]
_LINE: Final = b64(b"a line of a log\n")
_SCORE: Final = {
    "from": DAY,
    "to": DAY + 86_400,
    "sent": 10_000,
    "hard": 12,
    "soft": 40,
    "cmpl": 0,
    "supp": 3,
    "m": 1,
}

GOOD: Final[dict[str, tuple[dict[str, Any], ...]]] = {
    "rcpt.hard": (
        {**_BOUNCE, "code": "5.1.1", "smtp": 550},
        {**_BOUNCE, "code": "5.2.1", "smtp": 554, "via": "dsn", "cnt": 9999},
        {**_BOUNCE, "code": "5.1.10", "smtp": 556, "prov": "mx.example"},
    ),
    "rcpt.soft": (
        {**_BOUNCE, "code": "5.2.2", "smtp": 552},
        {**_BOUNCE, "code": "4.2.2", "smtp": 452},
        {**_BOUNCE, "code": "4.2.1", "smtp": 450, "prov": "google", "via": "dsn"},
    ),
    "rcpt.ok": tuple(
        {"pk": pepper, "r": tag, "last": HOUR}
        for pepper, tag in zip(_PEPPER_IDS * 2, TAGS, strict=False)
    ),
    "rcpt.complaint": (
        {"pk": PK, "r": TAGS[0], "src": "arf", "cls": "bulk"},
        {"pk": PK, "r": TAGS[1], "src": "manual", "cls": "personal"},
        {"pk": PK, "r": TAGS[2], "src": "arf", "cls": "unknown"},
    ),
    "send.blocked": tuple(
        {"pk": PK, "s": tag, "why": why, "until": HOUR + 86_400}
        for tag, why in zip(TAGS, ("compromised", "spam", "bounces"), strict=True)
    ),
    "send.released": tuple({"ref": ident} for ident in IDS[:3]),
    "out.blocked": (
        {"prov": "google", "code": "4.7.28", "n": 1, "from": HOUR, "to": HOUR + 3600},
        {"prov": "mx-1.example", "code": "5.7.1", "n": 77, "from": 0, "to": HOUR},
        {"prov": "a", "code": "5.0.999", "n": LARGEST, "from": HOUR, "to": HOUR + 7200},
    ),
    "stat.score": (
        _SCORE,
        {**_SCORE, "sent": 0, "hard": 0, "soft": 0, "supp": 0},
        {**_SCORE, "sent": LARGEST, "hard": LARGEST, "cmpl": LARGEST},
    ),
    "ctl.org": (
        {"name": "Example Hosting"},
        {
            "name": "~",
            "url": "https://mail.example:8443/",
            "contact": "abuse@x.example",
        },
        {"name": "n" * 64, "contact": "c" * 128, "sw": "s" * 64, "nextroot": IDS[0]},
    ),
    "ctl.grant": tuple({"key": key, "label": "mx 1"} for key in KEYS),
    "ctl.revoke": (
        {"key": KEYS[1], "why": "stolen"},
        {"key": KEYS[1], "why": "retired", "cut": [["h", T0, 7, IDS[0]]]},
        {
            "key": KEYS[1],
            "why": "lost",
            "cut": [["h", T0, 7, IDS[0]], ["s", T0, LARGEST, IDS[1]]],
        },
    ),
    "ctl.rotate": tuple(
        {"newroot": key, "sig2": b64(bytes([number] * 64))}
        for number, key in enumerate(KEYS)
    ),
    "ctl.open": (
        {"key": KEYS[1], "st": "h", "inc": T0},
        {"key": KEYS[1], "st": "s", "inc": T0, "closes": [T0 - 9, 5, IDS[0]]},
        {"key": KEYS[0], "st": "c", "inc": 0, "closes": [0, 1, IDS[1]]},
    ),
    "ctl.peer": (
        {"peer": KEYS[2]},
        {"peer": KEYS[2], "url": "https://peer.example"},
        {"peer": KEYS[2], "url": "https://[2001:db8::1]:8443/", "name": "A peer"},
    ),
    "ctl.refuse": tuple(
        {"peer": KEYS[2], "why": why} for why in ("abuse", "lies", "fork")
    ),
    "fix.retract": (
        {"ids": IDS[:1], "why": "error"},
        {"ids": IDS[:2], "why": "stale"},
        {"ids": IDS, "why": "erasure"},
    ),
    "proof.fork": (
        {"a": _LINE, "b": _LINE},
        {"a": b64(bytes(2048)), "b": _LINE},
        {"a": b64(bytes(2048)), "b": b64(bytes(2048))},
    ),
}

STREAMS: Final = {"c": ("ctl", "proof"), "s": ("stat", "out"), "h": ("rcpt", "send")}
SOFT: Final = ("rcpt.soft", "rcpt.ok")


def stream(kind: str) -> str:
    """Return the stream of a kind; "h" for fix.retract."""
    if kind in SOFT:
        return "s"
    area = kind.partition(".")[0]
    return next((st for st, areas in STREAMS.items() if area in areas), "h")


WRONG: Final[tuple[tuple[str, str, Any], ...]] = (
    ("rcpt.hard", "pk", "AAAAAAA"),
    ("rcpt.hard", "r", "AAAA"),
    ("rcpt.hard", "r", "A" * 21 + "B"),
    ("rcpt.hard", "code", "5.7.1"),
    ("rcpt.hard", "code", "5.1.2"),
    ("rcpt.hard", "code", "5.3.4"),
    ("rcpt.hard", "code", "5.6.0"),
    ("rcpt.hard", "code", "4.1.1"),
    ("rcpt.hard", "code", "5.1.01"),
    ("rcpt.hard", "code", 511),
    ("rcpt.hard", "smtp", 450),
    ("rcpt.hard", "smtp", 600),
    ("rcpt.hard", "smtp", "550"),
    ("rcpt.hard", "cnt", 0),
    ("rcpt.hard", "cnt", 10_000),
    ("rcpt.hard", "cnt", True),
    ("rcpt.hard", "last", HOUR + 1),
    ("rcpt.hard", "last", 253_402_300_800),
    ("rcpt.hard", "via", "fax"),
    ("rcpt.hard", "prov", "Google"),
    ("rcpt.hard", "prov", ""),
    ("rcpt.soft", "code", "5.1.1"),
    ("rcpt.soft", "code", "4.7.1"),
    ("rcpt.soft", "smtp", 399),
    ("rcpt.ok", "last", HOUR + 60),
    ("rcpt.complaint", "src", "ARF"),
    ("rcpt.complaint", "cls", "other"),
    ("send.blocked", "s", ["x"]),
    ("send.blocked", "why", "because"),
    ("send.blocked", "until", HOUR + 1),
    ("send.released", "ref", "AAAA"),
    ("out.blocked", "prov", "-x"),
    ("out.blocked", "code", "2.0.0"),
    ("out.blocked", "code", "4.7.1000"),
    ("out.blocked", "n", 0),
    ("out.blocked", "from", HOUR + 1),
    ("out.blocked", "to", HOUR),
    ("stat.score", "from", DAY + 3600),
    ("stat.score", "to", DAY + 2 * 86_400),
    ("stat.score", "sent", "1"),
    ("stat.score", "m", 2),
    ("ctl.org", "name", ""),
    ("ctl.org", "name", "n" * 65),
    ("ctl.org", "url", "http://mail.example"),
    ("ctl.org", "url", "https://a b"),
    ("ctl.org", "url", "file:///etc/passwd"),
    ("ctl.org", "contact", "c" * 129),
    ("ctl.org", "nextroot", "A" * 42),
    ("ctl.grant", "key", "A" * 42 + "B"),
    ("ctl.grant", "label", 1),
    ("ctl.revoke", "why", "other"),
    ("ctl.revoke", "cut", [["h", T0, 7]]),
    ("ctl.revoke", "cut", [["x", T0, 7, IDS[0]]]),
    ("ctl.revoke", "cut", [["h", T0, 0, IDS[0]]]),
    ("ctl.revoke", "cut", [["h", T0, 7, IDS[0]]] * 17),
    ("ctl.revoke", "cut", ["h", T0, 7, IDS[0]]),
    ("ctl.rotate", "newroot", "AAAA"),
    ("ctl.rotate", "sig2", "A" * 43),
    ("ctl.open", "st", "x"),
    ("ctl.open", "inc", "0"),
    ("ctl.open", "closes", [T0, 5]),
    ("ctl.open", "closes", [T0, 5, IDS[0], 1]),
    ("ctl.peer", "peer", "AAAA"),
    ("ctl.peer", "url", "https://"),
    ("ctl.refuse", "why", "dislike"),
    ("fix.retract", "ids", [*IDS, IDS[0]]),
    ("fix.retract", "ids", IDS[0]),
    ("fix.retract", "ids", ["AAAA"]),
    ("fix.retract", "why", "regret"),
    ("proof.fork", "a", b64(bytes(2049))),
    ("proof.fork", "b", "A"),
    ("proof.fork", "b", 7),
)
"""Kind, field, and a value of that field that is well-formed and without weight."""

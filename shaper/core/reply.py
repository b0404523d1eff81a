"""SMTP replies as values: what a server said, and in which phase.

A remote server's answer is data, never an exception. A failure of the
transport becomes a synthetic reply with an enhanced status code (RFC 3463),
so that a single path judges all of them. The phase decides what may be
concluded: a connection lost after the final dot leaves the fate of the
message unknown (RFC 1047), which is temporary and never a bounce.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Phase", "Reply", "queue_id"]

# RFC 2034 4, RFC 3463 2: class "." subject "." detail
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: |$)")
# How servers name the message that they took: Postfix, Exim, Haraka; Sendmail and
# OpenSMTPD put the id before their words, qmail the number of its process behind.
_QUEUED = re.compile(
    r"(?:queued as |ok id=|message queued \(|ok \d+ qp )([^\s()]{1,80})"
    r"|([\w.-]{6,80}) message accepted for delivery",
    re.IGNORECASE,
)
_QUEUED_WITHIN = 4000  # characters of a reply that are looked at


def queue_id(text: str) -> str:
    """Return the queue id that an acceptance tells, or ""."""
    match = _QUEUED.search(text[:_QUEUED_WITHIN])
    return (match[1] or match[2]).rstrip(".;,") if match else ""


class Phase(StrEnum):
    """The command that a reply answers."""

    CONNECT = "connect"
    EHLO = "ehlo"
    TLS = "tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    END = "end"  # the final dot


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply: three digits and its text lines without them."""

    code: int
    lines: tuple[str, ...]
    phase: Phase = Phase.END
    synthetic: bool = False  # made by us because no server spoke

    @property
    def positive(self) -> bool:
        """2yz or 3yz (RFC 5321 4.2.1)."""
        return 200 <= self.code < 400  # noqa: PLR2004

    @property
    def permanent(self) -> bool:
        """5yz (RFC 5321 4.2.1). Everything else that fails is temporary."""
        return 500 <= self.code < 600  # noqa: PLR2004

    @property
    def enhanced(self) -> str | None:
        """The enhanced status code that opens the text (RFC 2034 4)."""
        match = _ENHANCED.match(self.lines[0]) if self.lines else None
        return match[1] if match else None

    @property
    def text(self) -> str:
        """The whole reply on one line, as logs show it."""
        return " ".join((str(self.code), *self.lines))

    def wire(self) -> bytes:
        """Return the reply as it is sent, CRLF included (RFC 5321 4.2.1)."""
        lines = self.lines or ("",)
        last = len(lines) - 1
        return b"".join(
            f"{self.code}{' ' if i == last else '-'}{line}\r\n".encode(
                "utf-8", "surrogateescape"
            )
            for i, line in enumerate(lines)
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data for the spool and the journal."""
        return {"code": self.code, "lines": list(self.lines), "phase": self.phase.value}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Reply:
        """Rebuild a reply; raises KeyError, TypeError or ValueError."""
        return cls(
            int(data["code"]), tuple(map(str, data["lines"])), Phase(data["phase"])
        )

"""The one header field that the shaper adds: its Received (RFC 5321 4.4).

Pure but for a cache of the last formatted second. The field says which host
took the message under which id; the client's address is left out on purpose,
because the MTA before us has written it already and we would only repeat it
behind ``from localhost``.
"""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache

__all__ = ["own_mark", "protocol_name", "trace_field"]


def own_mark(hostname: str) -> bytes:
    """Return how the value of our own trace field begins."""
    return f"by {hostname} (mailshaper) ".encode()


def protocol_name(*, extended: bool, tls: bool, utf8: bool, login: bool = False) -> str:
    """Return the word after ``with`` (RFC 3848, RFC 6531 4.3)."""
    if not extended:
        return "SMTP"
    word = "UTF8SMTP" if utf8 else "ESMTP"
    return word + ("S" if tls else "") + ("A" if login else "")


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, localtime=True)


def trace_field(
    hostname: str, protocol: str, message_id: str, now: float, friend: str = ""
) -> bytes:
    """Return the whole field, folded once, CRLF included.

    ``friend`` names the friendly host whose mail this is. Whoever finds that name
    in a message that a friend offers knows that it has made its one hop already.
    """
    hop = f" (relayed for {friend})" if friend else ""
    return (
        f"Received: by {hostname} (mailshaper) with {protocol} id {message_id}"
        f"{hop};\r\n"
        f"\t{_date(int(now))}\r\n"
    ).encode()

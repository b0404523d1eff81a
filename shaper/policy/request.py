"""One request of an MTA as octets, attributes and question. Pure.

Postfix speaks its policy delegation protocol (SMTPD_POLICY_README): lines of
name=value. Exim is made to speak the same by ``${readsocket}`` (conf/exim/), as

    request=mailshaper_policy
    protocol_state=RCPT, END-OF-MESSAGE or NOT-SMTP
    queue_id=... sender=... recipients=BASE64:BASE64:... sasl_username=...
    client_address=... client_name=... helo_name=... protocol_name=...
    size=... userid=...

where each value but those of request and protocol_state is in base64 (the
recipients one by one), since Exim, unlike Postfix, puts into a line what the client
said as it is: no client can write an attribute of its own. Attributes that are
missing count as empty, and so does a queue id that can be none.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from shaper.core.asked import Answer, Question, Stage
from shaper.core.envelope import Client

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["attributes", "question", "written"]

_POSTFIX, _EXIM = "smtpd_access_policy", "mailshaper_policy"
_STAGES = {
    "RCPT": Stage.RCPT,
    "END-OF-MESSAGE": Stage.END,
    "NOT-SMTP": Stage.END,  # Exim: handed in by a local program
}
_PLAIN = frozenset({"request", "protocol_state"})
_MOST_DIGITS = 18
_UID = 10  # digits of a 32-bit number
_MOST_HELO = 255  # octets of a domain (RFC 5321 4.5.3.1.2); Exim takes any length
# As the queue helper has them; it refuses a request with any other. Postfix short and
# long, Exim old and new.
_QUEUE_ID = re.compile(
    r"[0-9A-F]{6,20}"
    r"|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,16}z"
    r"[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]{1,16}"
    r"|[0-9A-Za-z]{6}-(?:[0-9A-Za-z]{6}-[0-9A-Za-z]{2}|[0-9A-Za-z]{11}-[0-9A-Za-z]{4})"
)
# What could end an answer's line, or be taken for more than text.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def attributes(request: bytes, max_value: int) -> dict[str, str]:
    """Return the attributes; raises ValueError with what is wrong.

    A later attribute of the same name does not replace an earlier one: no MTA
    repeats one, so a repetition is somebody's attempt.
    """
    values: dict[str, str] = {}
    for raw in request.split(b"\n"):
        name, equals, value = raw.partition(b"=")
        # All recipients of a message may be in one line; the request is bounded.
        if len(raw) > max_value and name != b"recipients":
            raise ValueError("a value that is too long")
        if not equals or not name:
            raise ValueError("a line that is not name=value")
        if b"\0" in raw:
            raise ValueError("a NUL octet")
        key = name.decode("utf-8", "replace")
        if key in values:
            raise ValueError("an attribute twice")
        values[key] = value.decode("utf-8", "replace")
    if values.get("request") not in {_POSTFIX, _EXIM}:
        raise ValueError("something else than request=smtpd_access_policy")
    return values


def question(values: Mapping[str, str]) -> Question | None:
    """Return what is asked, None at a stage that decides nothing.

    Raises ValueError when a value is not in the form that its MTA uses.
    """
    stage = _STAGES.get(values.get("protocol_state", ""))
    if stage is None:
        return None
    if values["request"] == _EXIM:
        recipients = _decoded_list(values.get("recipients", ""))
        values = {
            name: value if name in _PLAIN else _decoded(value)
            for name, value in values.items()
            if name != "recipients"
        }
    else:
        one = values.get("recipient", "")
        recipients = (one,) if one else ()
    local = values["protocol_state"] == "NOT-SMTP"
    name = values.get("client_name", "")
    return Question(
        stage=stage,
        instance=values.get("instance", ""),
        sender=values.get("sender", ""),
        recipients=recipients,
        client=Client(
            address=values.get("client_address", ""),
            name="" if name == "unknown" else name,
            helo=values.get("helo_name", "")[:_MOST_HELO],
            protocol=values.get("protocol_name", ""),
            source="LOCAL" if local else "",
            ident=_queue_id(values.get("queue_id", "")),
            login=values.get("sasl_username", ""),
        ),
        count=_number(values.get("recipient_count", "")),
        size=_number(values.get("size", "")),
        userid=_user(values.get("userid", "")) if local else "",
    )


def written(answer: Answer) -> bytes:
    """Return an answer as both MTAs read it (access(5))."""
    if answer.hold:
        return b"action=HOLD\n\n"
    if answer.reply is None:
        return b"action=DUNNO\n\n"
    text = " ".join((str(answer.reply.code), *answer.reply.lines))
    return b"action=%b\n\n" % _CONTROL.sub(" ", text).encode("utf-8", "replace")


def _decoded_list(value: str) -> tuple[str, ...]:
    return tuple(_decoded(one) for one in value.split(":") if one)


def _decoded(value: str) -> str:
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("a value that is not base64") from error
    return _CONTROL.sub("?", raw.decode("utf-8", "replace"))


def _queue_id(value: str) -> str:
    return value if _QUEUE_ID.fullmatch(value) else ""


def _user(value: str) -> str:
    return value if value.isascii() and value.isdigit() and len(value) <= _UID else ""


def _number(value: str) -> int:
    usable = value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS
    return int(value) if usable else 0

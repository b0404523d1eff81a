"""Who sent a message: the one place that decides which word is believed.

Pure. In falling order of trust: the friendly host that logged in here, the login that
Postfix told its policy service for this queue id, the login of XCLIENT, the login
that Exim adds (its field or AUTH=, each only when configured), the uid of local
submission, and as a last resort the envelope sender. A field that the writer of a
message can forge decides nothing: the login field counts only when the operator named
it and exactly one copy is there, since Exim removes a client's copy before it adds
its own; the uid is read from the topmost Received only when the MTA says that the
message was submitted locally.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.core.header import HeaderFacts
from shaper.core.xtext import decode_xtext

if TYPE_CHECKING:
    from shaper.core.envelope import Client, Envelope

__all__ = ["identify", "identify_early"]

_MAX_LOGIN = 320  # characters: 64 local part + "@" + 255 domain
_MAX_UID = 10  # digits of a 32-bit number


def identify(
    envelope: Envelope,
    client: Client,
    header: HeaderFacts,
    *,
    policy_login: str | None,
    login_header: str,
    trust_auth: bool,
) -> str:
    """Return the sender identity with its prefix, "" for the null sender.

    A thief may send with the null path too: it belongs to nobody only where
    nothing better than the envelope tells who sent it.
    """
    if client.friend:
        return f"friend:{client.friend}"
    for login in (policy_login, client.login):
        if login and (identity := _login(login)):
            return identity
    if login_header and len(header.logins) == 1:
        identity = _from_field(header.logins[0])
        if identity:
            return identity
    if trust_auth and (identity := _from_auth(envelope)):
        return identity
    if client.source.upper() == "LOCAL" and header.userid:
        return f"uid:{int(header.userid)}"
    # RFC 5321 4.5.5: what is left are bounces, and they belong to nobody.
    return "" if envelope.is_null else f"from:{envelope.sender.casefold()}"


def identify_early(
    envelope: Envelope,
    client: Client,
    *,
    policy_login: str | None,
    login_header: str,
    trust_auth: bool,
) -> str:
    """Return the identity as far as it is known at RCPT, with the header to come.

    "" also where only the header will tell whose mail it is.
    """
    found = identify(
        envelope,
        client,
        HeaderFacts(),
        policy_login=policy_login,
        login_header="",
        trust_auth=trust_auth,
    )
    return "" if login_header and found.startswith("from:") else found


def _login(text: str) -> str:
    text = text.strip()
    if not text or len(text) > _MAX_LOGIN or not text.isprintable():
        return ""
    return f"login:{text.casefold()}"


def _from_field(value: str) -> str:
    """Return the identity of ``login:x``, ``uid:5`` or a bare login."""
    kind, colon, rest = value.partition(":")
    if colon and kind == "uid":
        valid = rest.isascii() and rest.isdigit() and len(rest) <= _MAX_UID
        return f"uid:{int(rest)}" if valid else ""
    return _login(rest if colon and kind == "login" else value)


def _from_auth(envelope: Envelope) -> str:
    """Return the identity of AUTH=, "" for ``<>`` (RFC 4954 5: not known)."""
    value = envelope.parameter("AUTH")
    if not value or value == "<>":
        return ""
    try:
        return _login(decode_xtext(value))
    except ValueError:
        return ""

"""The tags under which the federation daemon leaves its verdicts.

A tag is a keyed hash of an address (federation/PROTOCOL.md, "Tags"), and so is
computed here as it is there. The two programs share no code; a test holds this one
to the protocol's vectors. Pure. Sources: RFC 5321 4.1.2, RFC 6531 3.2, UTS #46.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import TYPE_CHECKING

import idna

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["canon", "tags"]

_RECIPIENT = b"SM2TP-FED/1 rcpt\n"
_SENDER = b"SM2TP-FED/1 send\n"
_TAG = 16  # octets
_LONGEST = 254  # octets of an address (RFC 5321 4.5.3.1.3, without the brackets)
_ATOM = r"a-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-"
_PLAIN = re.compile(rf"[{_ATOM}]+(\.[{_ATOM}]+)*")
_DOTTED = re.compile(rf"[{_ATOM}.]+")
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~\x80-\U0010ffff]|\\[ -~])*)"')
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+(?!\d+$){_LABEL}")
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def canon(address: str) -> str:
    """Return the form of an address that is hashed, "" where it has none.

    What is certainly one mailbox is one form; ``a+b`` may be dead while ``a`` lives.
    """
    if not _fits(address):
        return ""
    local, at, domain = address.rpartition("@")
    local, domain = _local(local), _domain(domain)
    if not at or not local or not domain:
        return ""
    form = f"{local}@{domain}"
    return form if _fits(form) else ""


def tags(peppers: Iterable[bytes], address: str, *, sender: bool = False) -> list[str]:
    """Return an address's tag under each pepper, none where it has no tag."""
    name = canon(address)
    if not name:
        return []
    text = (_SENDER if sender else _RECIPIENT) + name.encode()
    return [
        urlsafe_b64encode(hmac.digest(one, text, sha256)[:_TAG]).rstrip(b"=").decode()
        for one in peppers
    ]


def _fits(text: str) -> bool:
    try:
        return len(text.encode()) <= _LONGEST
    except UnicodeEncodeError:  # octets that are no UTF-8
        return False


def _local(text: str) -> str:
    # NFC before the case, since a letter that it joins with an accent is not ASCII;
    # and after it, since some accents join with small letters only.
    folded = unicodedata.normalize("NFC", text).translate(_LOWER)
    text = unicodedata.normalize("NFC", folded)
    if _PLAIN.fullmatch(text):
        return text
    if quoted := _QUOTED.fullmatch(text):
        text = re.sub(r"\\(.)", r"\1", quoted[1])
    elif not _DOTTED.fullmatch(text):
        return ""
    if not text or _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _domain(text: str) -> str:
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=True, transitional=False).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            return ""
    text = text.translate(_LOWER).removesuffix(".")
    return text if _DOMAIN.fullmatch(text) else ""

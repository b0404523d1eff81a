"""The tag that stands for an address: canonical form, then HMAC with the pepper.

Members of a network share the pepper and can ask "is this address known?";
others see numbers. Recipient and sender tags of one address differ, so that the
two cannot be linked. Hashing does not make personal data anonymous; the page for
the data-protection officer says what this gives and what not.

The canonical form joins what is certainly one mailbox (case of ASCII letters,
needless quotes, spellings of the domain) and nothing that may be two: plus and
dots stay. Pure. The shaper has a second implementation of this module, held to
it by vectors/addr.jsonl. Sources: RFC 5321 4.1.2, RFC 6531 3.2, UTS #46.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from typing import Final

import idna

__all__ = ["NotShareable", "Pepper", "canon"]

LONGEST: Final = 254
"""Octets of an address (RFC 5321 4.5.3.1.3: a path of 256 with its brackets)."""

_ATOM = r"a-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-"
_DOT_ATOM = re.compile(rf"[{_ATOM}]+(?:\.[{_ATOM}]+)*")
_ATOMS_AND_DOTS = re.compile(rf"[{_ATOM}.]+")
_QUOTED = re.compile(
    r'"((?:[ !#-\[\]-~\x80-\U0010ffff]|\\[ -~])*)"',
)
_PAIR = re.compile(r"\\(.)")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+(?!\d+$){_LABEL}")
_UPPER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class NotShareable(ValueError):  # noqa: N818 - the name says what it is
    """An address that has no tag: no mailbox that others could know by it."""


def canon(address: str) -> str:
    """Return the canonical form of an address. Raises NotShareable."""
    _bounded(address)
    local, at, domain = address.rpartition("@")
    if not at:
        raise NotShareable("there is no @")
    form = f"{_local(local)}@{_domain(domain)}"
    _bounded(form)  # an A-label is longer than what it stands for
    return form


class Pepper:
    """A network's secret. ``id`` (6 bytes) tells which one made a tag."""

    __slots__ = ("id", "secret")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:  # noqa: PLR2004 - as the text says
            raise ValueError("a pepper is of 32 bytes")
        self.secret = secret
        self.id = hashlib.sha256(b"SM2TP-FED/1 pepper\n" + secret).digest()[:6]

    def __repr__(self) -> str:
        return f"Pepper(id={self.id.hex()})"

    def recipient(self, address: str) -> bytes:
        """Return the 16-byte tag of a recipient. Raises NotShareable."""
        return self._tag(b"SM2TP-FED/1 rcpt\n", address)

    def sender(self, address: str) -> bytes:
        """Return the 16-byte tag of a sender. Raises NotShareable."""
        return self._tag(b"SM2TP-FED/1 send\n", address)

    def _tag(self, context: bytes, address: str) -> bytes:
        message = context + canon(address).encode()
        return hmac.digest(self.secret, message, "sha256")[:16]


def _bounded(text: str) -> None:
    try:
        octets = len(text.encode())
    except UnicodeEncodeError:
        raise NotShareable("a lone surrogate is no Unicode text") from None
    if octets > LONGEST:
        raise NotShareable(f"more than {LONGEST} octets")


def _local(text: str) -> str:
    # Only ASCII letters are folded; the receiver alone knows about the others.
    # NFC before, since a letter that it joins with an accent is not ASCII; and
    # after, since some accents join with small letters only (H and U+0331).
    folded = _nfc(_nfc(text).translate(_UPPER))
    if _DOT_ATOM.fullmatch(folded):
        return folded
    if quoted := _QUOTED.fullmatch(folded):
        content = _PAIR.sub(r"\1", quoted[1])
    elif _ATOMS_AND_DOTS.fullmatch(folded):
        content = folded  # such as a..b: not allowed bare, but it is met
    else:
        raise NotShareable("the local part is malformed")
    if not content:
        raise NotShareable("the local part is empty")
    if _DOT_ATOM.fullmatch(content):
        return content
    escaped = content.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _domain(text: str) -> str:
    name = text
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True, transitional=False).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise NotShareable("the domain has no A-label form") from None
    name = name.translate(_UPPER).removesuffix(".")
    # One label or a number at the end: no domain, or one that only local
    # resolvers know. Brackets of an address literal fail here too.
    if not _DOMAIN.fullmatch(name):
        raise NotShareable("the domain is none of the public DNS")
    return name

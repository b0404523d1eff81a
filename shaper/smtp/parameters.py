"""Arguments of MAIL, RCPT, XFORWARD and XCLIENT, taken apart and kept verbatim.

Pure. Addresses and parameters keep the client's case and quoting, because they
leave as they came; keywords that we do not know are kept too, since the next
hop is the one to judge them (it announced what it can do). Only what would
desynchronise a command or mean two things at once is refused here.
Grammar: RFC 5321 4.1.2; parameters RFC 5321 4.1.1.11; DSN RFC 3461.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from shaper.core.reply import Reply
from shaper.core.xtext import decode_xtext, encode_xtext

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "CommandError",
    "attribute_lines",
    "declared_size",
    "parse_attributes",
    "parse_path",
]

# A path in brackets: quoted strings may hold ">" and blanks (RFC 5321 4.1.2).
_BRACKETED = re.compile(r'<((?:[^<>"\s\\]|\\[ -~]|"(?:[^"\\]|\\[ -~])*")*)>')
# Nearly all commands; what it does not match is taken apart with more care.
_PLAIN = re.compile(r"(FROM|TO):<([!#-;=?-\[\]-~]*)>\Z", re.IGNORECASE)
# Postfix too takes an address without brackets (practice, not RFC 5321).
_BARE = re.compile(r'[^<>"\s\\]+')
_PARAMETER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(?:=[!-~\x80-\U0010ffff]+)?\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # how surrogateescape shows such octets
_SIZE = re.compile(r"[0-9]{1,20}\Z")  # RFC 1870 4
_MAX_PARAMETERS = 32
_MAX_ATTRIBUTE = 1024  # characters of an XFORWARD or XCLIENT value
_UNKNOWN = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")  # Postfix XFORWARD_README
_LINE = 500  # octets of one XFORWARD command; Postfix reads at least 512


class CommandError(Exception):
    """A command that is refused; ``reply`` says why."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.reply = Reply(code, (text,))


def parse_path(argument: str, keyword: str) -> tuple[str, tuple[str, ...]]:
    """Take ``FROM:<address> PARAMETERS`` apart; raises CommandError.

    ``keyword`` is FROM or TO. The address comes back without its brackets.
    """
    if (match := _PLAIN.match(argument)) and match[1].upper() == keyword:
        return match[2], ()
    head, colon, rest = argument.partition(":")
    if not colon or head.strip().upper() != keyword:
        raise CommandError(501, f"5.5.4 Syntax: {keyword}:<address> [parameters]")
    if not argument.isascii() and _NOT_UTF8.search(argument):
        raise CommandError(501, "5.5.2 The command contains octets that are not UTF-8")
    if _CONTROL.search(argument):
        raise CommandError(501, "5.5.2 The command contains a control character")
    rest = rest.lstrip(" ")
    if match := _BRACKETED.match(rest):
        address = match[1]
    elif match := _BARE.match(rest):
        address = match[0]
    else:
        raise CommandError(501, f"5.1.3 Malformed address, want {keyword}:<address>")
    tail = rest[match.end() :]
    if tail and not tail.startswith(" "):
        raise CommandError(501, f"5.1.3 Malformed address, want {keyword}:<address>")
    return address, _parameters(tail.split())


def _parameters(words: list[str]) -> tuple[str, ...]:
    if len(words) > _MAX_PARAMETERS:
        raise CommandError(501, "5.5.4 Too many parameters")
    seen: set[str] = set()
    for word in words:
        if not _PARAMETER.match(word):
            raise CommandError(501, "5.5.4 Malformed parameter, want KEYWORD=VALUE")
        name, equals, value = word.partition("=")
        name = name.upper()
        if name in seen:
            raise CommandError(501, f"5.5.4 Parameter {name} given twice")
        seen.add(name)
        if name == "SIZE" and not _SIZE.match(value):
            raise CommandError(501, "5.5.4 SIZE takes a number of octets")
        if name == "BODY" and value.upper() not in {"7BIT", "8BITMIME"}:
            # BINARYMIME cannot be sent by DATA (RFC 3030 3).
            raise CommandError(501, "5.5.4 BODY takes 7BIT or 8BITMIME")
        if name == "SMTPUTF8" and equals:
            raise CommandError(501, "5.5.4 SMTPUTF8 takes no value")
    return tuple(words)


def declared_size(parameters: Iterable[str]) -> int:
    """Return what SIZE= promises, 0 when it does not."""
    for word in parameters:
        if word[:5].upper() == "SIZE=":
            return int(word[5:])
    return 0


def parse_attributes(argument: str, known: Mapping[str, str]) -> dict[str, str]:
    """Take ``NAME=xtext ...`` apart; raises CommandError.

    ``known`` maps the attribute names of the protocol to what they are called
    here; "" means known and of no use to us. Unavailable values become "".
    """
    found: dict[str, str] = {}
    for word in argument.split():
        name, equals, value = word.partition("=")
        field = known.get(name.upper())
        if not equals or field is None or len(value) > _MAX_ATTRIBUTE:
            raise CommandError(501, "5.5.4 Bad attribute, want a known NAME=VALUE")
        try:
            text = "" if value.upper() in _UNKNOWN else decode_xtext(value)
            text.encode()  # refuses octets that are not UTF-8
        except ValueError:
            raise CommandError(501, f"5.5.4 Bad value of {name.upper()}") from None
        if name.upper() == "ADDR" and text[:5].upper() == "IPV6:":
            text = text[5:]
        if field:
            found[field] = text
    if not found and not argument.split():
        raise CommandError(501, "5.5.4 Syntax: NAME=VALUE ...")
    return found


def attribute_lines(verb: str, values: Iterable[tuple[str, str]]) -> list[bytes]:
    """Return the commands that pass non-empty attributes on, CRLF included."""
    lines: list[bytes] = []
    current = verb.encode()
    for name, value in values:
        if not value:
            continue
        if name == "ADDR" and ":" in value:
            value = f"IPV6:{value}"  # noqa: PLW2901
        word = f" {name}={encode_xtext(value)}".encode()
        if len(current) + len(word) > _LINE and b"=" in current:
            lines.append(current + b"\r\n")
            current = verb.encode()
        current += word
    if b"=" in current:
        lines.append(current + b"\r\n")
    return lines

"""Whether Exim's ACLs lead to mailshaper's question (placement ``policy``).

Pure over what ``exim4 -bP`` printed. An ACL is followed through every ``acl =`` of
it, as if each were reached: that somebody's own condition steps around the question
is not seen.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from shaper.doctor.finding import Finding, fail, ok, unknown
from shaper.doctor.target import same

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["STAGES", "asking", "check", "section"]

STAGES = {
    "acl_smtp_data": "it is not asked about messages by SMTP: none is held",
    "acl_smtp_rcpt": "it is not asked about recipients: none is refused at RCPT",
    "acl_not_smtp": "mail of local programs (PHP, cron, sendmail) is not judged",
}
"""Options whose ACL has to ask, and what is lost where it does not."""

_CURE = "mailshaper setup exim; run what it says"
_NAME = re.compile(r"(\w[\w.-]*)\s*:\s*")
_CALL = re.compile(r"\bacl\s*=\s*(\w[\w.-]*)")
_ASK = re.compile(r"\$\{readsocket\{([^}]*)\}")
_REQUEST = "request=mailshaper_policy"
# ${readsocket{where}{request}{timeout}{end of line}{text if there is no answer}}
_WITH_OTHERWISE = 5
_HOLDING = frozenset({"acl_smtp_data", "acl_not_smtp"})
_FREEZE = re.compile(r"\bcontrol\s*=\s*freeze\b")


def check(options: dict[str, str], config: str, listen: Sequence[str]) -> list[Finding]:
    """Return for each stage whether mailshaper is asked, and where."""
    acls = section(config, "acl")
    return [_stage(name, options.get(name, ""), acls, listen) for name in STAGES]


def asking(options: dict[str, str], config: str) -> list[str]:
    """Return the stages at which mailshaper is asked, wherever it listens."""
    acls = section(config, "acl")
    return [
        name
        for name in STAGES
        if any(_REQUEST in one for one in _reached(options.get(name, ""), acls))
    ]


def _stage(
    name: str, value: str, acls: dict[str, str], listen: Sequence[str]
) -> Finding:
    where = f"Exim {name} = {value}".rstrip(" =")
    if not value:
        return fail(STAGES[name], where, _CURE)
    if value not in acls:
        cure = f"exim4 -bP config as root shows it: {_REQUEST} must be asked there"
        return unknown("this ACL cannot be looked into", where, cure)
    reached = _reached(value, acls)
    asks = [one for one in reached if _REQUEST in one]
    if not asks:
        return fail(STAGES[name], where, _CURE)
    targets = {target for one in asks for target in _ASK.findall(one)}
    strange = sorted(
        target for target in targets if not any(same(target, one) for one in listen)
    )
    if strange:
        heard = ", ".join(listen) or "nowhere"
        what = f"Exim asks at {strange[0]}, and policy.listen is {heard}"
        return fail(what, where, _CURE)
    return _faults(name, where, asks, reached, acls)


def _faults(
    stage: str, where: str, asks: list[str], reached: list[str], acls: dict[str, str]
) -> Finding:
    """Judge what is done with the answer, and without one."""
    every = "\n".join(reached)
    for called in _CALL.findall(every):
        if called not in acls:
            return fail(f"there is no ACL {called}: mail is deferred", where, _CURE)
    if any(_arguments(one) < _WITH_OTHERWISE for one in asks):
        what = "mail is deferred while mailshaper is down: ${readsocket} has no text "
        return fail(f"{what}for that case", where, _CURE)
    if stage in _HOLDING and not _FREEZE.search(every):
        what = "it is asked, and mail that is to wait is sent: no control = freeze"
        return fail(what, where, _CURE)
    return ok("mailshaper is asked", where)


def _arguments(text: str) -> int:
    """Return how many arguments our question has: {...} one after another."""
    begin = text.rfind("${readsocket", 0, text.index(_REQUEST))
    count = depth = 0
    skip = False
    for char in text[begin + 2 :]:
        if skip or char == "\\":
            skip = not skip
        elif char == "{":
            count += depth == 0
            depth += 1
        elif char == "}":
            depth -= 1
            if depth < 0:
                break
    return count


def section(config: str, title: str) -> dict[str, str]:
    """Return what a section has, by name, as -bP config prints it."""
    found: dict[str, list[str]] = {}
    body: list[str] | None = None
    inside = False
    for raw in config.splitlines():
        line = raw.strip()
        if line.startswith("begin "):
            inside, body = line.split() == ["begin", title], None
        elif inside and (named := _NAME.fullmatch(line)):
            body = found.setdefault(named[1], [])
        elif body is not None and not line.startswith("#"):
            body.append(line)
    return {name: "\n".join(lines) for name, lines in found.items()}


def _reached(name: str, acls: dict[str, str]) -> list[str]:
    """Return the texts of an ACL and of those that it asks."""
    seen: dict[str, str] = {}
    ahead = [name]
    while ahead:
        one = ahead.pop()
        if one not in seen and one in acls:
            seen[one] = acls[one]
            ahead += _CALL.findall(acls[one])
    return list(seen.values())

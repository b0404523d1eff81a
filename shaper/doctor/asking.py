"""Whether the MTA asks and keeps the mail, as the placement ``policy`` needs it.

Pure over what ``postconf`` printed, but for ``helper``, which asks the queue helper
about no message. Reasons: docs/placement-policy.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shaper.doctor.finding import Finding, fail, ok, unknown, warn
from shaper.doctor.target import same
from shaper.policy.queue import QueueHelper, QueueTroubleError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shaper.config import Settings
    from shaper.doctor.postconf import Postfix

__all__ = [
    "check",
    "helper",
    "judged",
    "places",
    "questions",
    "seconds",
    "unjudged",
]

_SNIPPET = "mailshaper setup postfix --way policy"
_PATIENCE = 5.0
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
# In braces with attributes, or alone (SMTPD_POLICY_README, "Advanced policy client").
_CHECK = re.compile(r"\bcheck_policy_service\s*(?:\{([^{}]*)\}|([^\s,{}]+))")
_STAGES = {
    "smtpd_recipient_restrictions": "recipients are not told, so none is refused at "
    "RCPT and mail for several is judged by their number only",
    "smtpd_end_of_data_restrictions": "it is not asked about messages: none is held",
}


def check(postfix: Postfix, settings: Settings) -> list[Finding]:
    """Return what is right and wrong for the placement ``policy``."""
    found = []
    for name in _services(postfix, settings):
        found += _asked(postfix, settings, name)
    found += [
        unjudged(name)
        for name in postfix.logins_on_port_25()
        if not _asks(postfix, settings, name)
    ]
    return [*found, *_unseen(postfix), *_life(postfix, settings)]


def unjudged(service: str) -> Finding:
    """Return that people log in where strangers' mail comes, which is not looked at."""
    return warn(
        "who logs in on port 25 is not judged: strangers' mail comes there too",
        f"master.cf {service} smtpd_sasl_auth_enable",
        f"postconf -P {service}/smtpd_sasl_auth_enable=no && postfix reload, "
        "and let people use port 587",
    )


def _asks(postfix: Postfix, settings: Settings, service: str) -> bool:
    return any(questions(postfix, settings, service, key) for key in _STAGES)


def _services(postfix: Postfix, settings: Settings) -> list[str]:
    """Return where people log in and where we are asked; "" is main.cf."""
    people = [name for name in postfix.takers() if name]
    asking = [name for name in postfix.smtpd if _asks(postfix, settings, name)]
    return sorted({*people, *asking}) or [""]


def places(postfix: Postfix, settings: Settings) -> list[str]:
    """Return each setting whose question leads to us, main.cf or a service's."""
    names = ["", *sorted(postfix.smtpd)]
    own = {name: postfix.options.get(name, {}) for name in names} | {"": postfix.main}
    return [
        f"master.cf {name} {key}" if name else f"main.cf {key}"
        for name in names
        for key in _STAGES
        if key in own[name] and questions(postfix, settings, name, key)
    ]


@dataclass(frozen=True, slots=True)
class Question:
    """A ``check_policy_service`` that leads to us: where to, how, behind what."""

    target: str
    attributes: str
    before: str


def questions(
    postfix: Postfix, settings: Settings, service: str, key: str
) -> list[Question]:
    """Return the questions of a list of restrictions that lead to us."""
    value = postfix.expanded(postfix.value(service, key))
    base = postfix.main.get("queue_directory", "")
    found = []
    for match in _CHECK.finditer(value):
        target, *attributes = re.split(r"[\s,]+", (match[1] or match[2]).strip())
        if any(same(target, one, base) for one in settings.policy.listen):
            before = value[: match.start()]
            found.append(Question(target, " ".join(attributes), before))
    return found


def _asked(postfix: Postfix, settings: Settings, service: str) -> list[Finding]:
    place = f"master.cf {service}" if service else "main.cf"
    found = []
    for key, loss in _STAGES.items():
        where = f"{place} {key}"
        asks = questions(postfix, settings, service, key)
        if not asks:
            found.append(fail(loss, where, f"{_SNIPPET}; run what it says"))
        else:
            found.append(judged(postfix, service, asks[0], where))
    if proxy := postfix.value(service, "smtpd_proxy_filter"):
        # No queue id is told then, and HOLD is not done; tried with Postfix 3.7.
        found.append(
            fail(
                f"no mail can be held: it goes to {proxy} before it has a queue file",
                f"{place} smtpd_proxy_filter",
                "filter behind the queue (content_filter), or use the placement hop",
            )
        )
    return found


def judged(postfix: Postfix, service: str, ask: Question, where: str) -> Finding:
    """Judge a question: nothing is before it, it gets there, mail passes without us."""
    if permits := re.search(r"\bpermit\w*", ask.before):
        return fail(
            f"who passes {permits[0]} is not asked about: what permits ends the list",
            where,
            f"put check_policy_service before {permits[0]}; in placement policy "
            f"{_SNIPPET} does that, run what it says",
        )
    kind, _, path = ask.target.partition(":")
    if kind == "unix" and path.startswith("/") and service in postfix.chrooted:
        base = postfix.main.get("queue_directory", "/var/spool/postfix")
        return fail(
            f"{service} runs in a chroot and cannot see {path}",
            where,
            f"let policy.listen be below {base}, and write the rest: unix:NAME",
        )
    everywhere = postfix.main.get("smtpd_policy_service_default_action", "")
    said = re.search(r"default_action\s*=\s*(\w+)", ask.attributes)
    if (said[1] if said else everywhere).upper() != "DUNNO":
        cure = f"write check_policy_service {{ {ask.target}, timeout=5s, "
        cure += "default_action=DUNNO }"
        return fail("mail is refused (451) while mailshaper is down", where, cure)
    return ok("mailshaper is asked", where)


def _unseen(postfix: Postfix) -> list[Finding]:
    """Mail of sendmail(1) comes by pickup(8), which asks no policy service."""
    where = "main.cf authorized_submit_users"
    who = postfix.expanded(postfix.main.get("authorized_submit_users", ""))
    if who and not who.startswith("static:"):
        return [ok(f"mail by sendmail (not judged) may come from {who} only", where)]
    return [
        unknown(
            "whether programs here (PHP, cron) send by sendmail is not known: Postfix "
            "asks nobody about such mail, so it is not judged",
            where,
            "authorized_submit_users = root, or placement hop: placement-policy.md",
        )
    ]


def seconds(value: str) -> float:
    """Return Postfix' way to write times, such as ``5d``, in seconds; 0 for none."""
    match = re.fullmatch(r"(\d+)([smhdw]?)", value.strip())
    return float(int(match[1]) * _UNITS[match[2] or "s"]) if match else 0.0


def _life(postfix: Postfix, settings: Settings) -> list[Finding]:
    """Compare the life of a message in the queue with how long we wait."""
    text = postfix.main.get("maximal_queue_lifetime", "5d")
    again = settings.policy.requeue_after
    where = "main.cf maximal_queue_lifetime, policy.requeue_after"
    if not (life := seconds(text)):
        return [unknown(f"maximal_queue_lifetime {text!r} is no time", where)]
    if again < life:
        return [ok("released mail has time to be delivered", where)]
    return [
        warn(
            f"mail that was held for more than {text} comes back when it is released: "
            "it expires at once",
            where,
            f"set policy.requeue_after below {life:.0f}",
        )
    ]


def helper(settings: Settings) -> list[Finding]:
    """Ask the queue helper; without it held mail stays where it is."""
    path = settings.policy.queue_helper
    where = f"policy.queue_helper {path}"
    try:
        with _as_owner(path):
            asyncio.run(_answers(path))
    except (QueueTroubleError, OSError) as error:
        if path.exists() and not os.access(path, os.W_OK):
            return [unknown("not to be asked by this user", where, "use sudo")]
        cure = (
            "systemctl enable --now mailshaper-queue.socket (Exim: "
            "mailshaper-queue-exim.socket)"
        )
        return [fail(f"the queue helper does not answer: {error}", where, cure)]
    return [ok("the queue helper answers", where)]


async def _answers(path: Path) -> None:
    """Ask about a message that is not there. Raises QueueTroubleError."""
    queue = QueueHelper(path, _PATIENCE)
    try:
        await queue.states(["0" * 11])
    except QueueTroubleError as error:
        if "not a queue id" not in str(error):
            raise
        await queue.states(["000000-000000-00"])  # so it is the helper of Exim


@contextlib.contextmanager
def _as_owner(path: Path) -> Iterator[None]:
    """Be the socket's owner, whom alone the helper hears; not even root.

    The kernel tells the effective user of who connects (unix(7), SO_PEERCRED).
    Raises OSError.
    """
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(path.stat().st_uid)
    try:
        yield
    finally:
        os.seteuid(0)

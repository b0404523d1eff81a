"""Whether the MTA asks and keeps the mail, as the placement ``policy`` needs it.

Pure over what ``postconf`` printed, but for ``helper``, which asks the queue helper
about no message. Reasons: docs/placement-policy.md.
"""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING

from shaper.doctor.finding import Finding, fail, ok, unknown, warn
from shaper.policy.queue import QueueHelper, QueueTroubleError

if TYPE_CHECKING:
    from shaper.config import Settings
    from shaper.doctor.postfix import Postfix

__all__ = ["check", "helper", "seconds"]

_SNIPPET = "mailshaper setup postfix --way policy"
_PATIENCE = 5.0
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_STAGES = {
    "smtpd_recipient_restrictions": "recipients are not told, so none is refused at "
    "RCPT and mail for several is judged by their number only",
    "smtpd_end_of_data_restrictions": "it is not asked about messages: none is held",
}


def check(postfix: Postfix, settings: Settings) -> list[Finding]:
    """Return what is right and wrong for the placement ``policy``."""
    found = _filtered(postfix)
    for name in postfix.takers():
        found += _asked(postfix, settings, name)
    return found + _life(postfix, settings)


def _filtered(postfix: Postfix) -> list[Finding]:
    twice = [
        name or "main.cf"
        for name in ("", *sorted(postfix.services))
        if postfix.value(name, "content_filter").startswith("shaper:")
    ]
    if not twice:
        return []
    return [
        fail(
            "mail still goes through mailshaper, which takes none in this placement",
            f"content_filter of {', '.join(twice)}",
            "sh /usr/share/mailshaper/postfix/off.sh && postfix reload",
        )
    ]


def _asked(postfix: Postfix, settings: Settings, service: str) -> list[Finding]:
    where = f"master.cf {service}" if service else "main.cf"
    found = []
    for key, loss in _STAGES.items():
        asks = expanded(postfix, postfix.value(service, key))
        mine = [one for one in settings.policy.listen if f"inet:{one}" in asks]
        if not mine:
            found.append(fail(loss, f"{where} {key}", f"{_SNIPPET}; run what it says"))
        elif "default_action=DUNNO" not in asks.replace(" = ", "="):
            cure = f"write check_policy_service {{ inet:{mine[0]}, timeout=5s, "
            cure += "default_action=DUNNO }"
            what = "mail is refused (451) while mailshaper is down"
            found.append(fail(what, f"{where} {key}", cure))
        else:
            found.append(ok("mailshaper is asked", f"{where} {key}"))
    return found


def expanded(postfix: Postfix, value: str) -> str:
    """Return a value with names of parameters replaced, as postconf(5) does."""
    for _ in range(10):  # a name may lead to a name
        new = re.sub(r"\$\{?(\w+)\}?", lambda one: postfix.main.get(one[1], ""), value)
        if new == value:
            break
        value = new
    return value


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
        asyncio.run(QueueHelper(path, _PATIENCE).states(["0" * 11]))
    except QueueTroubleError as error:
        if path.exists() and not os.access(path, os.W_OK):
            return [unknown("not to be asked by this user", where, "use sudo")]
        cure = (
            "systemctl enable --now mailshaper-queue.socket (Exim: "
            "mailshaper-queue-exim.socket)"
        )
        return [fail(f"the queue helper does not answer: {error}", where, cure)]
    return [ok("the queue helper answers", where)]

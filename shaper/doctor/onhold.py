"""Mail that the MTA keeps on hold and of which mailshaper has no record.

People may put mail there, but it is also what a lost or old state directory leaves
behind: nobody is told of it, and nobody lets it go.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any

from shaper.cli.client import Client
from shaper.cli.failure import CliError
from shaper.doctor.finding import Finding, ok, unknown, warn
from shaper.doctor.probes import ProbeError, run

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["exim", "exim_queue", "forgotten", "postfix", "postfix_queue"]

_MOST_NAMED = 3
# exim -bp: age, size, id, <sender>; a bounce that cannot be delivered is frozen, too.
_FROZEN = re.compile(
    r"(?m)^ *\d+[mhdw] +\S+ +([0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}) "
    r"<[^>]+>.* \*\*\* frozen \*\*\*"
)


def postfix(admin: Path, config: str = "") -> list[Finding]:
    """Look into the queue of Postfix, of the instance in ``config`` if given."""
    where = ("-c", config) if config else ()
    cure = "mailq shows it; postsuper -H ID lets one go, postsuper -d ID throws it away"
    try:
        there = postfix_queue(run("postqueue", *where, "-j"))
    except ProbeError as error:
        return [unknown(str(error), "the hold queue")]
    return _compared(there, admin, cure)


def exim(admin: Path) -> list[Finding]:
    """Look into the queue of Exim."""
    cure = "exim4 -bp shows it; exim4 -Mt ID, then -M ID, lets one go, -Mrm ID does not"
    try:
        there = exim_queue(run("exim4", "-bp"))
    except ProbeError as error:
        return [unknown(str(error), "frozen mail")]
    return _compared(there, admin, cure)


def postfix_queue(printed: str) -> set[str]:
    """Return the queue ids on hold of what ``postqueue -j`` printed."""
    found = set()
    for line in printed.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            message = json.loads(line)
            if message["queue_name"] == "hold":
                found.add(str(message["queue_id"]))
    return found


def exim_queue(printed: str) -> set[str]:
    """Return the ids of frozen mail of what ``exim -bp`` printed; bounces apart."""
    return set(_FROZEN.findall(printed))


def _compared(there: set[str], admin: Path, cure: str) -> list[Finding]:
    ours: set[str] = set()

    def note(row: Any) -> None:  # noqa: ANN401
        ours.add(str(row["client"].get("ident", "")))

    try:
        # After the MTA's: what it holds meanwhile has a record already.
        Client(admin, timeout=5.0).ask("queue.list", note)
    except (CliError, KeyError, TypeError, AttributeError):
        return []  # that the daemon does not answer is told elsewhere
    return forgotten(there - ours, cure)


def forgotten(ids: set[str], cure: str) -> list[Finding]:
    """Judge the ids of mail on hold without a record."""
    where = "the MTA's queue"
    if not ids:
        return [ok("mailshaper knows all mail on hold", where)]
    some = ", ".join(sorted(ids)[:_MOST_NAMED])
    more = ", ..." if len(ids) > _MOST_NAMED else ""
    what = "mail is on hold of which mailshaper has no record, so nobody is told of it"
    return [warn(f"{what}: {len(ids)} ({some}{more})", where, cure)]

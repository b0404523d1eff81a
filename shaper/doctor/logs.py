"""Whether the daemon can read what the MTA's log tells: files, units of the journal."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from typing import TYPE_CHECKING

from shaper.doctor.finding import Finding, fail, ok, unknown, warn
from shaper.doctor.probes import ProbeError, run

if TYPE_CHECKING:
    from pathlib import Path

    from shaper.config import Settings

__all__ = ["check", "journal_findings", "readable"]

_USER = "mailshaper"
_READERS = ("systemd-journal", "adm")  # who may read all of it: systemd-journald(8)
_AN_MTA = ("SYSLOG_IDENTIFIER=postfix/master", "+", "_COMM=exim4")
_NONE = "what becomes of mail is not known: no log of the MTA is followed"
_NAMES = (
    'set logs = ["/var/log/mail.log"], or journal = ["postfix@-.service"] (Debian 13: '
    "postfix.service; Exim writes /var/log/exim4/mainlog)"
)


def check(settings: Settings) -> list[Finding]:
    """Return what is right and wrong with ``feedback.logs`` and its journal."""
    files, units = settings.feedback.logs, settings.feedback.journal
    found = [one for path in files for one in readable(path)]
    if units:
        found += _reader(_USER)
    for unit in units:
        found += _unit(unit)
    if not found and settings.daemon.placement != "hop":
        found.append(fail(_NONE, "mailshaper.toml [feedback]", _NAMES))
    return found


def readable(path: Path, user: str = _USER) -> list[Finding]:
    """Return whether a log can be read by the daemon's user."""
    where = str(path)
    try:
        facts = path.stat()
        account = pwd.getpwnam(user)
    except PermissionError:
        return [unknown("not to be seen by this user", where, "use sudo")]
    except OSError as error:
        cure = "name the MTA's log in feedback.logs"
        return [fail(str(error.strerror), where, cure)]
    except KeyError:
        return [unknown(f"there is no user {user}", where)]
    groups = os.getgrouplist(user, account.pw_gid)
    if facts.st_uid == account.pw_uid:
        may = facts.st_mode & 0o400
    elif facts.st_gid in groups:
        may = facts.st_mode & 0o040
    else:
        may = facts.st_mode & 0o004
    if may:
        return [ok("the log can be read", where)]
    cure = f"adduser {user} adm && systemctl restart mailshaper"
    return [fail(f"{user} may not read this log", where, cure)]


def _reader(user: str) -> list[Finding]:
    where = "feedback.journal"
    try:
        groups = os.getgrouplist(user, pwd.getpwnam(user).pw_gid)
    except KeyError:
        return [unknown(f"there is no user {user}", where)]
    for name in _READERS:
        try:
            if grp.getgrnam(name).gr_gid in groups:
                return [ok(f"{user} may read the journal", where)]
        except KeyError:
            continue
    cure = f"adduser {user} systemd-journal && systemctl restart mailshaper"
    return [fail(f"{user} may not read the journal", where, cure)]


def _unit(unit: str) -> list[Finding]:
    where = f"feedback.journal {unit}"
    if not _sees_all():
        return [unknown("not to be seen by this user", where, "use sudo")]
    base = ("journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=1")
    try:
        # What its processes wrote, and not what systemd writes about the unit.
        last = run(*base, f"_SYSTEMD_UNIT={unit}")
        other = run(*base, "--output-fields=_SYSTEMD_UNIT", *_AN_MTA)
    except ProbeError as error:
        return [unknown(str(error), where)]
    return journal_findings(unit, last.strip(), other.strip())


def _sees_all() -> bool:
    """Whether journalctl shows this process the entries of services."""
    if os.geteuid() == 0:
        return True
    with contextlib.suppress(KeyError):
        return any(grp.getgrnam(one).gr_gid in os.getgroups() for one in _READERS)
    return False


def journal_findings(unit: str, last: str, other: str) -> list[Finding]:
    """Judge a unit: ``last`` is its last line, ``other`` the unit of an MTA's line."""
    where = f"feedback.journal {unit}"
    if last:
        return [ok("has entries in the journal", where)]
    cure = "systemctl list-units 'postfix*' 'exim4*' shows the MTA's unit"
    if other:
        cure = f'set journal = ["{other}"], then systemctl restart mailshaper'
    return [warn("this unit has written nothing to the journal", where, cure)]

"""Whether the daemon and its neighbours answer: sockets, policy, next hop.

Asks as the MTA would (EHLO, a policy request), sends no mail, changes nothing.
"""

from __future__ import annotations

from email.utils import formatdate, make_msgid
from typing import TYPE_CHECKING, Any

from shaper.cli.client import Client
from shaper.cli.failure import NOPERM, CliError
from shaper.doctor import asking
from shaper.doctor.finding import Finding, fail, ok, unknown, warn
from shaper.doctor.probes import ProbeError, talk

if TYPE_CHECKING:
    from pathlib import Path

    from shaper.config import Settings

__all__ = ["check", "placement_findings", "send"]

_START = "systemctl start mailshaper; journalctl -u mailshaper -n 50"
# One that runs may have been started before the file was changed.
_RESTART = _START.replace("start", "restart", 1)
_EHLO = ((b"", b"smtp"), (b"EHLO localhost\r\n", b"smtp"), (b"QUIT\r\n", b"smtp"))
# At RCPT and without a login nothing is learnt from it (SMTPD_POLICY_README).
_ASK = b"request=smtpd_access_policy\nprotocol_state=RCPT\nqueue_id=\n\n"


def check(settings: Settings, admin: Path) -> list[Finding]:
    """Return what answers and what does not."""
    found = _daemon(admin, settings)
    if settings.daemon.placement == "hop":
        for address in settings.hop.listen:
            found += _hop(address)
    if settings.daemon.placement != "watch":
        for address in settings.policy.listen:
            found += _policy(address)
        found += _next_hop(settings)
    if settings.daemon.placement == "policy":
        found += asking.helper(settings)
    if settings.metrics.listen:
        found += _metrics(settings.metrics.listen)
    return found


def send(settings: Settings, recipient: str) -> list[Finding]:
    """Send one test mail the whole way, and tell what the next hop said.

    Offered to the daemon as the MTA would; it is judged like any mail.
    """
    sender = settings.notify.mail_from or f"mailshaper@{settings.hostname}"
    address = settings.hop.listen[0]
    where = f"a test mail by {address}"
    if not recipient.isprintable() or set(recipient) & set(" <>\r\n"):
        return [fail("that is no mail address", where, "write you@example.org")]
    now = formatdate(localtime=True)
    text = (
        f"From: <{sender}>\r\nTo: <{recipient}>\r\nDate: {now}\r\n"
        f"Message-ID: {make_msgid(domain=settings.hostname)}\r\n"
        "Subject: Test of mailshaper\r\nAuto-Submitted: auto-generated\r\n\r\n"
        "mailshaper doctor --send sent this through the shaper. Its topmost trace\r\n"
        "fields show the way.\r\n.\r\n"
    )
    steps = [
        b"",
        b"EHLO localhost\r\n",
        f"MAIL FROM:<{sender}>\r\n".encode(),
        f"RCPT TO:<{recipient}>\r\n".encode(),
        b"DATA\r\n",
        text.encode(),
    ]
    try:
        answers = talk(address, *((step, b"smtp") for step in steps))
    except ProbeError as error:
        return [fail(f"it could not be sent: {error}", where, _RESTART)]
    for answer in answers:
        if not answer.startswith(("2", "3")):
            cure = "the reply is the next hop's unless it names mailshaper"
            return [fail(f"refused: {answer.strip()!r}", where, cure)]
    said = answers[-1].strip()
    if "Held" in said:
        cure = f"mailshaper cases; mailshaper explain from:{sender}"
        return [warn(f"it is held: {said!r}", where, cure)]
    return [ok(f"the next hop took it: {said!r}", where)]


def placement_findings(
    status: dict[str, Any], settings: Settings, where: str
) -> list[Finding]:
    """Compare the placement that runs with that of the file; no reload changes it."""
    runs, wanted = status.get("placement", ""), settings.daemon.placement
    if not runs or runs == wanted:
        return []
    return [
        fail(
            f"the daemon runs in placement {runs}, and mailshaper.toml says {wanted}",
            where,
            "systemctl restart mailshaper",
        )
    ]


def _daemon(admin: Path, settings: Settings) -> list[Finding]:
    where = str(admin)
    try:
        client = Client(admin, timeout=5.0)
        status = client.ask("status")
        senders = client.ask("complete")["senders"]
    except CliError as error:
        if error.code == NOPERM:
            return [unknown(str(error), where, error.hint)]
        return [fail(str(error), where, error.hint or _START)]
    found = [ok("the daemon answers", where)]
    found += placement_findings(status, settings, where)
    found += [
        fail(
            f"the daemon cannot read it: {trouble}",
            f"feedback, {name}",
            "mend what it says; after a change of groups systemctl restart mailshaper",
        )
        for name, trouble in sorted(status.get("unread_sources", {}).items())
    ]
    logins = sum(str(one).startswith(("login:", "uid:")) for one in senders)
    if logins:
        found.append(ok(f"logins arrive: {logins} senders have one", where))
    elif senders:
        found.append(
            warn(
                "every sender is from:ADDRESS: no login has arrived",
                where,
                "send a mail with a login, then mailshaper explain login:NAME; see "
                "docs/postfix.md or docs/exim.md, Whose mail it is",
            )
        )
    else:
        found.append(unknown("no mail was seen yet: logins not checked", where))
    return found


def _hop(address: str) -> list[Finding]:
    where = f"hop.listen {address}"
    try:
        _, greeting, _ = talk(address, *_EHLO)
    except ProbeError as error:
        return [fail(f"nothing answers: {error}", where, _RESTART)]
    if "XFORWARD" not in greeting:
        return [
            fail(
                "what answers does not offer XFORWARD: is it mailshaper?",
                where,
                f"ss -ltnp | grep -F {address} shows who listens",
            )
        ]
    return [ok("takes mail and offers XFORWARD", where)]


def _policy(address: str) -> list[Finding]:
    where = f"policy.listen {address}"
    try:
        (answer,) = talk(address, (_ASK, b"\n\n"))
    except ProbeError as error:
        return [fail(f"nothing answers: {error}", where, _RESTART)]
    if answer.strip().lower() != "action=dunno":
        return [
            fail(
                f"the policy answer is not DUNNO but {answer.strip()!r}",
                where,
                f"ss -ltnp | grep -F {address} shows who listens",
            )
        ]
    return [ok("the policy service answers DUNNO", where)]


def _next_hop(settings: Settings) -> list[Finding]:
    address = settings.hop.next_hop
    where = f"hop.next_hop {address}"
    if settings.hop.next_hop_tls == "implicit":
        return [unknown("TLS from the first octet: not tried", where)]
    try:
        greeting, answer, _ = talk(address, *_EHLO)
    except ProbeError as error:
        cure = "systemctl reload-or-restart postfix (or exim4), which takes what "
        cure += "mailshaper setup made; ss -ltn shows who listens"
        return [fail(f"the next hop does not answer: {error}", where, cure)]
    if not greeting.startswith("220") or not answer.startswith("250"):
        cure = "its log says why it refuses this host"
        return [fail(f"the next hop says {greeting.strip()!r}", where, cure)]
    return [ok("the next hop answers", where), *_size(settings, answer, where)]


def _size(settings: Settings, answer: str, where: str) -> list[Finding]:
    """Compare what the next hop takes (RFC 1870) with what we take."""
    most = settings.hop.max_message_size
    for line in answer.upper().splitlines():
        keyword, _, value = line[4:].partition(" ")
        if keyword == "SIZE" and value.strip().isdigit():
            limit = int(value)
            if 0 < limit < most:
                # We announce the smaller of the two, so the MTA knows.
                return [ok(f"the next hop takes {limit} octets: so do we", where)]
            return [ok("the next hop takes as large mail as we do", where)]
    return [unknown("the next hop announces no SIZE", where)]


def _metrics(address: str) -> list[Finding]:
    where = f"metrics.listen {address}"
    try:
        (answer,) = talk(
            address, (b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n", b"\r\n\r\n")
        )
    except ProbeError as error:
        return [fail(f"nothing answers: {error}", where, _RESTART)]
    if " 200" not in answer.partition("\r\n")[0]:
        return [fail("it is not the metrics page", where, "ss -ltnp shows who listens")]
    return [ok("metrics answer", where)]

"""What Postfix' configuration says about the way through mailshaper.

Pure checks over what ``postconf`` printed (``shaper.doctor.postconf``). The reasons
of each rule are in docs/postfix.md (and FILTER_README, postconf(5) of Postfix).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.addresses import is_loopback
from shaper.doctor import asking, left
from shaper.doctor.finding import Finding, fail, ok, unknown, warn

if TYPE_CHECKING:
    from shaper.config import Settings
    from shaper.doctor.postconf import Postfix

__all__ = ["check"]

_TRANSPORT = "shaper/unix"
_SETUP = "mailshaper setup postfix > FILE; read it; sh FILE && postfix reload"


def check(postfix: Postfix, settings: Settings) -> list[Finding]:
    """Return what is right and wrong in the configuration of Postfix."""
    kept = left.postfix(postfix, settings)
    if settings.daemon.placement == "watch":
        return kept
    if settings.daemon.placement == "policy":
        return [*kept, *asking.check(postfix, settings), *_queue_ids(postfix)]
    return [
        *kept,
        *_road(postfix),
        *_pace(postfix),
        *_port(postfix, settings),
        *_login(postfix, settings),
        *_behind_filters(postfix, settings),
        *_queue_ids(postfix),
        *_hidden(postfix),
        *_back(postfix, settings),
        *_sizes(postfix, settings),
    ]


def _road(postfix: Postfix) -> list[Finding]:
    where = f"master.cf {_TRANSPORT}"
    if _TRANSPORT not in postfix.services:
        return [
            fail(
                "the transport to mailshaper is missing",
                where,
                _SETUP,
            )
        ]
    found = [ok("the transport to mailshaper is there", where)]
    if postfix.value(_TRANSPORT, "smtp_send_xforward_command") != "yes":
        cure = (
            f"postconf -P {_TRANSPORT}/smtp_send_xforward_command=yes && postfix reload"
        )
        found.append(fail("XFORWARD is not sent: no mail has its login", where, cure))
    if fallback := postfix.value(_TRANSPORT, "smtp_fallback_relay"):
        what = f"mail goes to {fallback}, unseen, whenever mailshaper is away"
        cure = f"postconf -P {_TRANSPORT}/smtp_fallback_relay= && postfix reload"
        found.append(fail(what, f"{where} smtp_fallback_relay", cure))
    filtered = [
        name
        for name in sorted(postfix.services)
        if postfix.value(name, "content_filter").startswith("shaper:")
    ]
    if not filtered and not postfix.main.get("default_transport", "").startswith(
        "shaper:"
    ):
        found.append(
            fail(
                "no mail is sent to mailshaper",
                "main.cf default_transport, master.cf content_filter",
                _SETUP,
            )
        )
    for name in filtered:
        overrides = postfix.value(name, "receive_override_options")
        if "no_address_mappings" not in overrides:
            kept = f"{overrides}," if overrides else ""
            found.append(
                warn(
                    "addresses are rewritten twice, before and behind mailshaper",
                    f"master.cf {name}",
                    f"postconf -P '{name}/receive_override_options={kept}"
                    "no_address_mappings' && postfix reload",
                )
            )
    return found + (_past(postfix, filtered) if filtered else [])


def _past(postfix: Postfix, filtered: list[str]) -> list[Finding]:
    """Where some services filter, say which mail of people goes past mailshaper."""
    if postfix.main.get("default_transport", "").startswith("shaper:"):
        return []  # all of it that leaves this host
    people = [name for name in postfix.takers() if name]
    behind = set(filtered) - set(people)  # maybe where another filter hands back
    found = []
    for name in people:
        other = postfix.filter_of(name)
        if not other and name not in filtered:
            what = "the mail of who logs in here goes past mailshaper"
            cure = "mailshaper setup postfix; run what it says"
            found.append(fail(what, f"master.cf {name} content_filter", cure))
        elif other and not behind:
            what = f"mail goes to {other}, and from there past mailshaper"
            cure = "docs/postfix.md, Other filters"
            found.append(fail(what, f"master.cf {name}", cure))
    return found + [
        asking.unjudged(name)
        for name in postfix.logins_on_port_25()
        if name not in filtered
    ]


def _pace(postfix: Postfix) -> list[Finding]:
    """Find out whether mail is slow on its way to mailshaper (postconf(5))."""
    found = []
    for name in ("destination_rate_delay", "transport_rate_delay"):
        usual = postfix.main.get(f"default_{name}", "0s")
        delay = postfix.expanded(postfix.main.get(f"shaper_{name}", usual))
        if asking.seconds(delay):
            found.append(
                warn(
                    f"all mail waits for mailshaper, which gets one in {delay}",
                    f"main.cf default_{name}",
                    f"postconf -e shaper_{name}=0s && postfix reload",
                )
            )
    return found


def _port(postfix: Postfix, settings: Settings) -> list[Finding]:
    """Compare ports only: which names and addresses are ours is not known here."""
    listen = settings.hop.listen
    ports = {one.rpartition(":")[2] for one in listen if not one.startswith("/")}
    return [
        fail(
            f"mail is sent to {to.partition(':')[2]}, and hop.listen is "
            f"{', '.join(listen)}",
            where,
            "mailshaper setup postfix; run what it says",
        )
        for where, to in postfix.ways().items()
        if ports and to.rpartition(":")[2] not in ports
    ]


def _login(postfix: Postfix, settings: Settings) -> list[Finding]:
    if not settings.policy.listen:
        return [
            fail(
                "policy.listen is empty: no login is learnt from Postfix",
                "mailshaper.toml [policy]",
                'set listen = ["127.0.0.1:10027"], then systemctl restart mailshaper',
            )
        ]
    # An overriding -o of a service that logs people in hides main.cf's.
    found = []
    for name in postfix.takers():
        place = f"master.cf {name}" if name else "main.cf"
        asks = [
            (f"{place} {key}", ask)
            for key in ("smtpd_data_restrictions", "smtpd_end_of_data_restrictions")
            for ask in asking.questions(postfix, settings, name, key)
        ]
        if proxy := postfix.value(name, "smtpd_proxy_filter"):
            found.append(
                warn(
                    f"mail goes to {proxy} before it has a queue id, so its login does "
                    "not arrive: senders are from:ADDRESS",
                    f"{place} smtpd_proxy_filter",
                    "filter behind the queue (content_filter), or by a milter",
                )
            )
        if asks:
            where, ask = asks[0]
            found.append(asking.judged(postfix, name, ask, where))
            continue
        found.append(
            fail(
                "mailshaper is not asked, so logins do not arrive",
                f"{place} smtpd_end_of_data_restrictions",
                f"{_SETUP}; remove an overriding -o smtpd_end_of_data_restrictions",
            )
        )
    return found


def _behind_filters(postfix: Postfix, settings: Settings) -> list[Finding]:
    """Find out whether logins come through the filters of services for people.

    A filter hands on the first queue id by XFORWARD where it gives mail back, if
    that port takes it (XFORWARD_README).
    """
    filters = {
        postfix.value(name, "content_filter") for name in postfix.takers() if name
    }
    if all(one.startswith("shaper:") for one in filters if one):
        return []
    return [
        warn(
            "mail that a content filter gives back here has lost its login",
            f"master.cf {name} smtpd_authorized_xforward_hosts",
            f"postconf -P {name}/smtpd_authorized_xforward_hosts=127.0.0.0/8 && "
            "postfix reload",
        )
        for name in sorted(postfix.smtpd)
        if postfix.options.get(name, {}).get("content_filter") == ""
        and is_loopback(name.rpartition(":")[0].strip("[]"))
        and name != f"{settings.hop.next_hop}/inet"
        and not postfix.value(name, "smtpd_authorized_xforward_hosts")
    ]


def _hidden(postfix: Postfix) -> list[Finding]:
    """Postfix 3.10 can leave client and login out of Received; that is no harm."""
    takers = [name for name in sorted(postfix.services) if name.endswith("/inet")]
    hiding = [
        name or "main.cf"
        for name in ["", *takers]
        if postfix.value(name, "smtpd_hide_client_session") == "yes"
    ]
    if not hiding:
        return []
    where = f"smtpd_hide_client_session in {', '.join(hiding)}"
    return [ok("the login comes by the policy request, not by Received", where)]


def _queue_ids(postfix: Postfix) -> list[Finding]:
    if postfix.main.get("enable_long_queue_ids") == "yes":
        return [ok("queue ids are long", "main.cf enable_long_queue_ids")]
    return [
        fail(
            "queue ids are used again: a mail may get the login of another",
            "main.cf enable_long_queue_ids",
            "postconf -e enable_long_queue_ids=yes && postfix reload",
        )
    ]


def _back(postfix: Postfix, settings: Settings) -> list[Finding]:
    port = settings.hop.next_hop.rpartition(":")[2]
    names = [
        name
        for name in sorted(postfix.services)
        if name.endswith("/inet") and name.removesuffix("/inet").split(":")[-1] == port
    ]
    if not names:
        return [
            unknown(
                "the next hop is no service of this Postfix: not looked into",
                f"hop.next_hop {settings.hop.next_hop}",
            )
        ]
    found = []
    for name in names:
        where = f"master.cf {name}"
        if postfix.value(name, "content_filter"):
            found.append(
                fail(
                    "mail goes round: the re-injection port filters again",
                    f"{where} content_filter",
                    f"postconf -P {name}/content_filter= && postfix reload",
                )
            )
        if "no_milters" not in postfix.value(name, "receive_override_options"):
            found.append(
                warn(
                    "milters see mail twice",
                    f"{where} receive_override_options",
                    f"postconf -P {name}/receive_override_options="
                    "no_unknown_recipient_checks,no_header_body_checks,no_milters "
                    "&& postfix reload",
                )
            )
    return found or [ok("re-injection does not loop", f"master.cf {names[0]}")]


def _sizes(postfix: Postfix, settings: Settings) -> list[Finding]:
    text = postfix.main.get("message_size_limit", "")
    most = settings.hop.max_message_size
    where = "main.cf message_size_limit, hop.max_message_size"
    if not text.isdigit():
        return [unknown("message_size_limit is not known", where)]
    if 0 < int(text) <= most:
        return [ok("mailshaper takes as large mail as Postfix", where)]
    return [
        warn(
            f"Postfix takes larger mail ({text}) than mailshaper ({most})",
            where,
            f"postconf -e message_size_limit={most} && postfix reload, or raise "
            "hop.max_message_size",
        )
    ]

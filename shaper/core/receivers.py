"""Who receives: a bounded set of names for the large providers, and their troubles.

``group`` puts a recipient or the host that answered under one of some twenty names,
fit for a label; everybody else is ``other``. ``Window`` counts how often one receiver
refused this host as a whole and how many innocent senders that concerned. Pure: no
clock, no I/O. The providers' domains are those they give to customers, the host names
those of their MX; several countries' forms (yahoo.co.uk) are matched by their stem.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "GROUPS",
    "OTHER",
    "ReceiverTrouble",
    "Window",
    "domain_of",
    "group",
    "receiver",
]

OTHER = "other"

# Group -> domains (each with everything below it), of recipients and of MX hosts.
_DOMAINS: dict[str, str] = {
    "google": "gmail.com googlemail.com google.com smtp.goog",
    "microsoft": "outlook.com hotmail.com live.com msn.com passport.com windowslive.com"
    " outlook.fr hotmail.fr live.fr hotmail.co.uk live.co.uk mx.microsoft office365.us",
    "yahoo": "yahoo.com ymail.com rocketmail.com aol.com aim.com yahoodns.net"
    " verizon.net netscape.net sky.com",
    "apple": "icloud.com me.com mac.com apple.com",
    "orange": "orange.fr wanadoo.fr voila.fr orange.com",
    "free": "free.fr freesbee.fr libertysurf.fr worldonline.fr online.fr aliceadsl.fr"
    " alicepro.fr infonie.fr",
    "sfr": "sfr.fr neuf.fr cegetel.net 9online.fr club-internet.fr numericable.fr"
    " noos.fr numericable.com modulonet.fr",
    "laposte": "laposte.net",
    "bouygues": "bbox.fr bouyguestelecom.fr bouygtel.fr",
    "ovh": "ovh.net ovh.com ovh.ca ovhcloud.com",
    "gandi": "gandi.net",
    "gmx": "gmx.net gmx.de gmx.com gmx.at gmx.ch gmx.fr gmx.org gmx.eu gmx.co.uk"
    " web.de mail.com caramail.fr caramail.com",
    "ionos": "ionos.com ionos.de ionos.fr ionos.co.uk kundenserver.de 1and1.com"
    " 1and1.fr 1und1.de perfora.net online.de",
    "proton": "proton.me protonmail.com protonmail.ch pm.me",
    "fastmail": "fastmail.com fastmail.fm messagingengine.com sent.com",
    "zoho": "zoho.com zoho.eu zoho.in zohomail.com zohomail.eu",
    "mailru": "mail.ru inbox.ru list.ru bk.ru internet.ru",
    "yandex": "yandex.ru yandex.com yandex.net ya.ru yandex.ua yandex.by yandex.kz",
    "qq": "qq.com foxmail.com",
    "netease": "163.com 126.com yeah.net netease.com 188.com",
}
GROUPS = (*_DOMAINS, OTHER)
"""Every name that ``group`` can return."""

_GROUP_OF = {name: key for key, names in _DOMAINS.items() for name in names.split()}
# First labels that a provider uses below many countries: yahoo.fr, yahoo.co.jp.
_STEMS = {
    "yahoo": "yahoo",
    "hotmail": "microsoft",
    "outlook": "microsoft",
    "live": "microsoft",
    "gmx": "gmx",
    "yandex": "yandex",
}
_SECOND_LEVEL = frozenset({"co", "com", "net", "org", "ac", "gov", "edu", "gouv"})
_LONGEST = 253  # octets of a domain, RFC 1035 2.3.4
_COUNTRY = 2  # letters


def domain_of(text: str) -> str:
    """Return the domain of an address, or of a host as logs write it.

    ``mx.example.org[192.0.2.1]:25`` and ``dns; mx.example.org`` are hosts too (RFC
    3464 2.3.5). "" where there is none, such as an address literal.
    """
    host = text.rpartition("@")[2].rpartition(";")[2].strip().casefold()
    host = host.partition("[")[0].partition(" ")[0].partition(":")[0].strip(".")
    if len(host) > _LONGEST or not host or host.replace(".", "").isdigit():
        return ""
    return host


def group(address_or_domain: str, remote_mta: str = "") -> str:
    """Return the provider's name, ``other`` for everybody else.

    The host that answered goes first: it is the one that refuses, also for the many
    domains that a provider hosts.
    """
    for text in (remote_mta, address_or_domain):
        if found := _of_domain(domain_of(text)):
            return found
    return OTHER


def _of_domain(domain: str) -> str:
    labels = domain.split(".")
    for at in range(len(labels) - 1):
        if found := _GROUP_OF.get(".".join(labels[at:])):
            return found
    base = registered(domain).split(".")
    rest = base[1:]
    known = len(rest) == 1 or (len(rest) == 2 and rest[0] in _SECOND_LEVEL)  # noqa: PLR2004
    if known and rest and len(rest[-1]) == _COUNTRY:
        return _STEMS.get(base[0], "")
    return ""


def registered(domain: str) -> str:
    """Return about what was registered: two labels, three below co.uk and the like.

    Good enough to gather the hosts of one receiver; no public suffix list.
    """
    labels = domain.split(".")
    keep = 2
    if (
        len(labels) > keep
        and len(labels[-1]) == _COUNTRY
        and labels[-2] in _SECOND_LEVEL
    ):
        keep = 3
    return ".".join(labels[-keep:])


def receiver(address: str, remote_mta: str = "") -> str:
    """Return whom a refusal is counted against: a group, else the recipient's domain.

    "" where neither is told.
    """
    name = group(address, remote_mta)
    if name != OTHER:
        return name
    return registered(domain_of(address)) or registered(domain_of(remote_mta))


@dataclass(frozen=True, slots=True)
class ReceiverTrouble:
    """One receiver refuses this host, from ``since`` on; ended when ``ended`` > 0."""

    id: str
    receiver: str  # a group, or a registered domain
    since: float  # epoch seconds of the first refusal of the window that alarmed
    last: float
    messages: int  # refusals since then
    senders: int  # innocent senders concerned, counted up to a bound
    text: str  # what the receiver said last: text from outside
    ended: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "id": self.id,
            "receiver": self.receiver,
            "since": self.since,
            "last": self.last,
            "messages": self.messages,
            "senders": self.senders,
            "text": self.text,
            "ended": self.ended or None,
        }


_MOST_KEPT = 1000  # refusals of one window
_MOST_SENDERS = 10_000


@dataclass(slots=True)
class Window:
    """The refusals of one receiver; all times in epoch seconds, in any order."""

    refusals: deque[tuple[float, str]] = field(
        default_factory=lambda: deque(maxlen=_MOST_KEPT)
    )
    senders: set[str] = field(default_factory=set)  # innocent, of the open trouble
    messages: int = 0  # of the open trouble
    since: float = 0.0  # of the open trouble; 0 when there is none
    last: float = 0.0
    delivered: float = 0.0  # the latest delivery
    text: str = ""

    @property
    def open(self) -> bool:
        """Whether the receiver refuses this host at the moment."""
        return self.since > 0.0

    def refused(
        self,
        sender: str,
        *,
        innocent: bool,
        text: str,
        now: float,
        length: float,
        alarm_at: int,
        senders_at: int,
    ) -> bool:
        """Take a refusal; return whether trouble begins with it.

        ``sender`` is "" when it is not known; a sender that is slowed or blocked may
        be the reason itself and is not counted among the innocent.
        """
        self.last, self.text = max(self.last, now), text or self.text
        if self.open:
            self.messages += 1
            self._count(sender if innocent else "")
            return False
        self.refusals.append((now, sender if innocent else ""))
        self._drop(now - length)
        innocents = {name for _, name in self.refusals if name}
        if len(self.refusals) < alarm_at or len(innocents) < senders_at:
            return False
        self.since = min(at for at, _ in self.refusals)
        self.messages = len(self.refusals)
        self.senders = set(innocents)
        self.refusals.clear()
        return True

    def accepted(self, now: float) -> None:
        """Take a delivery."""
        self.delivered = max(self.delivered, now)

    def over(self, now: float, length: float) -> bool:
        """Return whether open trouble ended: no refusal for ``length``, a delivery.

        A receiver to which nothing is sent any more may still refuse; after ten quiet
        windows nobody can say, and it ends too. A clock set back ends nothing.
        """
        if not self.open or now - self.last < length:
            return False
        return self.delivered > self.last or now - self.last >= 10.0 * length

    def close(self) -> None:
        """Begin anew after the end of trouble."""
        self.since, self.messages = 0.0, 0
        self.senders.clear()
        self.refusals.clear()

    def idle(self, now: float, length: float) -> bool:
        """Whether nothing here is worth keeping."""
        return not self.open and not 0.0 <= now - self.last < length

    def _count(self, sender: str) -> None:
        if sender and len(self.senders) < _MOST_SENDERS:
            self.senders.add(sender)

    def _drop(self, before: float) -> None:
        kept: Iterable[tuple[float, str]] = [r for r in self.refusals if r[0] > before]
        self.refusals = deque(kept, maxlen=_MOST_KEPT)

"""What Postfix' configuration is: what ``postconf`` printed, and who may log in where.

Pure but for ``read``, the probe.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from shaper.doctor.probes import run

__all__ = ["Postfix", "parse", "read"]

_DOORS = tuple(
    f"smtpd_{stage}_restrictions" for stage in ("client", "relay", "recipient")
)
_LETS_IN = frozenset({"permit", "permit_sasl_authenticated"})
_KEEPS_OUT = frozenset({"reject", "defer"})


@dataclass(frozen=True, slots=True)
class Postfix:
    """main.cf with defaults, services of master.cf, and their -o options.

    ``chrooted`` are those services that see nothing but the queue directory, and
    ``smtpd`` those that take mail by SMTP, from the network or from postscreen(8).
    """

    main: dict[str, str]
    services: frozenset[str] = frozenset()
    options: dict[str, dict[str, str]] = field(default_factory=dict)
    chrooted: frozenset[str] = frozenset()
    smtpd: frozenset[str] = frozenset()

    def value(self, service: str, name: str) -> str:
        """Return a parameter as one service sees it."""
        return self.options.get(service, {}).get(name, self.main.get(name, ""))

    def filter_of(self, service: str) -> str:
        """Return the filter of somebody else to which a service's mail goes, or ""."""
        other = self.value(service, "smtpd_proxy_filter")
        other = other or self.value(service, "content_filter")
        return "" if other.startswith("shaper:") else other

    def expanded(self, value: str) -> str:
        """Return a value with names of parameters replaced, as postconf(5) does."""
        for _ in range(10):  # a name may lead to a name
            new = re.sub(r"\$\{?(\w+)\}?", lambda one: self.main.get(one[1], ""), value)
            if new == value:
                break
            value = new
        return value

    def takers(self) -> list[str]:
        """Return the services where users log in, "" (main.cf) without any.

        Port 25 is none: strangers' mail comes there too.
        """
        return [name for name in self._logins() if not _is_port_25(name)] or [""]

    def logins_on_port_25(self) -> list[str]:
        """Return the services for strangers' mail where one may log in as well."""
        return [name for name in self._logins() if _is_port_25(name)]

    def _logins(self) -> list[str]:
        return [
            name
            for name in sorted(self.smtpd)
            if self.value(name, "smtpd_sasl_auth_enable") == "yes"
            and not any(self._shut(self.value(name, door)) for door in _DOORS)
        ]

    def _shut(self, restrictions: str) -> bool:
        """Whether a list lets nobody in for a login, as where a filter hands back."""
        for word in re.split(r"[\s,]+", self.expanded(restrictions)):
            if word in _LETS_IN:
                return False
            if word in _KEEPS_OUT:
                return True
        return False

    def ways(self) -> dict[str, str]:
        """Return which settings send mail by the transport ``shaper``, and where."""
        found = {
            f"main.cf {name}": self.main.get(name, "")
            for name in ("content_filter", "default_transport")
        }
        for name in sorted(self.options):
            found[f"master.cf {name} content_filter"] = self.options[name].get(
                "content_filter", ""
            )
        return {key: to for key, to in found.items() if to.startswith("shaper:")}


def _is_port_25(service: str) -> bool:
    # postscreen(8), which has port 25, hands on to smtpd/pass.
    name, _, kind = service.rpartition("/")
    return kind == "pass" or name.rpartition(":")[2] in {"smtp", "25"}


def read(config: str = "") -> Postfix:
    """Ask postconf, of the instance in ``config`` if given. Raises ProbeError."""
    where = ("-c", config) if config else ()
    return parse(
        run("postconf", *where),
        run("postconf", *where, "-M"),
        run("postconf", *where, "-P"),
    )


def parse(main: str, services: str, options: str) -> Postfix:
    """Return what postconf, postconf -M and postconf -P printed."""
    found: dict[str, dict[str, str]] = {}
    for name, value in _assignments(options):
        service, _, parameter = name.rpartition("/")
        found.setdefault(service, {})[parameter] = value
    rows = [line.split() for line in services.splitlines() if line.strip()]
    names = frozenset("/".join(row[:2]) for row in rows)
    chrooted = frozenset("/".join(row[:2]) for row in rows if row[4:5] == ["y"])
    smtpd = frozenset("/".join(row[:2]) for row in rows if row[7:8] == ["smtpd"])
    return Postfix(dict(_assignments(main)), names, found, chrooted, smtpd)


def _assignments(text: str) -> list[tuple[str, str]]:
    pairs = [line.partition("=") for line in text.splitlines() if "=" in line]
    return [(name.strip(), value.strip()) for name, _, value in pairs]

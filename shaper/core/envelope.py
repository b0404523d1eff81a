"""The SMTP envelope as it came over the wire, kept word for word.

Addresses and ESMTP parameters are stored as the client wrote them (case,
quoting and unknown keywords included), because the promise of the product is
that they leave as they came. Octets that are not UTF-8 are kept by the
``surrogateescape`` convention, so encoding gives back the same octets. Nothing
here judges; parsing of commands is the duty of ``shaper.smtp.parameters``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Client", "Envelope", "Recipient", "domain_of"]


def domain_of(address: str) -> str:
    """Return the lower-cased domain of an address, or "" when it has none."""
    _, at, domain = address.rpartition("@")
    return domain.lower() if at else ""


def _value(parameters: Iterable[str], keyword: str) -> str | None:
    """Return what stands behind ``keyword=``, "" for a bare keyword."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.upper() == keyword:
            return value
    return None


@dataclass(frozen=True, slots=True)
class Recipient:
    """One RCPT TO: the address without angle brackets, parameters verbatim."""

    address: str
    parameters: tuple[str, ...] = ()

    def parameter(self, keyword: str) -> str | None:
        """Return the value of an ESMTP parameter such as ``NOTIFY``."""
        return _value(self.parameters, keyword)

    @property
    def domain(self) -> str:
        """The lower-cased recipient domain."""
        return domain_of(self.address)


@dataclass(frozen=True, slots=True)
class Envelope:
    """MAIL FROM with its parameters, and the recipients in their order."""

    sender: str
    recipients: tuple[Recipient, ...]
    parameters: tuple[str, ...] = ()

    def parameter(self, keyword: str) -> str | None:
        """Return the value of a MAIL parameter such as ``SIZE`` or ``ENVID``."""
        return _value(self.parameters, keyword)

    @property
    def is_null(self) -> bool:
        """Whether this is the null reverse-path (RFC 5321 4.5.5)."""
        return not self.sender

    def to_json(self) -> dict[str, Any]:
        """Return plain data; ``from_json`` gives back an equal envelope."""
        return {
            "sender": self.sender,
            "parameters": list(self.parameters),
            "recipients": [[r.address, *r.parameters] for r in self.recipients],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Envelope:
        """Rebuild an envelope; raises KeyError, TypeError or ValueError."""
        recipients = tuple(
            Recipient(str(row[0]), tuple(str(p) for p in row[1:]))
            for row in data["recipients"]
        )
        if not recipients:
            msg = "an envelope needs a recipient"
            raise ValueError(msg)
        return cls(
            str(data["sender"]), recipients, tuple(str(p) for p in data["parameters"])
        )


@dataclass(frozen=True, slots=True)
class Client:
    """Who gave the message to the MTA, as the MTA tells by XFORWARD or XCLIENT.

    Without either, these are the facts of the connection itself. ``ident`` is
    the MTA's queue id; ``login`` is only what XCLIENT LOGIN said. ``friend`` names
    the friendly host that logged in on the friends' listener: nothing a client says
    can set it.
    """

    address: str = ""
    name: str = ""
    helo: str = ""
    protocol: str = ""
    source: str = ""
    ident: str = ""
    login: str = ""
    friend: str = ""

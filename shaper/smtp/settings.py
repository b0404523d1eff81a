"""What the SMTP side can be told, as plain values with their units.

Nothing here reads a file: the daemon maps its configuration on these. The
timeouts towards the next hop are a little shorter than those RFC 5321 4.5.3.2
asks of the client that waits for us, so that this client hears our 451 instead
of giving up on us, which would leave the fate of the message unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

__all__ = ["ForwardSettings", "FriendAccount", "IngressSettings"]

LOOPBACK = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True, slots=True)
class IngressSettings:
    """Limits and trust of the listening side."""

    hostname: str
    # Networks that may speak to us at all; a unix socket is always allowed.
    allow: tuple[str, ...] = LOOPBACK
    # Networks that may use XCLIENT, which replaces every fact of the connection.
    xclient_from: tuple[str, ...] = ()
    max_message: int = 64 * 1024 * 1024  # octets as on the wire
    max_recipients: int = 1000  # per message; RFC 5321 4.5.3.1.8 asks for 100
    # Octets of a content line. RFC 5321 4.5.3.1.6 asks for 1,000, and MTAs that
    # care fold or refuse at 998 themselves (Postfix folds, Exim refuses), so a
    # longer line was let through on purpose and refusing it would only bounce
    # mail that the next hop may take. We read in chunks and need no limit for
    # our own sake; this one stops what cannot be mail any more.
    max_line: int = 64 * 1024
    max_header: int = 256 * 1024  # octets looked at for subject, login, loops
    max_connections: int = 200  # above: 451 at MAIL; above twice: 421 at connect
    max_bad_commands: int = 20  # per connection, then 421
    idle_timeout: float = 300.0  # seconds; RFC 5321 4.5.3.2.7 asks for 5 minutes
    # Loop guard: all Received fields, and those with our own mark.
    max_received: int = 100
    max_own_marks: int = 4
    # Name of the field in which Exim tells the login; "" trusts none.
    login_header: str = ""
    trust_auth_parameter: bool = False  # MAIL ... AUTH=, RFC 4954 5
    tls: ssl.SSLContext | None = None
    # Hosts that may log in, by name; only the friends' listener has any.
    friends: Mapping[str, FriendAccount] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FriendAccount:
    """A friendly host: its password, and the domains that it may write from."""

    password: str
    domains: frozenset[str]


@dataclass(frozen=True, slots=True)
class ForwardSettings:
    """Where the next hop is and how long to wait for it."""

    host: str = "127.0.0.1"
    port: int = 10026
    unix_socket: str = ""  # path; then host and port are not used
    helo: str = "localhost"
    tls: str = "none"  # none, starttls (required), implicit
    tls_context: ssl.SSLContext | None = None
    username: str = ""
    password: str = ""
    max_connections: int = 100
    max_idle: int = 20  # connections kept open without work
    idle_limit: float = 30.0  # seconds; Postfix drops idle clients after 300
    max_messages: int = 1000  # per connection
    wait_timeout: float = 30.0  # seconds for a free connection
    connect_timeout: float = 30.0  # connect, greeting, EHLO, TLS, AUTH; each
    command_timeout: float = 240.0  # MAIL and RCPT; RFC 5321 4.5.3.2.2: 5 minutes
    data_timeout: float = 110.0  # DATA; RFC 5321 4.5.3.2.4: 2 minutes
    block_timeout: float = 170.0  # progress of content; RFC 5321 4.5.3.2.5: 3 min
    end_timeout: float = 580.0  # final dot; RFC 5321 4.5.3.2.6: 10 minutes
    use_xforward: bool = True  # when the next hop offers it
    called: str = "next hop"  # in the log
    friend: bool = False  # a friend's shaper: takes no mail of other friends

"""The sections of the configuration: every key with its default, unit and meaning.

Declarations only; ``shaper.config`` reads and checks them as a whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from shaper.addresses import address, network

__all__ = [
    "Admin",
    "Daemon",
    "Federation",
    "Feedback",
    "Friend",
    "Hop",
    "Identity",
    "Log",
    "Metrics",
    "Notify",
    "Policy",
    "Privacy",
    "Receivers",
    "Redis",
    "Relay",
    "Section",
    "SenderCheck",
    "Sending",
    "Spool",
    "States",
    "Suppression",
    "Trickle",
]


def _mailbox(text: str) -> str:
    local, at, domain = text.partition("@")
    plain = text.isprintable() and not set(text) & set(" <>,") and "@" not in domain
    if not (at and local and domain and plain):
        raise ValueError("write a plain mail address, such as admin@example.org")
    return text


def _path(value: object) -> object:
    return value or None  # TOML has no null: an empty text stands for it


OptionalPath = Annotated[Path | None, BeforeValidator(_path)]
Address = Annotated[str, AfterValidator(address)]
Network = Annotated[str, AfterValidator(network)]
Mailbox = Annotated[str, AfterValidator(_mailbox)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A [section] of the file: unknown keys are errors, values do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, strict=False
    )


class Daemon(Section):
    """The process."""

    instance: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")] = "main"
    """Name of this instance; each instance that shares a Redis needs its own."""
    hostname: str = ""
    """Name in trace headers, replies and notices. Empty: this host's full name."""
    state_directory: Path = Path("/var/lib/mailshaper")
    """Spool, audit journal, keys and the data of our own Redis."""
    runtime_directory: Path = Path("/run/mailshaper")
    """Sockets."""
    placement: Literal["hop", "policy", "watch"] = "hop"
    """"hop": mail goes through the shaper. "policy": the MTA asks, and keeps the
    mail that is held (docs/placement-policy.md). "watch": feedback.logs is read."""
    enforce: bool = True
    """false: observe. Every decision is made, recorded and shown, none applied."""
    grace: Seconds = 30.0
    """Seconds that open connections get to finish at SIGTERM."""


class Hop(Section):
    """The SMTP side: where mail comes in and where it goes on."""

    listen: Annotated[list[Address], Field(min_length=1)] = ["127.0.0.1:10025"]
    """Addresses (host:port, or a unix socket's path) that the MTA delivers to."""
    allow: list[Network] = ["127.0.0.0/8", "::1/128"]
    """Networks that may connect. Everybody else is refused: never an open relay."""
    xclient: list[Network] = []
    """Networks that may use XCLIENT, which replaces every fact of the client."""
    next_hop: Address = "127.0.0.1:10026"
    """Where mail goes on: the MTA's re-injection port, or a smarthost."""
    next_hop_tls: Literal["none", "starttls", "implicit"] = "none"
    """TLS to the next hop; "starttls" insists on it."""
    next_hop_user: str = ""
    """User name for AUTH at the next hop. Empty: no AUTH."""
    next_hop_password_file: OptionalPath = None
    """File with the password, readable by mailshaper only."""
    max_message_size: Count = 67108864
    """Octets of a message; 552 5.3.4 above."""
    max_recipients: Count = 1000
    """Recipients of one message; 452 4.5.3 above."""
    max_line_length: Annotated[int, Field(ge=1000)] = 65536
    """Octets of one line of content."""
    max_connections: Count = 200
    """Connections at once; 451 above, 421 above twice as many."""
    idle_timeout: Seconds = 300.0
    """Seconds without a command before a connection is closed with 421."""
    max_received: Annotated[int, Field(ge=10)] = 100
    """Received fields after which a message is taken for a loop (554 5.4.6)."""
    pool_connections: Count = 100
    """Connections to the next hop at most."""


class Policy(Section):
    """What the MTA asks: whose mail it is, or (placement "policy") what to do."""

    listen: list[Address] = ["127.0.0.1:10027"]
    """Addresses for check_policy_service. An empty list switches it off."""
    login_ttl: Seconds = 432000.0
    """Seconds a login is remembered; not less than Postfix' queue lifetime."""
    queue_helper: Path = Path("/run/mailshaper-queue.sock")
    """Socket of mailshaper-queue, which moves mail out of the MTA's hold."""
    hold_grace: Seconds = 600.0
    """Seconds after which a message that was to be held and is not on hold in the
    MTA counts as gone. Longer than a milter may take."""
    requeue_after: Seconds = 86400.0
    """Seconds on hold after which a released message gets a new life in Postfix'
    queue. Below its maximal_queue_lifetime (docs/placement-policy.md)."""


class Identity(Section):
    """Who counts as the sender, beyond what the policy listener says."""

    login_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]*$")] = ""
    """Header in which Exim tells the login; removed on the way out. Set it only
    with the Exim snippet, which removes a client's own. Empty: none is trusted."""
    trust_auth: bool = False
    """Trust MAIL ... AUTH= (Exim's authenticated_sender). Not with Postfix."""


class States(Section):
    """When a sender's state changes by itself."""

    low_mark: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the slow limit under which a slowed sender counts as calm."""
    dwell: Seconds = 600.0
    """Seconds a slowed sender must stay calm to return to normal."""
    block_after: Seconds = 14400.0
    """Seconds slowed, with the anomaly still present, after which it is blocked."""
    block_at: Annotated[int, Field(ge=100)] = 200
    """Waiting messages that block. Innocent holds reach dozens: never below 100."""


class Trickle(Section):
    """How held mail leaves."""

    interval: Seconds = 60.0
    """Seconds between two messages of a slowed sender."""
    longest_interval: Seconds = 3600.0
    """The interval doubles with each message while evidence stays, up to this."""
    growth: Annotated[float, Field(gt=1, le=100)] = 2.0
    """How much faster each further message of a recovered sender leaves."""
    longest_hold: Seconds = 432000.0
    """Seconds after which held mail is returned to its sender with a DSN."""
    retry_first: Seconds = 300.0
    """Seconds after the first temporary failure of the next hop; then doubling."""
    retry_longest: Seconds = 4000.0
    """Longest pause between two attempts, in seconds."""
    concurrency: Count = 20
    """Held messages sent at once."""


_REDIS = r"^(rediss?://|unix://|rediss?\+(sentinel|cluster)://|$)"


class Redis(Section):
    """Where instances share what they know."""

    url: Annotated[str, Field(pattern=_REDIS)] = ""
    """redis://, rediss://, unix://, redis+sentinel://host:port,.../master or
    redis+cluster://. Empty: a redis-server child of our own on a unix socket."""
    key_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,40}$")] = "mailshaper"
    """First part of every key."""
    timeout: Seconds = 1.0
    """Seconds to wait for an answer before going on from memory."""
    when_unavailable: Literal["pass", "defer"] = "pass"
    """Mail while Redis is away: "pass" judges from memory, "defer" answers 451."""


class Spool(Section):
    """Limits of held mail; near one of them the MTA gets 452 and keeps its mail."""

    max_bytes: Count = 10737418240
    """Octets held at most."""
    max_messages: Count = 100000
    """Messages held at most."""
    min_free_bytes: Annotated[int, Field(ge=0)] = 268435456
    """Octets that must stay free on the disk."""


class Suppression(Section):
    """Recipients that are not written to any more."""

    enabled: bool = True
    """false: dead addresses are noted and shown, and nothing is refused."""
    soft_bounces: Annotated[int, Field(ge=2, le=100)] = 5
    """Separate occasions on which a bulk sender's mail came back softly (a full
    mailbox, say) after which its mail to that recipient is refused."""
    soft_retry: Seconds = 86400.0
    """Seconds after a soft bounce before another sender may try again."""
    confirm_listen: Address | Literal[""] = ""
    """Address of the page on which a recipient confirms that it is alive. Put your
    web server's TLS in front. Empty: no page and no confirmation mails."""
    confirm_url: Annotated[str, Field(pattern=r"^(https?://[^\s]+)?$")] = ""
    """Where the world finds that page: https://mail.example.org/alive"""


class Federation(Section):
    """Exchange with other hosts: docs/federation.md."""

    enabled: bool = False
    """Whether facts are left in Redis for mailshaper-federation, and its verdicts
    are asked at RCPT. While that daemon is away nothing changes for mail."""


class Feedback(Section):
    """What became of mail: logs, bounces and complaints."""

    logs: list[Path] = []
    """MTA log files to follow, Postfix or Exim: /var/log/mail.log"""
    journal: list[str] = []
    """Units of systemd to follow: postfix@-.service; Debian 13: postfix.service"""
    lmtp: list[Address] = []
    """Addresses of an LMTP listener for bounces and complaints."""
    maildir: OptionalPath = None
    """A Maildir into which the MTA delivers bounces and complaints."""
    table: OptionalPath = None
    """Rules that go before the shipped ones (see conf/outcomes.toml)."""
    remember: Seconds = 604800.0
    """Seconds a sent message is remembered, to find the sender of its bounce."""


class SenderCheck(Section):
    """Whether envelope senders exist. A failure is evidence, never a refusal."""

    server: Address | Literal[""] = ""
    """Our inbound server, asked with RCPT whether a sender exists. Empty: off."""
    mx: bool = False
    """Whether the domain of a sender must have a working MX or address."""
    cache: Seconds = 86400.0
    """Seconds an answer is believed."""


class Receivers(Section):
    """When receivers refuse this host as a whole."""

    alarm_at: Count = 3
    """Messages that one receiver refused because of our host within the window."""
    senders_at: Count = 2
    """Innocent senders that must be concerned."""
    window: Seconds = 3600.0
    """The window, in seconds."""


class Relay(Section):
    """Another next hop, to which `mailshaper route add` may send mail."""

    next_hop: Address
    """Where it is: host:port, or the path of a unix socket."""
    tls: Literal["none", "starttls", "implicit"] = "none"
    """TLS to it; "starttls" insists on it."""
    user: str = ""
    """User name for AUTH. Empty: no AUTH."""
    password_file: OptionalPath = None
    """File with the password, readable by mailshaper only."""
    friend: bool = False
    """Whether it is a friendly host's shaper; friends' mail is never sent there."""


class Sending(Section):
    """Mail of friendly hosts that we deliver for them: docs/friends.md."""

    listen: list[Address] = []
    """Addresses where friends log in, TLS required. An empty list: nobody does."""
    certificate: OptionalPath = None
    """File with the certificate chain of that listener (PEM)."""
    key: OptionalPath = None
    """File with its key."""


class Friend(Section):
    """A friendly host whose mail we deliver for it, one hop only."""

    password_file: Path
    """File with the password of this friend, readable by mailshaper only."""
    domains: Annotated[list[str], Field(min_length=1)]
    """Domains that it may write from; all else is refused."""
    daily: Count = 2000
    """Recipients a day (UTC) at most."""


class Notify(Section):
    """Who is told of cases, by mail through the next hop."""

    mail_to: list[Mailbox] = []
    """Admins that get one mail for each step of a case. Empty: nobody is mailed."""
    mail_from: Mailbox | Literal[""] = ""
    """Sender of these mails. Empty: mailshaper@ and the hostname."""
    language: Literal["en", "fr"] = "en"
    """Language of these mails, and of bounces, which say the same in English."""
    html: bool = True
    """Whether these mails carry an HTML form beside the plain text."""
    owner: bool = False
    """Whether the owner of a blocked account is told too, once, if its login is an
    address. A thief may read it too (docs/notices.md)."""
    digest_at: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^$")] = "07:30"
    """Local time of the daily digest of open cases. Empty: none."""
    webhook_url: Annotated[str, Field(pattern=r"^(https?://[^\s]+)?$")] = ""
    """Where each notice is POSTed as JSON (docs/webhook.md). Empty: nowhere."""
    webhook_secret_file: OptionalPath = None
    """File with the secret that signs each POST (HMAC-SHA256)."""


class Metrics(Section):
    """The Prometheus listener."""

    listen: Address | Literal[""] = "127.0.0.1:9465"
    """Address of /metrics. Empty: none."""


class Admin(Section):
    """The socket that the CLI talks to."""

    socket: OptionalPath = None
    """Its path. Default: admin.sock in the runtime directory."""
    group: str = ""
    """Group that may use it beside root and the daemon's user."""


class Privacy(Section):
    """How long what is remembered about people."""

    retention_days: Annotated[int, Field(ge=1)] = 90
    """Days that closed cases and audit lines are kept."""
    contact_key_file: OptionalPath = None
    """Key of the hashed correspondents; every instance on one Redis needs the same.
    Default: contact.key in the state directory, made at the first start."""


class Log(Section):
    """What is written to standard error (and so to the journal of systemd)."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important lines that are written."""
    format: Literal["text", "json"] = "text"
    """Form of a line; business events are in docs/journal.md."""

"""The configuration: every key with its default, unit and meaning, in one place.

Read from a TOML file, then from ``conf.d/*.toml`` beside it (in the order of their
names, later wins), then from the environment (``MAILSHAPER_TRICKLE__INTERVAL=30``).
A key that does not exist, a value of the wrong kind and values that contradict
each other are errors that name the file and the key. ``conf/mailshaper.toml`` is
written from the same declarations (``shaper.config_sample``).
"""

from __future__ import annotations

import difflib
import json
import os
import socket
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from shaper.addresses import address, is_loopback, meet, network, split_address

__all__ = [
    "ConfigError",
    "Settings",
    "changed",
    "load",
    "sections",
    "split_address",
]

_PREFIX = "MAILSHAPER_"


class ConfigError(Exception):
    """What is wrong, with file and key; exit status 78 (EX_CONFIG)."""


def _mailbox(text: str) -> str:
    if text.count("@") != 1 or not text.isprintable() or set(text) & set(" <>,"):
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


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, strict=False
    )


class Daemon(_Section):
    """The process."""

    instance: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")] = "main"
    """Name of this instance; each instance that shares a Redis needs its own."""
    hostname: str = ""
    """Name in trace headers, replies and notices. Empty: this host's full name."""
    state_directory: Path = Path("/var/lib/mailshaper")
    """Spool, audit journal, keys and the data of our own Redis."""
    runtime_directory: Path = Path("/run/mailshaper")
    """Sockets."""
    enforce: bool = True
    """false: observe. Every decision is made, recorded and shown, none applied."""
    grace: Seconds = 30.0
    """Seconds that open connections get to finish at SIGTERM."""


class Hop(_Section):
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


class Policy(_Section):
    """The Postfix policy listener: it tells which login owns a queue id."""

    listen: list[Address] = ["127.0.0.1:10027"]
    """Addresses for check_policy_service. An empty list switches it off."""
    login_ttl: Seconds = 432000.0
    """Seconds a login is remembered; not less than Postfix' queue lifetime."""


class Identity(_Section):
    """Who counts as the sender, beyond what the policy listener says."""

    login_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]*$")] = ""
    """Header in which Exim tells the login; removed on the way out. Set it only
    with the Exim snippet, which removes a client's own. Empty: none is trusted."""
    trust_auth: bool = False
    """Trust MAIL ... AUTH= (Exim's authenticated_sender). Not with Postfix."""


class States(_Section):
    """When a sender's state changes by itself."""

    low_mark: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the slow limit under which a slowed sender counts as calm."""
    dwell: Seconds = 600.0
    """Seconds a slowed sender must stay calm to return to normal."""
    block_after: Seconds = 14400.0
    """Seconds slowed, with the anomaly still present, after which it is blocked."""
    block_at: Annotated[int, Field(ge=100)] = 200
    """Waiting messages that block. Innocent holds reach dozens: never below 100."""


class Trickle(_Section):
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


class Redis(_Section):
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


class Spool(_Section):
    """Limits of held mail; near one of them the MTA gets 452 and keeps its mail."""

    max_bytes: Count = 10737418240
    """Octets held at most."""
    max_messages: Count = 100000
    """Messages held at most."""
    min_free_bytes: Annotated[int, Field(ge=0)] = 268435456
    """Octets that must stay free on the disk."""


class Notify(_Section):
    """Who is told of cases, by mail through the next hop."""

    mail_to: list[Mailbox] = []
    """Admins that get one mail for each step of a case. Empty: nobody is mailed."""
    mail_from: Mailbox | Literal[""] = ""
    """Sender of these mails. Empty: mailshaper@ and the hostname."""
    language: Literal["en", "fr"] = "en"
    """Language of these mails."""


class Metrics(_Section):
    """The Prometheus listener."""

    listen: Address | Literal[""] = "127.0.0.1:9465"
    """Address of /metrics. Empty: none."""


class Admin(_Section):
    """The socket that the CLI talks to."""

    socket: OptionalPath = None
    """Its path. Default: admin.sock in the runtime directory."""
    group: str = ""
    """Group that may use it beside root and the daemon's user."""


class Privacy(_Section):
    """How long what is remembered about people."""

    retention_days: Annotated[int, Field(ge=1)] = 90
    """Days that closed cases and audit lines are kept."""
    contact_key_file: OptionalPath = None
    """Key of the hashed correspondents; every instance on one Redis needs the same.
    Default: contact.key in the state directory, made at the first start."""


class Log(_Section):
    """What is written to standard error (and so to the journal of systemd)."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important lines that are written."""


class Settings(BaseSettings):
    """The whole configuration, checked."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    daemon: Daemon = Daemon()
    hop: Hop = Hop()
    policy: Policy = Policy()
    identity: Identity = Identity()
    states: States = States()
    trickle: Trickle = Trickle()
    redis: Redis = Redis()
    spool: Spool = Spool()
    notify: Notify = Notify()
    metrics: Metrics = Metrics()
    admin: Admin = Admin()
    privacy: Privacy = Privacy()
    log: Log = Log()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, and read no other source."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if any(meet(self.hop.next_hop, own) for own in self.hop.listen):
            raise ValueError(
                "hop.next_hop is one of hop.listen: mail would go in circles"
            )
        self._no_listener_twice()
        self._no_password_in_clear()
        if self.trickle.longest_interval < self.trickle.interval:
            raise ValueError("trickle.longest_interval is below trickle.interval")
        if self.trickle.retry_longest < self.trickle.retry_first:
            raise ValueError("trickle.retry_longest is below trickle.retry_first")
        if self.spool.max_bytes < self.hop.max_message_size:
            raise ValueError("spool.max_bytes is below hop.max_message_size")
        return self

    def _no_listener_twice(self) -> None:
        # Instances share ports (SO_REUSEPORT), so the kernel would not refuse it
        # but hand connections to one or the other by chance.
        taken = [("hop.listen", own) for own in self.hop.listen]
        taken += [("policy.listen", own) for own in self.policy.listen]
        if self.metrics.listen:
            taken.append(("metrics.listen", self.metrics.listen))
        for i, (key, own) in enumerate(taken):
            for other, theirs in taken[:i]:
                if meet(own, theirs):
                    raise ValueError(f"{key} and {other} both take {own}")

    def _no_password_in_clear(self) -> None:
        hop = self.hop
        if bool(hop.next_hop_user) != bool(hop.next_hop_password_file):
            raise ValueError(
                "hop.next_hop_user and hop.next_hop_password_file go together"
            )
        if hop.next_hop_user and hop.next_hop_tls == "none" and not _near_by(hop):
            raise ValueError(
                "hop.next_hop_tls: a password leaves this host only over TLS; "
                'write "starttls" or "implicit"'
            )

    @property
    def hostname(self) -> str:
        """The configured name, or this host's."""
        return self.daemon.hostname or socket.getfqdn()

    @property
    def admin_socket(self) -> Path:
        """Where the CLI finds the daemon."""
        return self.admin.socket or self.daemon.runtime_directory / "admin.sock"


def _near_by(hop: Hop) -> bool:
    return hop.next_hop.startswith("/") or is_loopback(split_address(hop.next_hop)[0])


def load(path: Path | None) -> Settings:
    """Read file, conf.d and environment. Raises ConfigError.

    Without a path there are only defaults and the environment.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    files = [] if path is None else [path, *_fragments(path)]
    for file in files:
        for section, keys in _read(file).items():
            if not isinstance(keys, dict):
                raise ConfigError(
                    f"{file}: {section!r} stands outside a [section]{_near(section)}"
                )
            for key, value in keys.items():
                values.setdefault(section, {})[key] = value
                origin[f"{section}.{key}"] = str(file)
    _check_environment()
    try:
        return Settings(**values)
    except SettingsError as error:
        raise ConfigError(f"the environment cannot be read: {error}") from error
    except ValidationError as error:
        raise ConfigError(_explain(error, origin, path)) from error


def _check_environment() -> None:
    """Refuse variables that would be overlooked or not understood.

    pydantic-settings ignores those of a section that does not exist, and does not
    name the variable when the value of a list is no JSON.
    """
    known = _keys()
    for name, text in sorted(os.environ.items()):
        # A single "_" is somebody else's: Kubernetes sets MAILSHAPER_PORT.
        if not name.upper().startswith(_PREFIX) or "__" not in name:
            continue
        key = name[len(_PREFIX) :].lower().replace("__", ".", 1)
        if key not in known:
            raise ConfigError(
                f"environment variable {name}: there is no key {key!r}{_near(key)}"
            )
        section, field = known[key]
        default = section.model_fields[field].default
        if isinstance(default, list) and not _is_list(text):
            raise ConfigError(
                f"environment variable {name}: write a list, such as "
                f"{json.dumps(default or ['...'])} (it is {text!r})"
            )


def _is_list(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except ValueError:
        return False


def _fragments(path: Path) -> list[Path]:
    return sorted((path.parent / "conf.d").glob("*.toml"))


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deeply") from error
    if key := _key_with_nul(data):
        raise ConfigError(f"{path}: {key}: a NUL can be in no path, name or address")
    return data


def _key_with_nul(data: dict[str, Any], prefix: str = "") -> str:
    for key, value in data.items():
        if isinstance(value, dict):
            if found := _key_with_nul(value, f"{prefix}{key}."):
                return found
        elif any("\0" in str(one) for one in _each(value)):
            return prefix + key
    return ""


def _each(value: Any) -> list[Any]:  # noqa: ANN401
    return value if isinstance(value, list) else [value]


def _explain(error: ValidationError, origin: dict[str, str], path: Path | None) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        place = [str(part) for part in problem["loc"]]
        key = ".".join(place[:2])
        where = origin.get(key, str(path or "defaults"))
        variable = _PREFIX + "__".join(place[:2]).upper()
        if any(name.upper() == variable for name in os.environ):
            where = f"environment variable {variable}"
        if problem["type"] == "extra_forbidden":
            lines.append(f"{where}: there is no key {key!r}{_near(key)}")
        elif not place:
            reason = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{where}: {reason}")
        else:
            reason = problem["msg"].removeprefix("Value error, ")
            got = problem["input"]
            lines.append(f"{where}: {key}: {reason} (it is {got!r})")
    return "\n".join(lines)


def sections() -> dict[str, type[_Section]]:
    """Return the sections by name, in the order of the file."""
    kinds = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {
        name: kind
        for name, kind in kinds.items()
        if isinstance(kind, type) and issubclass(kind, _Section)
    }


def _keys() -> dict[str, tuple[type[_Section], str]]:
    """Return ``section.key`` -> section class and key, in order."""
    return {
        f"{section}.{key}": (kind, key)
        for section, kind in sections().items()
        for key in kind.model_fields
    }


def _near(key: str) -> str:
    known = [*_keys(), *Settings.model_fields]
    close = difflib.get_close_matches(key, known, n=1)
    if not close:
        last = key.rpartition(".")[2]
        close = [name for name in known if name.rpartition(".")[2] == last][:1]
    return f"; did you mean {close[0]!r}?" if close else ""


def changed(old: Settings, new: Settings) -> tuple[list[str], list[str]]:
    """Return the keys that differ: those a reload applies, those it cannot."""
    live = {"hop", "identity", "states", "trickle", "spool", "notify", "log"}
    single = {"daemon.enforce", "redis.when_unavailable", "policy.login_ttl"}
    single |= {"privacy.retention_days"}
    never = {"hop.listen"}
    applied: list[str] = []
    restart: list[str] = []
    for name in _keys():
        section, _, key = name.partition(".")
        before = getattr(getattr(old, section), key)
        after = getattr(getattr(new, section), key)
        if before != after:
            reached = (section in live or name in single) and name not in never
            (applied if reached else restart).append(name)
    return applied, restart

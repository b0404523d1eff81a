"""The configuration as a whole: read, checked, compared (keys: shaper.settings).

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
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from shaper.addresses import is_loopback, meet, split_address
from shaper.settings import (
    Admin,
    Daemon,
    Federation,
    Feedback,
    Friend,
    Hop,
    Identity,
    Log,
    Metrics,
    Notify,
    Policy,
    Privacy,
    Receivers,
    Redis,
    Relay,
    Section,
    SenderCheck,
    Sending,
    Spool,
    States,
    Suppression,
    Trickle,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "ConfigError",
    "Settings",
    "changed",
    "load",
    "sections",
    "split_address",
]

_PREFIX = "MAILSHAPER_"
_FRIEND = r"^[A-Za-z0-9_-]{1,40}$"
_NAME = r"^[A-Za-z0-9_.-]{1,64}$"  # of a relay: never taken for host:port or a path


class ConfigError(Exception):
    """What is wrong, with file and key; exit status 78 (EX_CONFIG)."""


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
    suppression: Suppression = Suppression()
    feedback: Feedback = Feedback()
    sender_check: SenderCheck = SenderCheck()
    receivers: Receivers = Receivers()
    federation: Federation = Federation()
    sending: Sending = Sending()
    friends: dict[Annotated[str, Field(pattern=_FRIEND)], Friend] = {}
    relays: dict[Annotated[str, Field(pattern=_NAME)], Relay] = {}
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
        self._relays_lead_elsewhere()
        self._friends_come_safely()
        self._no_listener_twice()
        self._no_password_in_clear()
        if self.daemon.instance == "federation":
            raise ValueError(
                'daemon.instance "federation" is the place of mailshaper-federation; '
                "choose another name"
            )
        if self.daemon.placement == "watch" and not (
            self.feedback.logs or self.feedback.journal
        ):
            raise ValueError(
                'daemon.placement "watch" needs feedback.logs or feedback.journal'
            )
        if self.daemon.placement == "policy" and not self.policy.listen:
            raise ValueError('daemon.placement "policy" needs policy.listen')
        if bool(self.suppression.confirm_url) != bool(self.suppression.confirm_listen):
            raise ValueError(
                "suppression.confirm_listen and suppression.confirm_url go together"
            )
        if bool(self.notify.webhook_url) != bool(self.notify.webhook_secret_file):
            raise ValueError(
                "notify.webhook_url and notify.webhook_secret_file go together"
            )
        if self.trickle.longest_interval < self.trickle.interval:
            raise ValueError("trickle.longest_interval is below trickle.interval")
        if self.trickle.retry_longest < self.trickle.retry_first:
            raise ValueError("trickle.retry_longest is below trickle.retry_first")
        if self.spool.max_bytes < self.hop.max_message_size:
            raise ValueError("spool.max_bytes is below hop.max_message_size")
        return self

    def _relays_lead_elsewhere(self) -> None:
        for name, relay in self.relays.items():
            key = f"relays.{name}"
            if listener := self.listener_at(relay.next_hop):
                raise ValueError(f"{key}.next_hop is in {listener}: mail would loop")
            if bool(relay.user) != bool(relay.password_file):
                raise ValueError(f"{key}.user and {key}.password_file go together")
            if relay.user and relay.tls == "none" and not _near_by(relay.next_hop):
                raise ValueError(
                    f"{key}.tls: a password leaves this host only over TLS; "
                    'write "starttls" or "implicit"'
                )
            if relay.friend and (relay.tls == "none" or not relay.user):
                raise ValueError(
                    f"{key}.friend: a friend takes mail after a login over TLS only; "
                    f"set {key}.tls, {key}.user and {key}.password_file"
                )

    def _friends_come_safely(self) -> None:
        sending = self.sending
        if sending.listen and not (sending.certificate and sending.key):
            raise ValueError(
                "sending.listen: friends log in over TLS only; set sending.certificate "
                "and sending.key"
            )
        if self.friends and not sending.listen:
            raise ValueError("friends: there is no sending.listen where they log in")
        if sending.listen and self.daemon.placement != "hop":
            raise ValueError('sending.listen: only daemon.placement "hop" takes mail')

    def listener_at(self, place: str) -> str:
        """Return the key of our own listener at an address, "" when there is none."""
        for key, listeners in (
            ("hop.listen", self.hop.listen),
            ("policy.listen", self.policy.listen),
            ("feedback.lmtp", self.feedback.lmtp),
            ("sending.listen", self.sending.listen),
            ("metrics.listen", [self.metrics.listen]),
            ("suppression.confirm_listen", [self.suppression.confirm_listen]),
        ):
            if any(own and meet(place, own) for own in listeners):
                return key
        return ""

    def _no_listener_twice(self) -> None:
        # Instances share ports (SO_REUSEPORT), so the kernel would not refuse it
        # but hand connections to one or the other by chance.
        taken = [("hop.listen", own) for own in self.hop.listen]
        taken += [("policy.listen", own) for own in self.policy.listen]
        taken += [("feedback.lmtp", own) for own in self.feedback.lmtp]
        taken += [("sending.listen", own) for own in self.sending.listen]
        for key, one in (
            ("metrics.listen", self.metrics.listen),
            ("suppression.confirm_listen", self.suppression.confirm_listen),
        ):
            if one:
                taken.append((key, one))
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
        if (
            hop.next_hop_user
            and hop.next_hop_tls == "none"
            and not _near_by(hop.next_hop)
        ):
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


def _near_by(place: str) -> bool:
    return place.startswith("/") or is_loopback(split_address(place)[0])


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


# The shipped file has every table already, and pages show whole tables.
_TWICE = (
    "; change the line that is there, or write yours into a file of its own in conf.d/"
)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        hint = _TWICE if "twice" in str(error) or "overwrite" in str(error) else ""
        raise ConfigError(f"{path}: not TOML: {error}{hint}") from error
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


def sections() -> dict[str, type[Section]]:
    """Return the sections by name, in the order of the file."""
    kinds = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {
        name: kind
        for name, kind in kinds.items()
        if isinstance(kind, type) and issubclass(kind, Section)
    }


def _keys() -> dict[str, tuple[type[Section], str]]:
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
    live |= {"sender_check", "receivers", "federation"}
    single = {"daemon.enforce", "redis.when_unavailable", "policy.login_ttl"}
    single |= {"privacy.retention_days", "suppression.enabled"}
    single |= {"policy.hold_grace", "policy.requeue_after"}
    single |= {"suppression.soft_bounces", "suppression.soft_retry"}
    never = {"hop.listen"}
    applied: list[str] = []
    restart: list[str] = []
    if old.relays != new.relays:
        applied.append("relays")
    if old.friends != new.friends:
        applied.append("friends")
    for name in _keys():
        section, _, key = name.partition(".")
        before = getattr(getattr(old, section), key)
        after = getattr(getattr(new, section), key)
        if before != after:
            reached = (section in live or name in single) and name not in never
            (applied if reached else restart).append(name)
    return applied, restart

"""The configuration of a federation node: keys, defaults, and how it is read.

Read from a TOML file, then from the environment (``MAILSHAPERFED_SERVER__URL=...``,
not ``MAILSHAPER_``: that one is the shaper's and refuses what it does not know). A
key that does not exist, a value of the wrong kind and values that contradict each
other are errors that name the file and the key. ``conf/federation.toml`` is written
from these declarations: ``python -m federation.config``.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import sys
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

from federation.format.tags import NotShareable, canon

__all__ = [
    "DEFAULT",
    "ConfigError",
    "Settings",
    "host_port",
    "load",
    "sample",
    "sections",
    "shown",
]

DEFAULT = Path("/etc/mailshaper/federation.toml")
_PREFIX = "MAILSHAPERFED_"
_LAST_PORT = 65535
_WIDTH = 79


class ConfigError(Exception):
    """What is wrong, with file and key; exit status 78 (EX_CONFIG)."""


def host_port(text: str) -> tuple[str, int]:
    """Return address and port of ``127.0.0.1:8641`` or ``[::1]:8641``."""
    host, colon, port = text.rpartition(":")
    plain = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdecimal():
        raise ValueError("write an IP address and a port, such as 127.0.0.1:8641")
    if int(port) > _LAST_PORT:
        raise ValueError(f"a port is at most {_LAST_PORT}")
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        raise ValueError(f"{plain!r} is no IP address") from None
    if (address.version == 6) != host.startswith("["):  # noqa: PLR2004
        raise ValueError("write an IPv6 address in brackets, such as [::1]:8641")
    return plain, int(port)


def _address(text: str) -> str:
    host_port(text)
    return text


def _url(text: str) -> str:
    if not text.startswith("https://") or not text.isascii() or not text.isprintable():
        raise ValueError("write an https:// address without a path")
    if set(text) & set(" \"'\\<>@?#") or "/" in text.removeprefix("https://"):
        raise ValueError("write only scheme, host and port: https://fed.example.org")
    return text


def _mailbox(text: str) -> str:
    try:
        return canon(text)
    except NotShareable as error:
        raise ValueError(f"this is no mail address: {error}") from None


def _path(value: object) -> object:
    return value or None  # TOML has no null: an empty text stands for it


OptionalPath = Annotated[Path | None, BeforeValidator(_path)]
Address = Annotated[str, AfterValidator(_address)]
Url = Annotated[str, AfterValidator(_url)]
Mailbox = Annotated[str, AfterValidator(_mailbox)]


class Section(BaseModel):
    """A [section] of the file: unknown keys are errors, values do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, strict=False
    )


class Node(Section):
    """What this host keeps."""

    state_directory: Path = Path("/var/lib/mailshaper-federation")
    """Keys, the log of all events, and what this host learned itself."""


class Server(Section):
    """Where other hosts reach this one."""

    listen: Address | Literal[""] = ""
    """Address and port of the HTTPS listener: [::]:8641. Empty: none; this host
    then asks its peers, and learns within a second all the same (long poll)."""
    url: Url | Literal[""] = ""
    """How others write it: https://fed.example.org:8641. Goes with listen."""
    certificate: OptionalPath = None
    """PEM file with a certificate of a public authority and its chain. Empty: the
    node makes its own; peers pin its key, which invite tells them."""
    key: OptionalPath = None
    """PEM file with the key of this certificate."""


class Redis(Section):
    """Where the shaper of this host leaves facts and reads verdicts."""

    url: str = ""
    """As redis.url in mailshaper.toml; for the Redis that the shaper starts itself:
    unix:///run/mailshaper/redis.sock. Empty: this host has no shaper; facts come
    from mailshaper federation report."""
    key_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,40}$")] = "mailshaper"
    """As redis.key_prefix in mailshaper.toml."""


class Share(Section):
    """What this host tells the others. It reads and relays the rest all the same."""

    dead: bool = True
    """Recipients that do not exist, as keyed tags."""
    soft: bool = True
    """Recipients that could not be reached for a passing reason."""
    alive: bool = True
    """Deliveries that contradict what somebody we believe says; no others."""
    complaints: bool = False
    """Complaints of recipients: a person's act. Read docs/privacy-federation.md."""
    senders: bool = True
    """Senders that were stopped here, and when they are free again."""
    receivers: bool = True
    """Receivers that refuse this host as a whole."""
    scores: bool = True
    """The day's numbers of this organisation: sent, bounced, complained."""


class Decision(Section):
    """When claims of others count. docs/federation.md, "What follows"."""

    caution: Annotated[int, Field(ge=1, le=1000)] = 70
    """Weight from which bulk mail is held and personal mail tries. One trusted host
    weighs 100, a known one 40; both halve in 90 days."""
    suppress: Annotated[int, Field(ge=1, le=10000)] = 150
    """Weight from which a recipient is not written to, if a quorum says so."""
    quorum: Annotated[int, Field(ge=2, le=100)] = 2
    """Groups that must agree. To withstand k that lie together: k + 1."""
    canaries: list[Mailbox] = []
    """Living addresses of ours that nobody writes to. Who calls one of them dead is
    believed no more."""

    @model_validator(mode="after")
    def _ordered(self) -> Decision:
        if self.suppress <= self.caution:
            raise ValueError("decision.suppress is not above decision.caution")
        return self


class Metrics(Section):
    """The Prometheus listener."""

    listen: Address | Literal[""] = "127.0.0.1:9466"
    """Address of /metrics, /healthz and /readyz. Empty: none."""


class Log(Section):
    """What is written to standard error (and so to the journal of systemd)."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important lines that are written."""
    format: Literal["text", "json"] = "text"
    """Form of a line; events are in docs/federation-monitoring.md."""


class Settings(BaseSettings):
    """The whole configuration, checked."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    node: Node = Node()
    server: Server = Server()
    redis: Redis = Redis()
    share: Share = Share()
    decision: Decision = Decision()
    metrics: Metrics = Metrics()
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
        server = self.server
        if bool(server.listen) != bool(server.url):
            raise ValueError("server.listen and server.url go together")
        if bool(server.certificate) != bool(server.key):
            raise ValueError("server.certificate and server.key go together")
        if server.listen and server.listen == self.metrics.listen:
            raise ValueError("server.listen and metrics.listen are the same")
        return self


def sections() -> dict[str, type[Section]]:
    """Return the sections by name, in the order of the file."""
    kinds = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {
        name: kind
        for name, kind in kinds.items()
        if isinstance(kind, type) and issubclass(kind, Section)
    }


def load(path: Path | None) -> Settings:
    """Read file and environment. Raises ConfigError. Without a path: defaults."""
    values = {} if path is None else _read(path)
    _check_environment()
    try:
        return Settings(**values)
    except SettingsError as error:
        raise ConfigError(f"the environment cannot be read: {error}") from error
    except ValidationError as error:
        raise ConfigError(_explain(error, path)) from error


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
    for section, keys in data.items():
        if not isinstance(keys, dict):
            raise ConfigError(
                f"{path}: {section!r} stands outside a [section]{_near(section)}"
            )
        for key, value in keys.items():
            if any("\0" in str(one) for one in _each(value)):
                raise ConfigError(f"{path}: {section}.{key}: there is a NUL in it")
    return data


def _each(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _check_environment() -> None:
    """Refuse variables of sections that do not exist: pydantic overlooks them."""
    for name in sorted(os.environ):
        key = name[len(_PREFIX) :].lower().replace("__", ".", 1)
        if name.upper().startswith(_PREFIX) and key not in _keys():
            raise ConfigError(
                f"environment variable {name}: there is no key {key!r}{_near(key)}"
            )


def _explain(error: ValidationError, path: Path | None) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        place = [str(part) for part in problem["loc"]]
        key = ".".join(place[:2])
        variable = _PREFIX + "__".join(place[:2]).upper()
        set_there = any(name.upper() == variable for name in os.environ)
        where = f"environment variable {variable}" if set_there else path or "defaults"
        reason = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            lines.append(f"{where}: there is no key {key!r}{_near(key)}")
        elif len(place) < 2:  # noqa: PLR2004 - of a section or of all
            lines.append(f"{where}: {reason}")
        else:
            lines.append(f"{where}: {key}: {reason} (it is {problem['input']!r})")
    return "\n".join(lines)


def _keys() -> list[str]:
    return [f"{name}.{key}" for name, kind in sections().items() for key in _of(kind)]


def _of(kind: type[Section]) -> list[str]:
    return list(kind.model_fields)


def _near(key: str) -> str:
    close = difflib.get_close_matches(key, [*_keys(), *sections()], n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def sample() -> str:
    """Return the commented configuration file with every key at its default."""
    lines = [
        "# mailshaper federation: every key with its default. Remove the # to change",
        "# one. The environment wins: MAILSHAPERFED_SECTION__KEY=value. Check with:",
        "# mailshaper federation status",
    ]
    for section, kind in sections().items():
        lines += ["", f"# {(kind.__doc__ or '').strip()}", f"[{section}]"]
        for key, item in kind.model_fields.items():
            text = " ".join((item.description or "").split())
            default = shown(item.get_default(call_default_factory=True))
            lines += ["", *_comment(text), f"#{key} = {default}"]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    lines, line = [], "#"
    for word in text.split():
        if len(line) + len(word) + 1 > _WIDTH:
            lines.append(line)
            line = "#"
        line += " " + word
    return [*lines, line]


def shown(value: object) -> str:
    """Return a value as TOML writes it."""
    if value is None:
        return '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    if isinstance(value, int):
        return str(value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


if __name__ == "__main__":
    sys.stdout.write(sample())

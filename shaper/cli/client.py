"""The client end of the admin socket: one request, rows, one result.

A plain blocking socket, because asyncio costs more to import than the whole
command takes. Finds the socket without loading the configuration's machinery:
``--socket``, $MAILSHAPER_SOCKET, the file's ``[admin] socket``, else the default.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shaper.cli.failure import CONFIG, NOPERM, TEMPFAIL, UNAVAILABLE, CliError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["DEFAULT_CONFIG", "Client", "config_path", "socket_path"]

DEFAULT_CONFIG = Path("/etc/mailshaper/mailshaper.toml")
_DEFAULT_RUNTIME = "/run/mailshaper"
_TIMEOUT = 60.0  # seconds; Redis that hangs is given up by the daemon before


def config_path(given: str) -> Path | None:
    """Return the configuration file to read; None when there is none to be had.

    A file that was named is returned even when it is missing: that is an error.
    """
    if named := given or os.environ.get("MAILSHAPER_CONFIG"):
        return Path(named)
    return DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None


def socket_path(given: str, config: str) -> Path:
    """Return where the daemon listens. Raises CliError for an unreadable file."""
    if named := given or os.environ.get("MAILSHAPER_SOCKET"):
        return Path(named)
    sections = _sections(config_path(config))
    if path := _text(sections, "admin", "socket"):
        return Path(path)
    runtime = _text(sections, "daemon", "runtime_directory") or _DEFAULT_RUNTIME
    return Path(runtime) / "admin.sock"


def _text(sections: dict[str, Any], section: str, key: str) -> str:
    named = os.environ.get(f"MAILSHAPER_{section}__{key}".upper())
    if named:
        return named
    keys = sections.get(section)
    value = keys.get(key) if isinstance(keys, dict) else None
    return value if isinstance(value, str) else ""


def _sections(path: Path | None) -> dict[str, Any]:
    """Return the file and its conf.d, later ones winning key by key."""
    if path is None:
        return {}
    import tomllib

    merged: dict[str, Any] = {}
    for file in [path, *sorted((path.parent / "conf.d").glob("*.toml"))]:
        try:
            data = tomllib.loads(file.read_text(encoding="utf-8"))
        except PermissionError:
            # The operator may use the socket without reading the daemon's secrets.
            continue
        except (OSError, ValueError) as error:
            raise CliError(
                CONFIG,
                f"{file}: {getattr(error, 'strerror', None) or error}",
                "name the socket with --socket, or mend the file",
            ) from error
        for section, keys in data.items():
            if isinstance(keys, dict):
                merged.setdefault(section, {}).update(keys)
    return merged


class Client:
    """Asks the daemon at one socket."""

    def __init__(self, path: Path, timeout: float = _TIMEOUT) -> None:
        """Nothing is opened before ``ask``."""
        self.path = path
        self._timeout = timeout

    def ask(
        self,
        command: str,
        row: Callable[[Any], None] = lambda _row: None,
        **arguments: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Return the result; ``row`` gets each row before. Raises CliError."""
        request = {"command": command, "arguments": arguments}
        if claim := os.environ.get("SUDO_USER"):
            request["sudo_user"] = claim
        line = json.dumps(request).encode("ascii") + b"\n"
        for data in self._answers(line):
            if "row" in data:
                row(data["row"])  # its failures are the caller's: `| head` has gone
            else:
                return self._read(data)
        raise self._cut()

    def _answers(self, line: bytes) -> Iterator[dict[str, Any]]:
        """Send a request and return the lines of its answer. Raises CliError."""
        with self._connect() as connection:
            try:
                connection.sendall(line)
                with connection.makefile("rb") as answers:
                    for answer in answers:
                        yield json.loads(answer)
            except TimeoutError as error:
                raise CliError(
                    TEMPFAIL,
                    f"the daemon at {self.path} gave no answer in {self._timeout:g} s",
                    "it may still be at work; see `mailshaper status` and its log",
                ) from error
            except ConnectionError as error:
                raise self._cut() from error
            except ValueError as error:
                raise self._stranger() from error

    def _read(self, data: dict[str, Any]) -> Any:  # noqa: ANN401
        try:
            return _result(data)
        except ValueError as error:
            raise self._stranger() from error

    def _stranger(self) -> CliError:
        return CliError(TEMPFAIL, f"what listens at {self.path} is not mailshaper")

    def _cut(self) -> CliError:
        return CliError(
            TEMPFAIL,
            f"the daemon at {self.path} hung up before it answered",
            "it may be restarting; try again, with the same --id for a change",
        )

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._timeout)
        try:
            connection.connect(str(self.path))
        except PermissionError as error:
            connection.close()
            raise CliError(
                NOPERM,
                f"you may not open {self.path}",
                f"use sudo, or become a member of {_group(self.path)}",
            ) from error
        except OSError as error:
            connection.close()
            raise CliError(
                UNAVAILABLE,
                f"the daemon does not listen at {self.path} "
                f"({error.strerror or error})",
                "start it with `systemctl start mailshaper`, or name another "
                "socket with --socket or $MAILSHAPER_SOCKET",
            ) from error
        return connection


def _result(data: dict[str, Any]) -> Any:  # noqa: ANN401
    if data.get("ok") is True:
        return data.get("result")
    error = data.get("error")
    if not isinstance(error, dict):
        raise ValueError("neither a result nor an error")  # noqa: TRY004
    raise CliError(
        int(error.get("code", TEMPFAIL)),
        str(error.get("message", "")),
        str(error.get("hint", "")),
    )


def _group(path: Path) -> str:
    import grp

    try:
        return f"group {grp.getgrgid(path.stat().st_gid).gr_name}"
    except (OSError, KeyError):
        return "its group"

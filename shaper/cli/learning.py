"""Hands what a replay learned to the running daemon, over its admin socket.

Correspondents are remembered under the daemon's secret, so the replay must have
read it; only root and the daemon's user can. The daemon decides what it takes.
"""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shaper.cli.client import config_path
from shaper.cli.failure import CONFIG, NOPERM, CliError
from shaper.cli.options import send

if TYPE_CHECKING:
    import typer

    from shaper.replay.past import Past

__all__ = ["contact_key", "hand_over"]

_BATCH = 100  # records of about 3 KiB; a request may have 1 MiB


def contact_key(context: typer.Context) -> bytes:
    """Return the secret of the daemon's contact hashes. Raises CliError."""
    from shaper.config import ConfigError, load

    given: dict[str, str] = context.obj or {}
    try:
        settings = load(config_path(given.get("config", "")))
    except ConfigError as error:
        raise CliError(CONFIG, str(error)) from error
    path: Path = settings.privacy.contact_key_file or (
        settings.daemon.state_directory / "contact.key"
    )
    try:
        key = path.read_bytes()
    except PermissionError as error:
        raise CliError(
            NOPERM,
            f"{path} is not yours to read",
            "--learn needs the daemon's secret: type the same as root, with sudo",
        ) from error
    except OSError as error:
        raise CliError(
            CONFIG,
            f"{path}: {error.strerror}",
            "start the daemon once: it makes that key",
        ) from error
    if len(key) != 32:  # noqa: PLR2004 - as shaper.wiring makes it
        raise CliError(CONFIG, f"{path}: a key of 32 octets is expected")
    return key


def hand_over(
    context: typer.Context, past: Past, reason: str, *, dry_run: bool, change_id: str
) -> dict[str, Any]:
    """Send every learned sender; return how many were given and taken."""
    total = {"given": 0, "taken": 0, "dry_run": dry_run}
    rows = [
        [name, b64encode(sender.record.encode()).decode("ascii")]
        for name, sender in past.senders.items()
    ]
    for start in range(0, len(rows), _BATCH):
        done, change_id = send(
            context,
            "learn",
            reason=reason,
            dry_run=dry_run,
            change_id=change_id,
            rows=rows[start : start + _BATCH],
        )
        total["given"] += done["given"]
        total["taken"] += done["taken"]
    return total

"""The node that a command works on, opened as the user it belongs to."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.output import CONFIG, NOINPUT, TEMPFAIL, USAGE, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from federation.config import Settings
    from federation.node import Node

__all__ = ["Force", "Json", "daemon_state", "node", "now", "settings", "writing"]

Json = Annotated[bool, typer.Option("--json", help="Plain JSON, one object per line.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Write although no peer was asked whether this host's log is the newest: "
        "if an old copy of it was restored, that forks the log.",
    ),
]


def now() -> int:
    """Return the time."""
    return int(time.time())


def settings(context: typer.Context) -> Settings:
    """Return the configuration. Raises Failure."""
    from federation.config import DEFAULT, ConfigError, load

    given = context.obj if isinstance(context.obj, str) else ""
    named = given or os.environ.get("MAILSHAPER_FEDERATION_CONFIG", "")
    path = Path(named) if named else DEFAULT if DEFAULT.exists() else None
    try:
        return load(path)
    except ConfigError as error:
        raise Failure(CONFIG, str(error)) from None


def become_owner(directory: Path) -> None:
    """As root, go on as the user to whom the node belongs.

    A file that root leaves behind would be closed to the daemon.
    """
    if os.geteuid() != 0 or not directory.exists():
        return
    owner = directory.stat()
    if owner.st_uid:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


@contextmanager
def node(context: typer.Context) -> Iterator[Node]:
    """Open the node; what goes wrong with it is told. Raises Failure."""
    chosen = settings(context)
    become_owner(chosen.node.state_directory)
    with failing():
        from federation.node import Node

        with Node(chosen) as opened:
            opened.judge.audit(now())
            yield opened


@contextmanager
def failing() -> Iterator[None]:
    """Turn what may go wrong with a node into failures of the command line."""
    from federation.format.errors import Refused
    from federation.log.database import StoreFull
    from federation.node import NodeError

    try:
        yield
    except NodeError as error:
        raise Failure(USAGE, str(error), error.hint) from None
    except Refused as error:
        raise Failure(USAGE, error.why) from None
    except StoreFull as error:
        raise Failure(TEMPFAIL, f"{error}", "make room on the disk") from None
    except sqlite3.Error as error:
        raise Failure(
            NOINPUT,
            f"the database cannot be used: {error}",
            "see docs/runbooks/MailshaperFederationStoreFailing.md",
        ) from None


def writing(opened: Node, *, force: bool) -> None:
    """Make sure that this command may append to the own log. Raises Failure.

    A snapshot of a whole machine that was restored looks like the log it once was.
    Only a peer can tell, and the daemon asks them all when it starts. Who never had
    a peer has nobody who could hold more.
    """
    if force or not opened.store.peers():
        return
    state = daemon_state(opened)
    if not state.get("runs"):
        raise Failure(
            TEMPFAIL,
            "the daemon does not run, so nobody knows whether this host's log is the"
            " newest there is",
            "systemctl start mailshaper-federation, wait a minute; or add --force",
        )
    if not state.get("settled"):
        raise Failure(
            TEMPFAIL,
            "the daemon has reached no peer since it started, so nobody knows whether"
            " this host's log is the newest there is",
            "try again in a minute (after a quarter of an hour it goes on alone); or"
            " add --force",
        )
    if state.get("stopped"):
        raise Failure(
            TEMPFAIL,
            f"nothing is written now: {state['stopped']}",
            "put the clock right; or add --force",
        )


def daemon_state(opened: Node) -> dict[str, Any]:
    """Return what the daemon wrote down last; empty if it does not run."""
    from federation.state import read

    return read(opened.directory, now())

"""The federation from a program of your own, with or without its daemon's host.

    from federation.library import Federation

    with Federation("/etc/mailshaper/federation.toml") as federation:
        federation.bounced("nobody@example.org", code="5.1.1", smtp=550)
        if federation.lookup("someone@example.net").outcome == "suppress":
            ...

Works on the node's directory and needs the right to read and write it; the daemon
beside it publishes and exchanges. One object may be used by several threads. What
goes wrong is a FederationError, whose text says what to do.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from federation import views
from federation.config import ConfigError, Settings, load
from federation.config import Node as NodeSection
from federation.format.errors import Refused
from federation.log.database import StoreFull
from federation.node import Node, NodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Answer", "Federation", "FederationError"]

_AUDIT_EVERY = 60  # seconds for which the audit's result is taken as it was


class FederationError(Exception):
    """What is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What follows for mail to an address.

    ``allow``: write to it. ``caution``: hold bulk mail, let personal mail try.
    ``suppress``: do not. ``by`` are the organisations whose word counts, ``since``
    the oldest of it in Unix seconds (0: nothing), ``own`` whether our own mail
    decided.
    """

    outcome: Literal["allow", "caution", "suppress"]
    why: str
    by: tuple[str, ...]
    since: int
    own: bool


class Federation:
    """An open node."""

    def __init__(self, place: str | Path) -> None:
        """Open the node of a configuration file, or of a state directory.

        Raises FederationError.
        """
        path = Path(place)
        self._audited = 0.0
        with _told():
            settings = (
                Settings(node=NodeSection(state_directory=path))
                if path.is_dir()
                else load(path)
            )
            self._node = Node(settings)

    def close(self) -> None:
        """Close the files."""
        self._node.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lookup(self, address: str) -> Answer:
        """Return what follows for mail to an address. Raises FederationError.

        An address that can have no tag (``user@[192.0.2.1]``) is one.
        """
        now = int(time.time())
        with _told():
            if abs(time.monotonic() - self._audited) > _AUDIT_EVERY:
                self._node.judge.audit(now)
                self._audited = time.monotonic()
            found = views.lookup(self._node, address, now)
        return Answer(
            found["outcome"],
            found["why"],
            tuple(found["by"]),
            found["since"],
            found["own"],
        )

    def bounced(
        self,
        address: str,
        *,
        code: str,
        smtp: int = 0,
        dsn: bool = False,
        provider: str = "",
        at: float | None = None,
    ) -> None:
        """Tell that mail came back, with its enhanced status (RFC 3463).

        ``4.x.y`` and a full mailbox (5.2.2) are passing. Only statuses that speak of
        the mailbox go further than this host. Raises FederationError.
        """
        passing = code.startswith("4") or code == "5.2.2"
        self._tell(
            "soft" if passing else "bounce",
            at,
            address=address,
            code=code,
            smtp=smtp,
            via="dsn" if dsn else "smtp",
            provider=provider,
        )

    def delivered(self, address: str, *, at: float | None = None) -> None:
        """Tell that mail was taken. Raises FederationError.

        It goes further only where somebody whom we believe says that it would not.
        """
        self._tell("delivered", at, address=address)

    def blocked(self, sender: str, *, why: str, until: float) -> None:
        """Tell that a sender of ours was stopped until a time. Raises FederationError.

        ``why``: compromised, spam, volume, bounces or complaints.
        """
        with _told():
            case = self._node.case_of(sender)
        self._tell("blocked", None, sender=sender, why=why, until=until, case=case)

    def released(self, sender: str) -> None:
        """Tell that this sender is free again. Raises FederationError."""
        with _told():
            case = self._node.case_of(sender)
        self._tell("released", None, case=case)

    def _tell(self, kind: str, at: float | None, **fields: Any) -> None:  # noqa: ANN401
        now = time.time()
        fact = {"v": 1, "kind": kind, "at": now if at is None else at, **fields}
        with _told():
            if "address" in fields:
                self._node.named(fields["address"])
            taken = self._node.intake.take([json.dumps(fact).encode()], int(now))
        for reason in taken.refused:
            raise FederationError(reason)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        raise FederationError(str(error)) from error
    except NodeError as error:
        text = f"{error}; {error.hint}" if error.hint else str(error)
        raise FederationError(text) from error
    except Refused as error:
        raise FederationError(error.why) from error
    except (StoreFull, sqlite3.Error) as error:
        raise FederationError(f"the database cannot be used: {error}") from error

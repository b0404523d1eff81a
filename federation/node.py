"""A node put together: keys, store, own log, evidence and judge on one directory.

    state_directory/
      federation.sqlite   everything that was ever received, written or seen
      node.key            signs what this machine says
      root.key            signs who may speak for the organisation; may be kept away
      next-root.key       takes its place some day; belongs somewhere else

Daemon, command line and library open the same directory at the same time; the file
keeps them from each other (``database``). Peppers are in the file: whoever has it
has the tags, too.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from federation.exchange import tls
from federation.exchange.replica import Replica
from federation.format import keyfile
from federation.format.errors import Refused
from federation.format.limits import Limits
from federation.format.profile import b64, unb64
from federation.format.signing import ROTATE
from federation.format.tags import NotShareable, Pepper
from federation.log import housekeeping
from federation.log.admission import Admission
from federation.log.database import Database
from federation.log.identity import rotation_consent
from federation.log.own import OwnLog
from federation.log.store import Store
from federation.trust.decision import Rules
from federation.trust.emitter import Share
from federation.trust.evidence import Evidence
from federation.trust.intake import Intake
from federation.trust.judge import Judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from federation.config import Settings
    from federation.format.profile import Value
    from federation.format.signing import Signer

__all__ = ["SOFTWARE", "Node", "NodeError", "Profile"]

SOFTWARE = "mailshaper 1"
_FILE = "federation.sqlite"
_NODE, _ROOT, _NEXT = "node.key", "root.key", "next-root.key"
_NETWORK = re.compile(r"[a-z0-9-]{1,32}")
_TEXT = re.compile(r"[ !#-\[\]-~]{1,64}")  # what an event's string may hold
_PEPPERS_LIVE = 3


class NodeError(Exception):
    """The node cannot be made or opened; says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Profile:
    """What an organisation says about itself."""

    name: str
    contact: str = ""
    url: str = ""
    label: str = ""

    def body(self) -> dict[str, Value]:
        """Return the fields of ``ctl.org``."""
        said: dict[str, Value] = {"name": self.name, "sw": SOFTWARE}
        if self.url:
            said["url"] = self.url
        if self.contact:
            said["contact"] = self.contact
        return said

    def check(self) -> None:
        """Raise NodeError for a text that no event can hold."""
        for what, text in (("name", self.name), ("contact", self.contact)):
            if text and not _TEXT.fullmatch(text):
                raise NodeError(
                    f"--{what} {text!r} cannot be written into an event",
                    'write 1 to 64 ASCII characters without " and \\',
                )
        if not self.name:
            raise NodeError("an organisation needs a name", "add --name 'Our club'")


class Node:
    """One node. Close it after use."""

    def __init__(self, settings: Settings, limits: Limits | None = None) -> None:
        """Open an existing node. Raises NodeError."""
        directory = settings.node.state_directory
        self.settings = settings
        self.directory = directory
        self.limits = limits or Limits()
        path = directory / _FILE
        try:
            net, org = _stored(path)
            node = keyfile.load(directory / _NODE)
            here = (directory / _ROOT).exists()
            root = keyfile.load(directory / _ROOT) if here else None
        except keyfile.KeyFileError as error:
            raise NodeError(str(error)) from error
        self.net, self.org = net, org
        self._names: tuple[object, dict[bytes, str]] | None = None
        self.signer = node
        self.store = Store(path, net, self.limits)
        self.own = OwnLog(self.store, org=org, node=node, root=root, limits=self.limits)
        self.evidence = Evidence(self.store)
        decision = settings.decision
        self.judge = Judge(
            self.store,
            self.evidence,
            org,
            Rules(
                caution=decision.caution * 1000,
                suppress=decision.suppress * 1000,
                quorum=decision.quorum,
            ),
            self._canaries,
        )
        self.intake = self._intake(lambda most: secrets.randbelow(most + 1))
        self.admission = Admission(self.store, net, self.limits)
        self.replica = Replica(self.store, self.admission)

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @classmethod
    def create(cls, settings: Settings, net: str, profile: Profile, now: int) -> Self:
        """Make the keys and the file of a new organisation. Raises NodeError.

        Never overwrites: a lost key ends an organisation.
        """
        profile.check()
        if not _NETWORK.fullmatch(net):
            raise NodeError(
                f"{net!r} is no name of a network",
                "write 1 to 32 small letters, digits and hyphens, such as hosters-fr",
            )
        directory = settings.node.state_directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise NodeError(
                f"{directory} cannot be made: {error.strerror}",
                "run this as root, or as the user of the daemon",
            ) from error
        if (directory / _FILE).exists():
            raise NodeError(
                f"there is a node in {directory} already",
                "see it with `mailshaper federation status`",
            )
        try:
            root = keyfile.create(directory / _ROOT)
            following = keyfile.create(directory / _NEXT)
            node = keyfile.create(directory / _NODE)
        except keyfile.KeyFileError as error:
            raise NodeError(str(error)) from error
        store = Store(directory / _FILE, net, Limits())
        os.chmod(directory / _FILE, 0o600)  # noqa: PTH101
        store.set_meta("org", root.public)
        store.close()
        made = cls(settings)
        body = profile.body() | {"nextroot": b64(sha256(following.public).digest())}
        made.own.append("ctl.org", body, now)
        label = profile.label or socket.gethostname()
        label = label if _TEXT.fullmatch(label) else "host"
        made.own.append("ctl.grant", {"key": b64(node.public), "label": label}, now)
        return made

    @staticmethod
    def exists(settings: Settings) -> bool:
        """Whether there is a node in the directory."""
        return (settings.node.state_directory / _FILE).exists()

    # -- the network's secret

    def peppers(self) -> Sequence[Pepper]:
        """Return the peppers that live, the one to publish under first."""
        held = bytes(self.store.meta("peppers") or b"")
        return [Pepper(held[at : at + 32]) for at in range(0, len(held), 32)]

    def add_pepper(self, secret: bytes, *, first: bool = True) -> bool:
        """Add a pepper, the oldest of more than three falls away.

        Returns whether it is new. ``first``: events are written under it from now on.
        """
        with self.store.writing(durable=True):
            held = bytes(self.store.meta("peppers") or b"")
            known = [held[at : at + 32] for at in range(0, len(held), 32)]
            if secret in known:
                return False
            known = [secret, *known] if first else [*known, secret]
            self.store.set_meta("peppers", b"".join(known[:_PEPPERS_LIVE]))
            self.store.bump_epoch()
        return True

    def tags(self, address: str) -> list[bytes]:
        """Return an address's recipient tags. Raises NodeError."""
        return [pepper.recipient(self.named(address)) for pepper in self.peppers()]

    def sender_tags(self, address: str) -> list[bytes]:
        """Return an address's sender tags. Raises NodeError."""
        return [pepper.sender(self.named(address)) for pepper in self.peppers()]

    def named(self, address: str) -> str:
        """Return the address, if it is one. Raises NodeError."""
        peppers = self.peppers()
        if not peppers:
            raise NodeError(
                "this node has no pepper, so it cannot make tags of addresses",
                "join a network, or begin one: `mailshaper federation init`",
            )
        try:
            peppers[0].recipient(address)
        except NotShareable as error:
            raise NodeError(f"{address!r} is no address to share: {error}") from error
        return address

    # -- what is said and taken back

    def report(
        self, facts: Sequence[bytes], now: int, *, at_once: bool = False
    ) -> dict[str, Any]:
        """Take facts of this host's own tools; ``at_once`` publishes without a wait.

        Returns how many were taken and refused, published and waiting.
        """
        intake = self._intake(lambda _: 0) if at_once else self.intake
        before = self.evidence.waiting()
        taken = intake.take(facts, now)
        waiting = self.evidence.waiting()
        published = intake.emit(now) if at_once else {}
        return {
            "taken": len(facts) - sum(taken.refused.values()),
            "refused": dict(taken.refused),
            "published": dict(published),
            "waiting": max(0, waiting - before - sum(published.values())),
        }

    def case_of(self, address: str) -> str:
        """Return a name for the case of a sender that does not name it."""
        return f"cli {b64(self.sender_tags(address)[0])}"

    def erase(self, address: str, now: int) -> None:
        """Take back and erase what this host said and knows about an address."""
        tags = [*self.tags(address), *self.sender_tags(address)]
        own = self.store.among(
            "SELECT ev.id, org FROM ev JOIN log ON log.id=ev.log WHERE tag IN (?)", tags
        )
        ids = [ident for ident, org in own if org == self.org]
        with self.store.writing(durable=True):
            if ids:
                self.own.retract(ids, "erasure", now)
            self.evidence.forget(tags)
        while housekeeping.erase(self.store):
            pass

    # -- the root key

    def rotate(self, now: int) -> None:
        """Let the next root key rule, and commit to another one after it.

        Raises NodeError. Interrupted, it is done by calling it again.
        """
        root, following = self.own.root, self.directory / _NEXT
        if root is None:
            raise NodeError(f"{self.directory / _ROOT} is not here", "copy it back")
        identity = self.store.identity(self.org)
        new = self._key(_NEXT) if following.exists() else None
        announced = identity.nextroot
        if new is not None and sha256(new.public).digest() == announced:
            consent = new.sign(ROTATE, rotation_consent(self.org, new.public))
            body: dict[str, Value] = {
                "newroot": b64(new.public),
                "sig2": b64(consent),
            }
            self.own.append("ctl.rotate", body, now)
            identity = self.store.identity(self.org)
        if new is not None and new.public == identity.root:
            old = self.directory / f"{_ROOT}.old"
            old.unlink(missing_ok=True)
            old.hardlink_to(self.directory / _ROOT)
            following.replace(self.directory / _ROOT)
            root = self.own.root = new
        elif root.public != identity.root:
            raise NodeError(f"{following} is not here", "copy it back")
        elif new is not None and announced:
            raise NodeError(f"{following} is not the key that was announced")
        said = [one for one in self.store.events("ctl.org") if one.org == self.org]
        kept = max(said, key=lambda one: (one.ts, one.seq)).body
        # One that is there already was made before an interruption.
        after = self._key(_NEXT) if following.exists() else keyfile.create(following)
        promise = b64(sha256(after.public).digest())
        self.own.append("ctl.org", {**kept, "nextroot": promise}, now)

    def _key(self, name: str) -> Signer:
        try:
            return keyfile.load(self.directory / name)
        except keyfile.KeyFileError as error:
            raise NodeError(str(error)) from error

    def _intake(self, jitter: Callable[[int], int]) -> Intake:
        return Intake(
            self.store,
            self.own,
            self.evidence,
            self.judge,
            self.peppers,
            Share(**self.settings.share.model_dump()),
            jitter,
        )

    def _canaries(self) -> list[bytes]:
        return [
            pepper.recipient(one)
            for pepper in self.peppers()
            for one in self.settings.decision.canaries
        ]

    # -- the listener's certificate

    def certificate(self) -> tuple[Path, Path]:
        """Return certificate and key for the listener, made on first use.

        Raises NodeError.
        """
        server = self.settings.server
        if server.certificate and server.key:
            return server.certificate, server.key
        host = urlsplit(server.url).hostname or "localhost"
        try:
            return tls.self_made(self.directory, host)
        except tls.CertificateError as error:
            raise NodeError(str(error)) from error

    def pin(self) -> str:
        """Return the pin of our own certificate, "" for one of an authority."""
        if not self.settings.server.url or self.settings.server.certificate:
            return ""
        return tls.pin_of_file(self.certificate()[0])

    # -- names

    def org_of(self, text: str) -> bytes:
        """Return the organisation that a name, or the start of a key, means.

        Raises NodeError where there is none, or several.
        """
        # A key first, and a beginning of one beside names: anybody may call itself
        # by the key of another.
        with suppress(Refused):
            return unb64(text, 32)
        names = self._called()
        known = {row.org for row in self.store.trust_rows()} | names.keys()
        known |= {peer.org for peer in self.store.peers()} | set(self.orgs())
        found = {org for org in known if names.get(org, "") == text}
        if len(text) >= 4:  # noqa: PLR2004 - less is a guess
            found |= {org for org in known if b64(org).startswith(text)}
        if len(found) > 1:
            raise NodeError(f"{text!r} means several organisations", "write more of it")
        if not found:
            raise NodeError(
                f"there is no organisation {text!r}",
                "`mailshaper federation trust` lists them",
            )
        return found.pop()

    def orgs(self) -> list[bytes]:
        """Return the organisations whose events are stored, in order."""
        rows = self.store.rows("SELECT DISTINCT org FROM log ORDER BY org")
        return [org for (org,) in rows]

    def name_of(self, org: bytes) -> str:
        """Return what to call an organisation."""
        return self._called().get(org) or b64(org)[:12]

    def _called(self) -> dict[bytes, str]:
        given = tuple((peer.org, peer.name) for peer in self.store.peers())
        state = (self.store.counter(), given)
        if self._names is None or self._names[0] != state:
            self._names = (state, self.judge.names())
        return self._names[1]


def _stored(path: Path) -> tuple[str, bytes]:
    """Return network and organisation of the file. Raises NodeError."""
    try:
        if not path.exists():
            raise NodeError(
                f"there is no node in {path.parent}",
                "make one: `mailshaper federation init` or `... join INVITATION`",
            )
        database = Database(path)
        try:
            net, org = database.meta("net"), database.meta("org")
        finally:
            database.close()
    except PermissionError as error:
        raise NodeError(
            f"{path.parent} cannot be read: {error.strerror}",
            "run this as root, or as the user of the daemon",
        ) from error
    except ValueError as error:
        raise NodeError(str(error)) from error
    if not isinstance(net, str) or not isinstance(org, bytes):
        raise NodeError(f"{path} is no file of a node")
    return net, org

"""The queues of Postfix and Exim: is a message on hold, and four ways out of it.

Both classes have the same methods, and both leave the last word to the mail server:
Postfix' postsuper is told to look in the queue "hold" only (postsuper(1)), so nobody
can move the message between our look and its deed. Exim has no such option for
-Mrm and -Mg (spec, 5.2); there the look comes just before.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ABSENT", "HELD", "QUEUED", "Exim", "FailedError", "Postfix", "Queue"]

HELD, QUEUED, ABSENT = "held", "queued", "absent"

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_TIME_LIMIT = 30.0  # seconds; a command takes some hundredths
_MOST_OUTPUT = 256 * 1024  # octets that are read of a command
_NO_FILE = f"spool read error: {os.strerror(errno.ENOENT)}"
_SHOWN = 200  # characters of a failed command's words in our answer
_MOST_DELIVERIES = 20  # of Exim that we start and that are under way at once


class FailedError(Exception):
    """The MTA's command failed, or does not answer."""


class Queue(Protocol):
    """What a mail server's queue can do; an id was checked by ``well_formed``."""

    def well_formed(self, queue_id: str) -> bool:
        """Whether this is the form of a queue id, and nothing more."""

    def states(self, queue_ids: Sequence[str]) -> dict[str, str]:
        """Return HELD, QUEUED or ABSENT of each. Raises FailedError."""

    def release(self, queue_ids: Sequence[str]) -> set[str]:
        """Let them go on now; return those that were held. Raises FailedError."""

    def requeue(self, queue_ids: Sequence[str]) -> set[str]:
        """Let them go on with a new life time; returns as ``release`` does."""

    def drop(self, queue_ids: Sequence[str]) -> set[str]:
        """Delete them and tell nobody; returns as ``release`` does."""

    def give_back(self, queue_ids: Sequence[str]) -> set[str]:
        """Have the MTA return them to their senders; returns as ``release`` does."""


class Postfix:
    """The queue of one Postfix instance."""

    # Short: microseconds and inode in hexadecimal. Long (enable_long_queue_ids):
    # seconds and microseconds in base 52, "z", the inode in base 51.
    _ID: ClassVar = re.compile(
        r"[0-9A-F]{6,20}"
        r"|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,16}z"
        r"[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]{1,16}"
    )
    # "hold" first: a message leaves it, but does not come back by itself.
    _QUEUES: ClassVar = ("hold", "incoming", "active", "deferred")

    def __init__(self, commands: Path, config: Path | None = None) -> None:
        """Ask postconf where the queue is. Raises FailedError."""
        self._commands = commands
        self._config = ["-c", str(config)] if config else []
        said = self._run("postconf", "-h", "queue_directory").strip()
        self._directory = Path(said)
        if not self._directory.is_absolute():
            raise FailedError(f"postconf's queue_directory is {said!r}")

    def well_formed(self, queue_id: str) -> bool:
        """Whether this is a short or a long queue id (postconf(5))."""
        return self._ID.fullmatch(queue_id) is not None

    def states(self, queue_ids: Sequence[str]) -> dict[str, str]:
        """Look where the files are; Postfix names a file like the id."""
        found: dict[str, str] = {}
        # Twice: between two looks the queue manager may have moved one.
        for queue in self._QUEUES * 2:
            if left := [one for one in queue_ids if one not in found]:
                state = HELD if queue == "hold" else QUEUED
                places = _directories(self._directory / queue)
                found |= {one: state for one in left if _is_in(places, one)}
        return {one: found.get(one, ABSENT) for one in queue_ids}

    def release(self, queue_ids: Sequence[str]) -> set[str]:
        """Move them to the deferred queue and have them tried at once."""
        released = self._postsuper("-H", queue_ids, "released from hold")
        self._hurry(released)
        return released

    def requeue(self, queue_ids: Sequence[str]) -> set[str]:
        """Send them through pickup and cleanup again; the log tells orig_id."""
        return self._postsuper("-r", queue_ids, "requeued")

    def drop(self, queue_ids: Sequence[str]) -> set[str]:
        """Delete them."""
        return self._postsuper("-d", queue_ids, "removed")

    def give_back(self, queue_ids: Sequence[str]) -> set[str]:
        """Expire them now (Postfix 3.5 and later): returned, without an attempt."""
        expired = self._postsuper("-f", queue_ids, "expired")
        self._hurry(expired)
        return expired

    def _postsuper(self, option: str, queue_ids: Sequence[str], deed: str) -> set[str]:
        arguments = [word for one in queue_ids for word in (option, one)]
        words = self._run("postsuper", *arguments, "hold")
        return {one for one in queue_ids if f": {one}: {deed}" in words}

    def _hurry(self, queue_ids: set[str]) -> None:
        # Else they wait for the next look into the deferred queue, five minutes.
        # Whether this works or not, they are on their way.
        try:
            if len(queue_ids) == 1:
                self._run("postqueue", "-i", *queue_ids)
            elif queue_ids:
                # That look, now (qmgr(8), TRIGGERS): it takes what is due.
                self._run("postkick", "public", "qmgr", "D")
        except FailedError:
            return

    def _run(self, command: str, *arguments: str) -> str:
        code, words = _run(str(self._commands / command), *self._config, *arguments)
        if code:
            raise FailedError(f"{command} {code}: {words[:_SHOWN]}")
        return words


class Exim:
    """The queue of one Exim."""

    # Until 4.97 six-six-two characters of base 62, since then six-eleven-four.
    _ID: ClassVar = re.compile(
        r"[0-9A-Za-z]{6}-(?:[0-9A-Za-z]{6}-[0-9A-Za-z]{2}"
        r"|[0-9A-Za-z]{11}-[0-9A-Za-z]{4})"
    )
    _LISTED: ClassVar = re.compile(rf" *\d+\w +\S+ ({_ID.pattern}) <")

    def __init__(self, program: Path, config: Path | None = None) -> None:
        """Take the binary, and a configuration file other than its own."""
        self._program = str(program)
        self._config = ["-C", str(config)] if config else []
        self._deliveries: list[subprocess.Popen[bytes]] = []
        self._queue_run: subprocess.Popen[bytes] | None = None

    def well_formed(self, queue_id: str) -> bool:
        """Whether this is an old or a new message id (spec, 3.4)."""
        return self._ID.fullmatch(queue_id) is not None

    def states(self, queue_ids: Sequence[str]) -> dict[str, str]:
        """Read what -bp prints about these messages.

        `` 5m  1.2K ID <sender> *** frozen ***`` and its recipients, each on a line;
        a sender cannot end the line that way, because ">" follows it, and a
        recipient with blanks begins with a quote. One that is not there has an
        error below its id.
        """
        code, words = self._run("-bp", *queue_ids)
        found: dict[str, str] = {}
        lines = words.split("\n")
        for line, following in itertools.pairwise([*lines, ""]):
            if listed := self._LISTED.match(line):
                held = line.endswith(" *** frozen ***")
                found[listed[1]] = HELD if held else QUEUED
            elif line.strip() in queue_ids and _NO_FILE in following:
                found[line.strip()] = ABSENT
        if len(queue_ids) == 1 and (code or queue_ids[0] not in found):
            raise FailedError(f"exim -bp {code}: {words[:_SHOWN]}")
        # Very many recipients, and the list was cut: one by one.
        for one in queue_ids:
            if one not in found:
                found |= self.states([one])
        return found

    def release(self, queue_ids: Sequence[str]) -> set[str]:
        """Thaw them and start deliveries that respect retry times."""
        code, words = self._run("-Mt", *queue_ids)
        told = set(words.splitlines())
        thawed = [
            one for one in queue_ids if f"Message {one} is no longer frozen" in told
        ]
        if not thawed and HELD in self.states(queue_ids).values():
            raise FailedError(f"exim -Mt {code}: {words[:_SHOWN]}")
        for one in thawed:
            self._deliver(one)
        return set(thawed)

    def _deliver(self, queue_id: str) -> None:
        """Start a delivery and do not wait: a slow host may take minutes.

        Of very many at once, the others go one after the other, by a queue run: ours,
        or the next of Exim's own for what ours came too early to see.
        """
        self._deliveries = [one for one in self._deliveries if one.poll() is None]
        if len(self._deliveries) < _MOST_DELIVERIES:
            started = self._start("-Mc", queue_id)
            self._deliveries += [started] if started else []
        elif self._queue_run is None or self._queue_run.poll() is not None:
            self._queue_run = self._start("-q")

    def requeue(self, queue_ids: Sequence[str]) -> set[str]:
        """Release them: Exim gives up on hosts, not on the age of a message."""
        return self.release(queue_ids)

    def drop(self, queue_ids: Sequence[str]) -> set[str]:
        """Delete them."""
        return self._if_held("-Mrm", queue_ids)

    def give_back(self, queue_ids: Sequence[str]) -> set[str]:
        """Cancel them: the senders get Exim's bounces, nothing is delivered."""
        return self._if_held("-Mg", queue_ids)

    def _if_held(self, option: str, queue_ids: Sequence[str]) -> set[str]:
        found = self.states(queue_ids)
        held = [one for one in queue_ids if found[one] == HELD]
        if not held:
            return set()
        code, words = self._run(option, *held)
        found = self.states(held)
        if set(found.values()) == {HELD}:
            raise FailedError(f"exim {option} {code}: {words[:_SHOWN]}")
        # One that is queued now was thawed by somebody between our looks.
        return {one for one in held if found[one] == ABSENT}

    def _run(self, *arguments: str) -> tuple[int, str]:
        return _run(self._program, *self._config, *arguments)

    def _start(self, *arguments: str) -> subprocess.Popen[bytes] | None:
        """Start a command that goes on without us."""
        try:
            return subprocess.Popen(  # noqa: S603 - an id was checked, no shell
                [self._program, *self._config, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        except OSError:
            return None


def _directories(queue: Path) -> list[str]:
    """Return where Postfix may have a file of this queue.

    hash_queue_depth: up to three levels of one-character directories.
    """
    level = [str(queue)]
    every = list(level)
    for _ in range(3):
        level = [below for one in level for below in _one_character(one)]
        every += level
    return every


def _one_character(directory: str) -> list[str]:
    with os.scandir(directory) as entries:
        return [
            one.path
            for one in entries
            if len(one.name) == 1 and one.is_dir(follow_symlinks=False)
        ]


def _is_in(directories: Sequence[str], queue_id: str) -> bool:
    """Whether a file has this name there; a link to one is no message."""
    for one in directories:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISREG(os.lstat(f"{one}/{queue_id}").st_mode):
                return True
    return False


def _run(*command: str) -> tuple[int, str]:
    """Return the exit status and the first words of a command.

    Raises FailedError when it cannot start or takes too long.
    """
    # A file and not a pipe: a command that says much (-bp names each recipient)
    # is neither blocked nor ended by it, and we read only the beginning.
    descriptor = os.memfd_create("output")
    try:
        status = subprocess.run(  # noqa: S603 - an id was checked, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=_ENVIRONMENT,
            cwd="/",
            check=False,
            timeout=_TIME_LIMIT,
        ).returncode
        words = os.pread(descriptor, _MOST_OUTPUT, 0)
    except subprocess.TimeoutExpired:
        raise FailedError(f"{command[0]} does not end") from None
    except OSError as error:
        raise FailedError(f"{command[0]}: {error.strerror}") from None
    finally:
        os.close(descriptor)
    return status, words.decode("ascii", "replace")

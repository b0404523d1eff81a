"""A real systemd-journald and a real journalctl, in a mount namespace of their own.

journald writes to a directory that the test reads with `journalctl --directory`; the
unit is told as journald's own clients may (OBJECT_SYSTEMD_UNIT of root).
"""

import asyncio
import shutil
import signal
import subprocess
import uuid
from pathlib import Path

import pytest

from shaper.core.ports import StateUnavailableError
from shaper.feedback.journalctl import JournalFollower, line_of
from tests.support import needs
from tests.support.waiting import poll, poll_async

_JOURNALD = Path("/lib/systemd/systemd-journald")
_NAMESPACE = """\
set -e
mount -t tmpfs none /run
mkdir -p /run/systemd/journal /run/log/journal
mount --bind "$1" /run/log/journal
mount --bind "$2" /etc/systemd/journald.conf
[ -z "$3" ] || mount --bind "$3" /proc/sys/kernel/random/boot_id
exec /lib/systemd/systemd-journald
"""


def entry(**more):
    return {
        "__REALTIME_TIMESTAMP": "1795608000123456",
        "_HOSTNAME": "mail",
        "SYSLOG_IDENTIFIER": "postfix/smtp",
        "_PID": "7",
        "MESSAGE": "ABCDEF1: removed",
    } | more


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            entry(),
            "2026-11-25T12:00:00.123456+00:00 mail postfix/smtp[7]: ABCDEF1: removed",
        ),
        (
            entry(MESSAGE=[*b"caf\xe9"], SYSLOG_PID="9"),
            "2026-11-25T12:00:00.123456+00:00 mail postfix/smtp[9]: caf\ufffd",
        ),
        (
            entry(MESSAGE="a\nb\0c"),
            "2026-11-25T12:00:00.123456+00:00 mail postfix/smtp[7]: a bc",
        ),
        (entry(MESSAGE=None), ""),
        (entry(MESSAGE=["x", -1]), ""),
        (entry(__REALTIME_TIMESTAMP="soon"), ""),
        (entry(__REALTIME_TIMESTAMP="9" * 40), ""),
        ({}, ""),
    ],
)
def test_an_entry_as_a_line(given, line):
    assert line_of(given) == line


class Journal:
    """A journald; the process that `nsenter`s into its namespace writes to it.

    ``boot`` is the boot that it takes this for, in hexadecimal: its entries are of
    the time before the machine was started again.
    """

    def __init__(self, directory, boot=""):
        self.directory = directory / "journal"
        self.directory.mkdir()
        config = directory / "journald.conf"
        config.write_text("[Journal]\nStorage=volatile\nRateLimitBurst=0\n")
        if boot:
            other = directory / "boot_id"
            other.write_text(f"{uuid.UUID(boot)}\n")
        script = directory / "namespace.sh"
        script.write_text(_NAMESPACE)
        self.child = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", str(script),
             str(self.directory), str(config), str(other) if boot else ""],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._inside = ["nsenter", "--mount", f"--target={self.child.pid}"]
        # What is sent before it listens is dropped without a word.
        poll(self._there, "journald")
        if boot:
            place = "/proc/sys/kernel/random/boot_id"
            subprocess.run([*self._inside, "umount", place], check=True, timeout=20)
        self.reading = [*self._inside, "journalctl"]

    def _there(self):
        self._say("", "journald is there")
        return "journald is there" in self.text()

    def _say(self, unit, text):
        fields = f"MESSAGE={text}\nSYSLOG_IDENTIFIER=postfix/smtp\n"
        if unit:
            fields += f"OBJECT_SYSTEMD_UNIT={unit}\n"
        return subprocess.run(
            [*self._inside, "logger", "--journald"],
            input=fields.encode(),
            check=False,
            timeout=20,
            stderr=subprocess.DEVNULL,
        ).returncode

    def write(self, *texts, unit="postfix@-.service"):
        for text in texts:
            assert self._say(unit, text) == 0

    def text(self):
        command = ["journalctl", f"--directory={self.directory}", "--output=cat"]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=20
        ).stdout

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        self.child.wait(20)


@pytest.fixture(params=["", "0123456789abcdef" * 2], ids=["this boot", "another"])
def journal(tmp_path, request):
    needs.root("journald in a namespace of its own")
    if not _JOURNALD.exists() or not shutil.which("journalctl"):
        needs.impossible("systemd-journald is not installed")
    needs.mount_namespace()
    made = Journal(tmp_path, request.param)
    try:
        yield made
    finally:
        made.stop()


class Following:
    def __init__(self, command, place, units=("postfix@-.service",), **more):
        self.follower = JournalFollower(units, place, command=command, **more)
        self.lines, self.learned = [], []
        self.stop = asyncio.Event()

    async def take(self, line):
        self.lines.append(line.partition("]: ")[2])

    def learn(self, line):
        self.learned.append(line.partition("]: ")[2])

    async def __aenter__(self):
        self.task = asyncio.create_task(
            self.follower.run(self.take, self.stop, self.learn)
        )
        return self

    async def __aexit__(self, *_):
        self.stop.set()
        await asyncio.wait_for(self.task, 20)

    async def wait_for(self, *lines):
        await poll_async(lambda: self.lines == list(lines), f"{lines}", 20)


async def _until_it_follows(following, journal):
    """Write marks until one comes: then the child is there."""

    async def mark():
        await asyncio.to_thread(journal.write, "mark")
        return "mark" in following.lines

    for _ in range(100):
        if await mark():
            break
        await asyncio.sleep(0.2)
    await asyncio.sleep(0.5)
    following.lines.clear()


async def test_a_real_journal_over_restarts(journal, tmp_path):
    command = journal.reading
    place = tmp_path / "cursor"
    await asyncio.to_thread(journal.write, "long ago")
    await poll_async(lambda: "long ago" in journal.text(), "first entry")
    async with Following(command, place) as following:
        await _until_it_follows(following, journal)
        await asyncio.to_thread(journal.write, "ABCDEF1: one", "ABCDEF1: two")
        await asyncio.to_thread(journal.write, "of another", unit="ssh.service")
        await following.wait_for("ABCDEF1: one", "ABCDEF1: two")
        assert following.learned[0] == "long ago"
    await asyncio.to_thread(journal.write, "ABCDEF1: three")
    async with Following(command, place) as following:
        await following.wait_for("ABCDEF1: three")
        assert following.learned[0] == "long ago"
        assert following.learned[-2:] == ["ABCDEF1: one", "ABCDEF1: two"]
        assert following.follower.last_line is not None


FAKE = """\
#!/bin/sh
echo "$@" >> "$0.calls"
case "$*" in *--reverse*) exit 0;; esac
number=$(grep -c follow "$0.calls")
echo '{no json'
echo '{"__CURSOR":"c'$number'","__REALTIME_TIMESTAMP":"1795608000000000","MESSAGE":"line '$number'"}'
[ $number -lt 3 ] && { echo "no more space" >&2; exit 1; }
exec sleep 100
"""  # noqa: E501 - one line of JSON


async def test_a_child_that_ends_is_started_again_behind_the_cursor(tmp_path, caplog):
    fake = tmp_path / "journalctl"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    pauses, failed = [], []

    async def sleep(seconds):
        pauses.append(seconds)

    following = Following([str(fake)], tmp_path / "cursor", sleep=sleep)
    plain = following.take

    async def take(line):
        if line.endswith("line 2") and not failed:
            failed.append(line)
            raise StateUnavailableError("no Redis")
        await plain(line)

    following.take = take
    async with following:
        await following.wait_for("line 1", "line 2", "line 3")
    calls = Path(f"{fake}.calls").read_text().splitlines()
    assert "--lines=0" in calls[1]
    assert "--after-cursor=c1" in calls[2]
    assert "--after-cursor=c2" in calls[3]
    assert (tmp_path / "cursor").read_text() == "c3"
    assert "no more space" in caplog.text
    assert pauses == [1.0, 10.0, 1.0]


async def test_without_journalctl_it_is_told_and_tried_again(tmp_path, caplog):
    pauses, stop = [], asyncio.Event()

    async def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 9:
            stop.set()

    async def take(_line):
        raise AssertionError

    missing = str(tmp_path / "none")
    follower = JournalFollower(
        ["x"], tmp_path / "cursor", command=[missing], sleep=sleep
    )
    await follower.run(take, stop)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert caplog.text.count("must be in the group") == 1

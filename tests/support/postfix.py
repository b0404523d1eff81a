"""A private, real Postfix: own configuration, queue, log and master process.

    with Postfix(relay=hop.port, main={"content_filter": f"scan:[127.0.0.1]:{port}"},
                 master=["scan unix - - n - 10 smtp -o smtp_send_xforward_command=yes"],
                 ) as postfix:
        await submit(postfix.submission_port, account=ALICE)
        postfix.sendmail()                    # the way of PHP and cron
        postfix.queue(); postfix.log()

Nothing of a Postfix that serves the machine is read or touched: every command
gets our configuration directory. Needs root, since master starts its children
as the user postfix. Logs through postlogd into a file, so no syslog is needed
(MAILLOG_README).

Two listeners: `smtp_port` takes mail from loopback as a relay would,
`submission_port` takes it only after a login (see `dovecot_auth`). Everything
is relayed to 127.0.0.1:``relay``; nothing is delivered here.
"""

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from tests.support import needs
from tests.support.dovecot_auth import DovecotAuth
from tests.support.submit import ALICE, BOB, MESSAGE, Account
from tests.support.waiting import poll, poll_async

_DAEMONS = Path("/usr/lib/postfix/sbin")

# What every instance has: the parts of Postfix that relaying needs, unchrooted.
_MASTER = """\
127.0.0.1:{smtp} inet n - n - - smtpd
127.0.0.1:{submission} inet n - n - - smtpd
  -o syslog_name=postfix/submission
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def grow_old(config: Path) -> None:
    """Date main.cf back: what reads it waits until it is older than a second."""
    then = time.time() - 60
    os.utime(config / "main.cf", (then, then))


class Postfix:
    """One Postfix instance; everything it wrote vanishes when the context ends."""

    def __init__(
        self,
        *,
        relay: int,
        main: Mapping[str, str] | None = None,
        master: Iterable[str] = (),
        accounts: Iterable[Account] = (ALICE, BOB),
    ) -> None:
        """Prepare an instance that relays to 127.0.0.1:``relay``.

        ``main`` adds or replaces main.cf parameters, ``master`` adds master.cf
        lines (a continuation line begins with a blank, as in the file).
        """
        if not (_DAEMONS / "master").exists():
            needs.unavailable("Postfix is not installed: make setup-test")
        needs.root("Postfix' master starts its daemons as the user postfix")
        self.smtp_port = needs.free_port()
        self.submission_port = needs.free_port()
        # Not pytest's tmp_path: daemons of another user must reach it.
        self.directory = Path(tempfile.mkdtemp(prefix="postfix-", dir="/tmp"))
        self.directory.chmod(0o755)
        self.config = self.directory / "etc"
        self._maillog = self.directory / "maillog"
        self._auth = DovecotAuth(self.directory / "auth", accounts)
        self._child: subprocess.Popen[bytes] | None = None
        self._write(relay, main or {}, master)

    def _write(
        self, relay: int, main: Mapping[str, str], master: Iterable[str]
    ) -> None:
        owner = pwd.getpwnam("postfix")
        data, queue = self.directory / "data", self.directory / "queue"
        for directory in (self.config, data, queue):
            directory.mkdir()
        shutil.chown(data, owner.pw_uid, owner.pw_gid)
        parameters = {
            "compatibility_level": "3.6",
            "queue_directory": str(queue),
            "data_directory": str(data),
            "daemon_directory": str(_DAEMONS),
            "command_directory": "/usr/sbin",
            "meta_directory": "/etc/postfix",
            "shlib_directory": "/usr/lib/postfix",
            "mail_owner": "postfix",
            "setgid_group": "postdrop",
            "maillog_file": str(self._maillog),
            "maillog_file_prefixes": str(self.directory),
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "myhostname": "mta.example.test",
            "myorigin": "example.test",
            "mydestination": "",
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "",
            "mynetworks": "127.0.0.0/8",
            "relayhost": f"[127.0.0.1]:{relay}",
            # No name server is asked: the tests run without a network.
            "smtp_dns_support_level": "disabled",
            "smtp_host_lookup": "native",
            "smtpd_peername_lookup": "no",
            "smtpd_relay_restrictions": "permit_mynetworks,reject",
            "smtpd_sasl_type": "dovecot",
            "smtpd_sasl_path": str(self._auth.path),
            "enable_long_queue_ids": "yes",
            # An idle daemon ends soon, and the queue is looked at often.
            "max_idle": "10s",
            "queue_run_delay": "2s",
            "minimal_backoff_time": "2s",
            "maximal_backoff_time": "4s",
        } | dict(main)
        lines = [f"{name} = {value}\n" for name, value in parameters.items()]
        (self.config / "main.cf").write_text("".join(lines))
        services = _MASTER.format(smtp=self.smtp_port, submission=self.submission_port)
        extra = "".join(f"{line}\n" for line in master)
        (self.config / "master.cf").write_text(services + extra)

    def start(self) -> None:
        """Make the queue directories, start master, return when it listens."""
        self.command("postfix", "check")
        grow_old(self.config)
        self._child = subprocess.Popen(
            [str(_DAEMONS / "master"), "-c", str(self.config), "-d"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # master ends its whole process group, which must not be ours.
            start_new_session=True,
        )
        poll(self._ready, "start of Postfix")

    def _ready(self) -> bool:
        if self._child is not None and self._child.poll() is not None:
            raise RuntimeError(f"Postfix did not start:\n{self.log()}")
        return "daemon started" in self.log()

    def stop(self) -> None:
        """End master and its children, by process id."""
        if self._child is None:
            return
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(10)
        self._child = None

    def reload(self) -> None:
        """Read changed files again, as `postfix reload` does."""
        self.command("postfix", "reload")

    def sendmail(
        self,
        message: bytes = MESSAGE,
        *,
        sender: str = "www@example.test",
        recipients: Iterable[str] = ("bob@example.net",),
    ) -> None:
        """Hand in mail locally, as PHP's mail() does; it comes from root's user id."""
        unix_lines = message.replace(b"\r\n", b"\n")
        run = [
            "sendmail",
            "-C",
            str(self.config),
            "-i",
            "-f",
            sender,
            "--",
            *recipients,
        ]
        subprocess.run(run, input=unix_lines, check=True, timeout=30, env=self._env())

    def queue(self) -> list[dict[str, Any]]:
        """What `postqueue -j` prints: one record per queued message."""
        return [
            json.loads(line) for line in self.command("postqueue", "-j").splitlines()
        ]

    def postsuper(self, *arguments: str) -> str:
        """Hold (-h), release (-H), delete (-d), requeue (-r) by queue id."""
        return self.command("postsuper", *arguments)

    def flush(self) -> None:
        """Try everything deferred now."""
        self.command("postqueue", "-f")

    def log(self) -> str:
        """Return the mail log so far."""
        with contextlib.suppress(FileNotFoundError):
            return self._maillog.read_text(errors="replace")
        return ""

    async def wait_for_log(self, words: str, within: float = 15.0) -> str:
        """Return the first log line that contains ``words``, once it is there."""

        def look() -> str:
            return next((one for one in self.log().splitlines() if words in one), "")

        return await poll_async(look, f"log line with {words!r}", within)

    def command(self, name: str, *arguments: str) -> str:
        """Run a Postfix command on this instance; return what it printed.

        Raises CalledProcessError, its words in the note, if it fails.
        """
        grow_old(self.config)
        run = subprocess.run(
            [name, "-c", str(self.config), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env=self._env(),
        )
        if run.returncode:
            error = subprocess.CalledProcessError(run.returncode, run.args)
            error.add_note(run.stderr + self.log()[-2000:])
            raise error
        return run.stdout

    def _env(self) -> dict[str, str]:
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}

    def __enter__(self) -> Self:
        self._auth.__enter__()
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._auth.__exit__()
        shutil.rmtree(self.directory, ignore_errors=True)

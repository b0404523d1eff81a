"""A real Exim in Debian's own configuration, in a root directory of its own.

    with DebianExim(world=hop.port) as exim, Daemon(exim.back_port) as daemon:
        exim.supply(daemon.port)
        exim.shell("cp -r /usr/share/mailshaper/exim/conf.d /etc/exim4/; ...")
        exim.start()
        await submit(exim.port, account=ALICE)
        exim.sendmail(MESSAGE, user="www-data", where="/var/www/shop")

Debian's files (exim4-config, exim4-base, exim4-daemon-light as `make setup-test`
unpacks them) stand at their own places in a tree into which every command changes its
root, beside copies of what is essential to Debian: `update-exim4.conf`, the set-uid
binary, `/var/log/exim4` and the users are those of a Debian host, and the host of the
test sees nothing. No mount is needed, so a container will do. `supply` puts
``conf/exim`` where the package would, and `shell` runs the commands of the guide. The
network is the test's, so ports are other ones than those shipped; mail for the world
goes to a smarthost, 127.0.0.1:``world``.
"""

import asyncio
import contextlib
import functools
import hashlib
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from tests.support import needs, snippets
from tests.support.ending import end
from tests.support.submit import ALICE, BOB, MESSAGE
from tests.support.waiting import poll, poll_async

_EXIM_UID = 101
_USERS = {
    "root": 0,
    "www-data": 33,
    "Debian-exim": _EXIM_UID,
    "mail": 8,
    "uucp": 10,
    "carol": 1001,
}
_DEVICES = {"null": 3, "zero": 5, "random": 8, "urandom": 9}
_MACROS = """\
AUTH_SERVER_ALLOW_NOTLS_PASSWORDS = 1
MAIN_HARDCODE_PRIMARY_HOSTNAME = mta.example.test
MAIN_HOST_LOOKUP =
tls_advertise_hosts =
"""
_SETTINGS = """\
dc_eximconfig_configtype='{kind}'
dc_other_hostnames='mta.example.test'
dc_local_interfaces='127.0.0.1.{port} ; 127.0.0.1.{back}'
dc_readhost=''
dc_relay_domains='relayed.example.test'
dc_minimaldns='false'
dc_relay_nets=''
dc_smarthost='127.0.0.1::{world}'
CFILEMODE='644'
dc_use_split_config='{split}'
dc_hide_mailname=''
dc_mailname_in_oh='true'
dc_localdelivery='mail_spool'
"""


class DebianExim:
    """One Exim daemon; everything it wrote vanishes when the context ends."""

    def __init__(
        self, *, world: int, split: bool = True, kind: str = "smarthost"
    ) -> None:
        """Lay out a Debian host that knows nothing of mailshaper.

        ``split`` is dc_use_split_config, ``kind`` dc_eximconfig_configtype.
        """
        package = needs.unpacked("exim/usr/sbin/update-exim4.conf").parents[2]
        needs.root("Exim's deliveries change user, and its root is changed")
        needs.devices()
        self.port = needs.free_port()
        self.back_port = needs.free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="exim-", dir="/tmp"))
        self.directory.chmod(0o755)
        self.log_file = self.directory / "var/log/exim4/mainlog"
        self._child: subprocess.Popen[bytes] | None = None
        try:
            self._lay_out(package)
            self._configure(world, kind=kind, split=split)
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise

    def _lay_out(self, package: Path) -> None:
        root = self.directory
        shutil.copytree(package / "etc", root / "etc")
        for name in ("dev", "proc", "tmp", "root", "var/mail", "var/www/shop"):
            (root / name).mkdir(parents=True)
        for name, minor in _DEVICES.items():
            os.mknod(root / "dev" / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
            (root / "dev" / name).chmod(0o666)
        shutil.copytree(package / "usr/sbin", root / "usr/sbin", symlinks=True)
        (root / "usr/sbin/exim4").chmod(0o4755)  # what copying leaves out
        for name in ("bin", "sbin", "lib", "lib64"):
            (root / name).symlink_to(f"usr/{name}")
        for path in (*_essential(), *_libraries(package / "usr/sbin/exim4")):
            copy = root / "usr" / path.removeprefix("/usr").removeprefix("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
        (root / "tmp").chmod(0o1777)
        for name in ("var/spool/exim4", "var/log/exim4", "var/lib/exim4", "run/exim4"):
            (root / name).mkdir(parents=True)
            os.chown(root / name, _EXIM_UID, _EXIM_UID)
        # A daemon that finds no log at its start looks again only ten seconds later.
        self.log_file.touch()
        os.chown(self.log_file, _EXIM_UID, _EXIM_UID)
        etc = root / "etc"
        # libraries beside /usr/lib: what the loader of this host knows
        with contextlib.suppress(FileNotFoundError):
            shutil.copy("/etc/ld.so.cache", etc)
        lines = [f"{n}:x:{i}:{i}::/var/mail:/bin/sh\n" for n, i in _USERS.items()]
        (etc / "passwd").write_text("".join(lines))
        lines = [f"{n}:x:{i}:\n" for n, i in _USERS.items()]
        (etc / "group").write_text("".join(lines))
        (etc / "nsswitch.conf").write_text(
            "passwd: files\ngroup: files\nhosts: files\n"
        )
        (etc / "hosts").write_text("127.0.0.1 localhost\n127.0.1.1 mta.example.test\n")
        (etc / "services").write_text("smtp 25/tcp\nsubmissions 465/tcp\n")
        (etc / "mailname").write_text("mta.example.test\n")
        (etc / "aliases").write_text("elsewhere: ann@example.org\n")

    def _configure(self, world: int, *, kind: str, split: bool) -> None:
        exim = self.directory / "etc/exim4"
        settings = _SETTINGS.format(
            kind=kind,
            port=self.port,
            back=self.back_port,
            world=world,
            split=str(split).lower(),
        )
        (exim / "update-exim4.conf.conf").write_text(settings)
        macros = "conf.d/main/000_localmacros" if split else "exim4.conf.localmacros"
        (exim / macros).write_text(_MACROS)
        template = exim / "exim4.conf.template"
        examples = exim / "conf.d/auth/30_exim4-config_examples"
        _uncomment(examples if split else template)
        # The smarthost of a test is this host.
        router = exim / "conf.d/router/200_exim4-config_primary" if split else template
        line = "  route_list = * DCsmarthost byname\n"
        text = router.read_text()
        assert line in text
        router.write_text(text.replace(line, line + "  self = send\n"))
        lines = [f"{a.login}:{_digest(a.password)}\n" for a in (ALICE, BOB)]
        (exim / "passwd").write_text("".join(lines))

    def supply(self, shaper: int) -> None:
        """Put mailshaper's files into /usr/share, with the ports of this test."""
        self._supply("exim", "01_mailshaper", {"10025": shaper})

    def supply_policy(self, policy: int) -> None:
        """Do the same for placement policy; ``policy`` is the port that is asked."""
        self._supply("exim-policy", "01_mailshaper_policy", {"10027": policy})

    def _supply(self, name: str, file: str, ports: dict[str, int]) -> None:
        ours = self.directory / "usr/share/mailshaper" / name
        shutil.copytree(snippets.CONF / name, ours)
        main = ours / "conf.d/main" / file
        text = main.read_text()
        for shipped, port in (ports | {"10026": self.back_port}).items():
            text, count = re.subn(
                rf"( = (?:inet:127\.0\.0\.1:)?){shipped}\n", rf"\g<1>{port}\n", text
            )
            assert count == 1
        main.write_text(text)

    def wrapper(self, path: Path) -> Path:
        """Write a program at ``path`` that runs this host's exim4; return it."""
        words = shlex.join(self.inside("/usr/sbin/exim4"))
        path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        path.chmod(0o755)
        return path

    # -- commands of the host -------------------------------------------------------

    def shell(self, script: str) -> str:
        """Run a shell script as root on this Debian host; return what it prints.

        There is no init: ``systemctl`` is a command that does nothing.
        """
        return self.run("/bin/sh", "-ec", "systemctl() { :; }\n" + script)

    def run(self, *command: str, given: bytes = b"", check: bool = True) -> str:
        """Run one command on this host, its standard input ``given``."""
        run = subprocess.run(
            self.inside(*command),
            input=given,
            capture_output=True,
            check=False,
            timeout=60,
        )
        if check and run.returncode:
            error = subprocess.CalledProcessError(run.returncode, command)
            words = (run.stdout + run.stderr).decode(errors="replace")
            error.add_note(words + self.log()[-2000:])
            raise error
        return run.stdout.decode(errors="replace")

    def inside(self, *command: str) -> list[str]:
        """Return how the test runs a command of this host."""
        return ["chroot", str(self.directory), *command]

    def route(self, address: str) -> str:
        """Return what ``exim4 -bt`` says of an address."""
        return self.run("/usr/sbin/exim4", "-bt", address, check=False)

    def sendmail(
        self,
        message: bytes = MESSAGE,
        *,
        user: str = "www-data",
        where: str = "/",
        recipients: Iterable[str] = ("bob@example.net",),
    ) -> None:
        """Hand in mail with /usr/sbin/sendmail, as PHP and cron of ``user`` do."""
        uid = str(_USERS[user])
        self.run(
            *("/usr/bin/setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"),
            *("/bin/sh", "-c", 'cd "$1"; shift; exec "$@"', "sh", where),
            *("/usr/sbin/sendmail", "-i", "--", *recipients),
            given=message.replace(b"\r\n", b"\n"),
        )

    def queue(self) -> list[str]:
        """Ids of the messages in the queue, frozen ones too."""
        spool = self.directory / "var/spool/exim4/input"
        return sorted(one.name.removesuffix("-H") for one in spool.rglob("*-H"))

    async def run_queue(self, how: str = "-qff") -> None:
        """Run the queue once and wait for its end; ``-q``: as the daemon does."""
        await asyncio.to_thread(self.run, "/usr/sbin/exim4", how)

    def log(self) -> str:
        """Return the main, reject and panic logs so far."""
        logs = sorted(self.log_file.parent.glob("*log"))
        return "".join(one.read_text(errors="replace") for one in logs)

    async def wait_for_log(self, words: str, within: float = 15.0) -> str:
        """Return the first log line that contains ``words``, once it is there."""

        def look() -> str:
            return next((one for one in self.log().splitlines() if words in one), "")

        return await poll_async(look, f"log line with {words!r}", within)

    # -- its life -------------------------------------------------------------------

    def start(self) -> None:
        """Start the daemon on what update-exim4.conf wrote; return when it listens."""
        errors = self.directory / "stderr"
        with errors.open("wb") as sink:
            self._child = subprocess.Popen(
                self.inside("/usr/sbin/exim4", "-bdf"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=sink,
                start_new_session=True,
            )

        def ready() -> bool:
            if self._child is not None and self._child.poll() is not None:
                words = errors.read_text(errors="replace")
                raise RuntimeError(f"Exim did not start: {words}{self.log()}")
            return "daemon started" in self.log() and self._hears()

        poll(ready, "start of Exim")

    def reload(self) -> None:
        """Have the daemon read its configuration again, as ``systemctl reload``."""
        if self._child is None:
            raise RuntimeError("this Exim is not running")
        begun = self.log().count("daemon started")
        self._child.send_signal(signal.SIGHUP)
        # A signal that comes just before Exim goes to sleep is heeded at its next
        # event: knock.
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 5).close()

        def ready() -> bool:
            return self.log().count("daemon started") > begun and self._hears()

        poll(ready, "reload of Exim")

    def _hears(self) -> bool:
        """Whether SIGHUP is caught: until then, shortly after the log, it kills."""
        if self._child is None:
            return False
        status = Path(f"/proc/{self._child.pid}/status").read_text()
        caught = re.search(r"(?m)^SigCgt:\s*([0-9a-f]+)$", status)
        return caught is not None and bool(int(caught[1], 16) & 1)

    def stop(self) -> None:
        """End the daemon and the deliveries it started: its own process group."""
        if self._child is None:
            return
        # A delivery still running would write into a directory that is going.
        end(self._child, group=True)
        self._child = None

    def remove(self) -> None:
        """Stop, and delete the tree."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


@functools.cache
def _essential() -> list[str]:
    """Return programs and libraries of the packages without which Debian is none."""
    packages = _lines("dpkg-query", "-Wf", "${Essential} ${Package}\n")
    names = [one.split()[1] for one in packages if one.startswith("yes ")]
    files = [
        path
        for path in _lines("dpkg", "-L", *names)
        if re.match(r"(/usr)?/(bin|lib|lib64)/", path) and Path(path).is_file()
    ]
    # "sh" may be a diversion, "awk" an alternative: no package lists these.
    return [*files, "/bin/sh", "/usr/bin/awk", *_libraries(*map(Path, files))]


@functools.cache
def _libraries(*programs: Path) -> list[str]:
    """Return the shared libraries, the loader too, that these load."""
    words = " ".join(_lines("ldd", *map(str, programs))).split()
    return sorted({one for one in words if re.fullmatch(r"/lib\S*[^:]", one)})


def _lines(*command: str) -> list[str]:
    # ldd ends with 1 for scripts among the programs
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    return run.stdout.splitlines()


def _digest(password: str) -> str:
    """Return what Exim's crypteq takes without a salt."""
    digest = hashlib.sha1(password.encode(), usedforsecurity=False)
    return "{sha1}" + digest.hexdigest()


def _uncomment(path: Path) -> None:
    """Switch Debian's example authenticator plain_server on, as its users do."""
    text = path.read_text()
    found = re.search(r"(?m)^# plain_server:\n(?:#.*\n)+?#   \.endif\n", text)
    if found is None:
        raise ValueError(f"{path} has no example plain_server")
    block = re.sub(r"(?m)^# ?", "", found[0])
    path.write_text(text[: found.start()] + block + text[found.end() :])

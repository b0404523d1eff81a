"""A private, real Exim from the package unpacked in .cache/exim.

    with Exim(relay=shaper.port, back=injection_port,
              transport="headers_add = X-Shaper-Login: $authenticated_id") as exim:
        await submit(exim.port, account=ALICE)

One configuration file, own spool, own log. Mail that comes in on `port` goes to
127.0.0.1:``relay`` through the transport named "hop"; mail that comes in on
`back_port` (the shaper's re-injection) goes to 127.0.0.1:``back``, if given, so
that it does not loop. AUTH PLAIN is Exim's own. Needs root: Exim's deliveries
change user.

Debian's split configuration is not used; what runs here is Debian's binary. It
does not trust our configuration file's place, so the process that delivers runs
as Debian-exim ("lost privilege" in the log); SMTP deliveries do not mind.
"""

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from tests.support import needs
from tests.support.ending import end
from tests.support.submit import ALICE, BOB, MESSAGE, Account
from tests.support.waiting import poll, poll_async

_CONFIGURATION = """\
exim_path = {binary}
spool_directory = {directory}/spool
log_file_path = {directory}/log/%slog
pid_file_path = {directory}/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port} : {back_port}
primary_hostname = mta.example.test
qualify_domain = example.test
# No name server, no ident: the tests run without a network.
dns_ipv4_lookup =
host_lookup =
rfc1413_hosts =
rfc1413_query_timeout = 0s
keep_environment =
never_users =
log_selector = +smtp_connection +received_recipients
# Debian's build asks for TLS certificates of its own otherwise.
tls_advertise_hosts =
acl_smtp_mail = acl_mail
acl_smtp_rcpt = acl_rcpt
acl_smtp_data = acl_data
acl_not_smtp = acl_local
{main}

begin acl
acl_mail:
{acl_mail}
  accept
acl_rcpt:
  accept condition = ${{if eq{{$received_port}}{{{back_port}}}}}
  accept authenticated = *
  deny message = log in first
acl_data:
{acl_data}
  accept
acl_local:
{acl_local}
  accept

begin routers
{routers}
to_hop:
  driver = manualroute
  condition = ${{if !eq{{$received_port}}{{{back_port}}}}}
  domains = *
  route_list = * 127.0.0.1
  self = send
  transport = hop
to_world:
  driver = manualroute
  domains = *
  route_list = * 127.0.0.1
  self = send
  transport = world

begin transports
hop:
  driver = smtp
  port = {relay}
  hosts_try_chunking =
{transport}
world:
  driver = smtp
  port = {back}
  hosts_try_chunking =

begin retry
* * F,1h,2s

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if eq{{$auth3}}{{${{lookup{{$auth2}}lsearch{{{passwords}}}}}}}}}
  server_set_id = $auth2
"""


class Exim:
    """One Exim daemon; everything it wrote vanishes when the context ends."""

    def __init__(  # noqa: PLR0913 - one per section of the configuration file
        self,
        *,
        relay: int,
        back: int | None = None,
        main: str = "",
        routers: str = "",
        transport: str = "",
        acl_mail: str = "",
        acl_data: str = "",
        acl_local: str = "",
        accounts: Iterable[Account] = (ALICE, BOB),
    ) -> None:
        """Prepare a daemon; every text goes into its section as it stands.

        ``main``: main options. ``routers``: routers asked before ours.
        ``transport``: options of the transport towards the hop. ``acl_*``:
        statements before the final accept. ``back``: port of the next hop for
        re-injected mail (default: ``relay``).
        """
        self._binary = str(needs.unpacked("exim/usr/sbin/exim4"))
        needs.root("Exim's deliveries change user")
        self.port = needs.free_port()
        self.back_port = needs.free_port()
        # Not pytest's tmp_path: the user Debian-exim must reach it.
        self.directory = Path(tempfile.mkdtemp(prefix="exim-", dir="/tmp"))
        self.directory.chmod(0o755)
        self.config = self.directory / "exim.conf"
        self._child: subprocess.Popen[bytes] | None = None
        passwords = self.directory / "passwords"
        passwords.write_text("".join(f"{a.login}: {a.password}\n" for a in accounts))
        try:
            owner = pwd.getpwnam("Debian-exim")
        except KeyError:
            needs.unavailable("there is no user Debian-exim: make setup-test")
        for name in ("spool", "log"):
            (self.directory / name).mkdir()
            os.chown(self.directory / name, owner.pw_uid, owner.pw_gid)
        self.config.write_text(
            _CONFIGURATION.format(
                binary=self._binary,
                directory=self.directory,
                port=self.port,
                back_port=self.back_port,
                relay=relay,
                back=back or relay,
                main=main,
                routers=routers,
                transport=_indented(transport),
                acl_mail=_indented(acl_mail),
                acl_data=_indented(acl_data),
                acl_local=_indented(acl_local),
                passwords=passwords,
            )
        )

    def start(self) -> None:
        """Start the daemon; return when it listens.

        It delivers what comes in, and tries again only on `run_queue`: a queue
        runner of its own would race with the test that looks at the queue.
        """
        errors = self.directory / "stderr"
        with errors.open("wb") as sink:
            self._child = subprocess.Popen(
                [self._binary, "-C", str(self.config), "-bdf"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=sink,
                start_new_session=True,
            )
        poll(self._ready, "start of Exim")

    def _ready(self) -> bool:
        if self._child is not None and self._child.poll() is not None:
            words = (self.directory / "stderr").read_text(errors="replace")
            raise RuntimeError(f"Exim did not start: {words}{self.log()}")
        return "daemon started" in self.log()

    def stop(self) -> None:
        """End the daemon and the deliveries it started: its own process group."""
        if self._child is None:
            return
        # A delivery still running would write into a directory that is going.
        end(self._child, group=True)
        self._child = None

    def sendmail(
        self,
        message: bytes = MESSAGE,
        *,
        sender: str | None = None,
        recipients: Iterable[str] = ("bob@example.net",),
    ) -> None:
        """Hand in mail locally, as PHP's mail() does; it comes from root.

        ``sender`` is given with -f, which Exim obeys from a trusted user such as
        root; the message then has no $authenticated_id.
        """
        unix_lines = message.replace(b"\r\n", b"\n")
        envelope = ["-f", sender] if sender else []
        self._run("-i", *envelope, "--", *recipients, given=unix_lines)

    def queue(self) -> list[str]:
        """Ids of the messages in the queue, frozen ones too."""
        spool = self.directory / "spool" / "input"
        return sorted(one.name.removesuffix("-H") for one in spool.rglob("*-H"))

    async def run_queue(self) -> None:
        """Try everything in the queue now, retry times or not; wait for the end.

        In a thread: the next hop it talks to lives in the caller's loop.
        """
        await asyncio.to_thread(self._run, "-qff")

    def log(self) -> str:
        """Return the main, reject and panic logs so far."""
        logs = sorted((self.directory / "log").glob("*log"))
        return "".join(one.read_text(errors="replace") for one in logs)

    async def wait_for_log(self, words: str, within: float = 15.0) -> str:
        """Return the first log line that contains ``words``, once it is there."""

        def look() -> str:
            return next((one for one in self.log().splitlines() if words in one), "")

        return await poll_async(look, f"log line with {words!r}", within)

    def _run(self, *arguments: str, given: bytes = b"") -> str:
        run = subprocess.run(
            [self._binary, "-C", str(self.config), *arguments],
            input=given,
            capture_output=True,
            check=False,
            timeout=60,
        )
        if run.returncode:
            error = subprocess.CalledProcessError(run.returncode, run.args)
            error.add_note(run.stderr.decode(errors="replace") + self.log()[-2000:])
            raise error
        return run.stdout.decode()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def _indented(lines: str) -> str:
    return "\n".join(f"  {line}" for line in lines.splitlines())

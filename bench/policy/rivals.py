"""Decisions of whole policy daemons: `python -m bench.policy.rivals`.

Our daemon (placement "policy", with its own Redis, observing) beside what Debian
ships for limiting senders: policyd-rate-limit with SQLite, and postfwd's both forms
with a rate() rule. Each gets its own package's defaults and limits that are never
reached; the same client asks all of them about the same messages of 20 senders over 20
connections, in turn inside each round. The packages are unpacked, not installed:
`apt-get download`, `dpkg-deb -x`.

A message is what each needs to be asked: ours RCPT and END-OF-MESSAGE, the others RCPT.
The rivals count; ours judges what is usual for the sender and remembers who got mail.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench.hop.processes import cpu_seconds, free_port, server, wait_for_port
from bench.policy.asking import messages
from tests.support.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONNECTIONS = 20
_PACKAGES = (
    "policyd-rate-limit",
    "python3-yaml",
    "libyaml-0-2",
    "postfwd",
    "libnet-server-perl",
    "libio-multiplex-perl",
    "libnet-dns-perl",
    "libnet-ip-perl",
    "libdigest-hmac-perl",
)
_RULE = (
    "id=M; sasl_username=~/./; action=rate(sasl_username/100000000/60/450 later)\n"
    "id=D; sasl_username=~/./; action=rate(sasl_username/100000000/86400/450 later)\n"
)
_YAML = """\
debug: false
user: root
group: root
pidfile: {place}/pid
sqlite_config: {{database: {place}/db.sqlite3}}
backend: 0
SOCKET: [127.0.0.1, {port}]
socket_permission: 0666
limits: [[100000000, 60], [100000000, 86400]]
limits_by_id: {{}}
limit_by_sasl: true
limit_by_sender: false
limit_by_ip: false
limited_networks: []
success_action: dunno
fail_action: defer_if_permit later
db_error_action: dunno
report: false
report_from: null
report_to: null
report_subject: report
report_limits: [86400]
report_only_if_needed: true
smtp_server: [localhost, 25]
smtp_starttls: false
smtp_credentials: null
delay_to_close: 300
"""


@contextmanager
def _ours() -> Iterator[tuple[int, int]]:
    settings: dict[str, dict[str, object]] = {
        "daemon": {"placement": "policy", "enforce": False},
        "policy": {"queue_helper": "/nowhere"},
    }
    with Daemon(free_port(), settings) as daemon:
        yield daemon.policy_port, daemon.pid
        if not daemon.state_of("login:user1@example.test"):
            raise RuntimeError("the daemon judged nothing")


@contextmanager
def _policyd(root: Path, place: Path) -> Iterator[tuple[int, int]]:
    port = free_port()
    config = place / "policyd.yaml"
    config.write_text(_YAML.format(place=place, port=port))
    modules = root / "usr/lib/python3/dist-packages"
    command = ["env", f"PYTHONPATH={modules}", "/usr/bin/python3"]
    program = [str(root / "usr/bin/policyd-rate-limit"), "-f", str(config)]
    with server([*command, *program], port) as pid:
        yield port, pid


@contextmanager
def _postfwd(root: Path, place: Path, form: int) -> Iterator[tuple[int, int]]:
    port = free_port()
    rules, pidfile = place / "rules", place / f"postfwd{form}.pid"
    rules.write_text(_RULE)
    modules = root / "usr/share/perl5"
    command = ["env", f"PERL5LIB={modules}", "perl", "-T", f"-I{modules}"]
    command += [str(root / f"usr/sbin/postfwd{form}"), "--daemon", "--file", str(rules)]
    command += ["--interface", "127.0.0.1", "--port", str(port), "--summary=600"]
    command += ["--user", "root", "--group", "root", "--pidfile", str(pidfile)]
    if form == 2:  # noqa: PLR2004 - sockets of its cache and master
        command += ["--cache_proto", "unix", "--cache_port", str(place / "cache")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=30)
    wait_for_port(port)
    pid = int(pidfile.read_text())
    try:
        yield port, pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
            time.sleep(0.05)


def _unpack(place: Path) -> Path:
    """Download and unpack the rivals once; return their root."""
    root = place / "root"
    if not root.exists():
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "-q", "download", *_PACKAGES], cwd=place, check=True)
        for deb in place.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", deb, root], check=True)
    return root


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path(".cache/policy-rivals"))
    arguments = parser.parse_args()
    count = arguments.messages // _CONNECTIONS * _CONNECTIONS
    root = _unpack(arguments.cache.resolve()).resolve()
    place = Path(tempfile.mkdtemp(prefix="rivals-", dir="/tmp"))
    rates: dict[str, list[tuple[float, float]]] = {}
    try:
        with ExitStack() as stack:
            candidates = {
                "mailshaper daemon": (stack.enter_context(_ours()), True),
                "policyd-rate-limit": (
                    stack.enter_context(_policyd(root, place)),
                    False,
                ),
                "postfwd1": (stack.enter_context(_postfwd(root, place, 1)), False),
                "postfwd2": (stack.enter_context(_postfwd(root, place, 2)), False),
            }
            numbers = itertools.count()
            for _ in range(arguments.rounds):
                for name, ((port, pid), both) in candidates.items():
                    before, first = cpu_seconds(pid), next(numbers) * count
                    load = messages(port, count, _CONNECTIONS, first, both=both)
                    taken = asyncio.run(load)
                    spent = cpu_seconds(pid) - before
                    rates.setdefault(name, []).append((count / taken, spent / count))
    finally:
        shutil.rmtree(place)
    print(
        f"{'':20} {'messages/s':>10} {'CPU s/1000':>11}   load {os.getloadavg()[0]:.1f}"
    )
    for name, found in rates.items():
        speed, spent = (median(column) for column in zip(*found, strict=True))
        print(f"{name:20} {speed:10.0f} {spent * 1000:11.3f}")


if __name__ == "__main__":
    main()

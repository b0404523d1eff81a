"""What every chapter of the story needs: commands, waiting, mail that arrives.

Ends the program with status 1, and the journal's last lines, at the first thing that
is not as it should be.
"""

# ruff: noqa: T201 - a story is told on the terminal

import json
import os
import pwd
import re
import smtplib
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

STATE = Path("/var/lib/mailshaper")
WAIT = 90.0  # seconds until something that should happen counts as failed


class NextHop(socketserver.StreamRequestHandler):
    """The least SMTP server (RFC 5321) that a relay can deliver to."""

    arrived: ClassVar[Counter] = Counter()
    bounced: ClassVar[Counter] = Counter()
    """To whom mail without a sender came (RFC 5321, 4.5.5)."""

    def handle(self):
        with suppress(OSError):  # who has its answer may be gone
            self.converse()

    def converse(self):
        self.wfile.write(b"220 mx.example ESMTP\r\n")
        sender = recipient = b""
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            path = re.search(rb"<(.*?)>", line)
            if verb == b"MAIL":
                sender = path[1]
            if verb == b"RCPT":
                recipient = path[1]
                if recipient.startswith(b"nobody"):
                    self.wfile.write(b"550 5.1.1 no such user\r\n")
                    continue
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                content = b"".join(iter(self.rfile.readline, b".\r\n"))
                name = re.search(rb"(?im)^Message-ID: <(.*)>", content)
                self.arrived[name[1].decode()] += 1
                if not sender:
                    self.bounced[recipient.decode()] += 1
            self.wfile.write(b"250 ok\r\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def hear():
    """Take mail on port 10026 for as long as the story lasts."""
    server = Server(("127.0.0.1", 10026), NextHop)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def say(text):
    print(f"== {text}", flush=True)


def fail(text):
    print(f"FAILED: {text}", flush=True)
    run("journalctl", "--no-pager", "-n", "40", check=False)
    sys.exit(1)


def expect(true, text):
    if not true:
        fail(text)
    print(f"   ok: {text}", flush=True)


def run(*words, check=True, **more):
    done = subprocess.run(words, text=True, capture_output=True, check=False, **more)
    for line in (done.stdout + done.stderr).splitlines():
        if not words[0].startswith("mailshaper"):
            print(f"   | {line}", flush=True)
    if check and done.returncode:
        fail(f"{' '.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def dpkg(*words, check=True):
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8")
    return run("dpkg", *words, check=check, env=environment)


def shaper(*words):
    return run("mailshaper", *words).stdout


def rows(*words):
    return [json.loads(line) for line in shaper(*words, "--json").splitlines()]


def until(true, text):
    end = time.monotonic() + WAIT
    while not true():
        if time.monotonic() > end:
            fail(f"{text} (waited {WAIT:g} s)")
        time.sleep(0.2)
    print(f"   ok: {text}", flush=True)


def active(unit="mailshaper"):
    return run_quiet("systemctl", "is-active", unit) == "active"


def run_quiet(*words):
    return subprocess.run(
        words, text=True, capture_output=True, check=False
    ).stdout.strip()


def shown(name, unit="mailshaper"):
    return run_quiet("systemctl", "show", "-P", name, unit)


def send(sender, recipients, first=0, port=10025):
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        for number, recipient in enumerate(recipients, first):
            name = f"{number}.{sender}"
            content = (
                f"Subject: Prize {number}\r\nMessage-ID: <{name}>\r\n\r\nHello\r\n"
            )
            client.sendmail(sender, [recipient], content)
            yield name


def held(state=STATE):
    return len(list((state / "spool" / "held").glob("*")))


def as_user(name, code):
    """Return what this Python prints, run by somebody who is not root."""
    who = pwd.getpwnam(name)
    return subprocess.run(
        [sys.executable, "-I", "-c", code],
        user=who.pw_uid,
        group=who.pw_gid,
        extra_groups=[],
        cwd="/",
        text=True,
        capture_output=True,
        check=False,
    )


def processes(unit):
    group = shown("ControlGroup", unit)
    for base in ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"):
        procs = Path(f"{base}{group}/cgroup.procs")
        if procs.exists() and (pids := procs.read_text().split()):
            return pids
    return []


def anybody_runs(text):
    """Whether a process has this in its command line."""
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = one.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended
        if text in words:
            return True
    return False


def confined(unit, worst, capabilities=0):
    """The unit's restrictions hold for each of its processes; return their names."""
    pids = processes(unit)
    expect(shown("MainPID", unit) in pids, f"processes of {unit}: {len(pids)}")
    names = set()
    for pid in pids:
        facts = dict(
            line.split(":", 1)
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        name = facts["Name"].strip()
        names.add(name)
        expect(
            facts["Seccomp"].strip() == "2"
            and facts["NoNewPrivs"].strip() == "1"
            and int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == capabilities,
            f"{name}: seccomp, no new privileges, capabilities {capabilities:#x}",
        )
        root = [
            fields[5].split(",")
            for fields in map(
                str.split, Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
            )
            if fields[4] == "/"
        ]
        expect(root and "ro" in root[-1], f"{name}: / is read-only")
    score = subprocess.run(
        ["systemd-analyze", "security", f"--threshold={worst}", unit],
        stdout=subprocess.DEVNULL,
        check=False,
    )
    expect(score.returncode == 0, f"systemd-analyze security: {worst / 10} at most")
    return names


def nothing_left():
    left = run_quiet(
        "find",
        "/etc",
        "/var/lib",
        "/usr",
        "/lib/systemd",
        "/run",
        "/var/log",
        "-xdev",
        "-iname",
        "*mailshaper*",
        "-not",
        "-path",
        "/var/lib/dpkg/*",
    )
    expect(left == "", f"no file is left {left}")
    expect("mailshaper" not in Path("/etc/passwd").read_text(), "nor the user")
    expect("mailshaper" not in Path("/etc/group").read_text(), "nor the group")
    words = ("list-units", "--state=active,activating", "--plain", "--no-legend")
    units = run_quiet("systemctl", *words, "mailshaper*")
    expect(units == "", f"nor does a unit run {units}")

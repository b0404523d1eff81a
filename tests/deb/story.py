"""The life of the package on one machine, told by root on a freshly booted Debian.

    story.py OLD.deb NEW.deb

Installs the older build, sends one mail through it, lets an account be slowed,
upgrades with its mail held, releases it, and removes and purges the package, with
and without held mail. systemd is the real one, and so are the unit's restrictions.
Standard library only: nothing of the package is imported. Ends with status 1 at
the first step that is not as it should be. `scripts/try-deb` makes the machine.
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
from pathlib import Path
from typing import ClassVar

STATE = Path("/var/lib/mailshaper")
SENDER = "from:thief@example.org"
MANY = 60  # strangers on the first day: more than the detector lets pass
ENOUGH = 5  # held messages, with which the story goes on
WAIT = 90.0  # seconds until something that should happen counts as failed


class NextHop(socketserver.StreamRequestHandler):
    """The least SMTP server (RFC 5321) that a relay can deliver to."""

    arrived: ClassVar[Counter] = Counter()

    def handle(self):
        self.wfile.write(b"220 mx.example ESMTP\r\n")
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                content = b"".join(iter(self.rfile.readline, b".\r\n"))
                name = re.search(rb"^Message-ID: <(.*)>", content, re.MULTILINE)
                self.arrived[name[1].decode()] += 1
            self.wfile.write(b"250 ok\r\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


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


def install(old):
    say("install, with systemd as process 1")
    dpkg("-i", old)
    until(active, "the service is active, so READY=1 came")
    expect(
        run("systemctl", "is-enabled", "mailshaper").returncode == 0, "it is enabled"
    )
    user = pwd.getpwnam("mailshaper")
    expect(user.pw_shell.endswith("nologin"), "a system user without a shell")
    mode = STATE.stat()
    expect(
        (mode.st_uid, mode.st_mode & 0o777) == (user.pw_uid, 0o700),
        f"{STATE} is private",
    )
    for page in ("1 mailshaper", "5 mailshaper.toml", "8 mailshaper-daemon"):
        section, name = page.split()
        path = Path(f"/usr/share/man/man{section}/{name}.{section}.gz")
        expect(path.exists(), f"{name}({section})")


def restrictions():
    say("the restrictions hold, for the daemon and for its Redis")
    tree = run_quiet("systemctl", "show", "-P", "MainPID", "mailshaper")
    group = shown("ControlGroup")
    pids = []
    for base in ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"):
        procs = Path(f"{base}{group}/cgroup.procs")
        if procs.exists():
            pids = procs.read_text().split()
            if pids:
                break
    expect(tree in pids and len(pids) >= 2, f"processes of the unit: {len(pids)}")
    names = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids}
    expect(
        any(n.startswith(("redis", "valkey")) for n in names), f"Redis is among {names}"
    )
    for pid in pids:
        facts = dict(
            line.split(":", 1)
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        expect(
            facts["Seccomp"].strip() == "2"
            and facts["NoNewPrivs"].strip() == "1"
            and set(facts["CapEff"].strip()) == set(facts["CapBnd"].strip()) == {"0"},
            f"{facts['Name'].strip()}: seccomp, no new privileges, no capability",
        )
        root = [
            fields[5].split(",")
            for fields in map(
                str.split, Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
            )
            if fields[4] == "/"
        ]
        expect(root and "ro" in root[-1], f"{facts['Name'].strip()}: / is read-only")
    score = subprocess.run(
        ["systemd-analyze", "security", "--threshold=15", "mailshaper"],
        stdout=subprocess.DEVNULL,
        check=False,
    )
    expect(score.returncode == 0, "systemd-analyze security: 1.5 at most")
    expect(shown("WatchdogUSec") not in ("", "0"), "watchdog on")


def autopkgtest():
    say("debian/tests/one-mail")
    run(str(Path(__file__).parents[2] / "debian" / "tests" / "one-mail"))


def one_mail():
    say("one mail passes")
    (name,) = send("ann@example.org", ["bob@example.net"])
    until(lambda: NextHop.arrived[name] == 1, "it arrived")
    return [name]


def slowed():
    say("an account writes to strangers until it is slowed")
    names = []
    for number in range(MANY):
        names += send("thief@example.org", [f"x@far{number}.example"], number)
        if held() >= ENOUGH:
            break
    expect(held() > 0, f"{held()} of {len(names)} messages are held")
    print(shaper("cases"))
    (case,) = [one for one in rows("cases") if SENDER in json.dumps(one)]
    expect("slowed" in json.dumps(case), f"{SENDER} is slowed")
    return names


def upgrade(new):
    say(f"upgrade with {held()} messages held")
    before, pid = held(), shown("MainPID")
    mine = Path("/etc/mailshaper/conf.d/90-mine.toml")
    mine.write_text('[notify]\nlanguage = "fr"\n')
    dpkg("-i", new)
    until(active, "the service is active again")
    expect(shown("MainPID") != pid, "another process")
    expect(
        0 <= before - held() <= 2,
        f"{held()} held, {before} before (the trickle goes on)",
    )
    expect(
        any(SENDER in json.dumps(c) for c in rows("cases")), "the case is still open"
    )
    expect(mine.exists(), "the administrator's file in conf.d is there")


def crash():
    say("killed by SIGKILL")
    before, pid = held(), shown("MainPID")
    run("systemctl", "kill", "--kill-who=main", "-s", "KILL", "mailshaper")
    until(
        lambda: active() and shown("MainPID") not in (pid, "0"),
        "systemd started it again",
    )
    expect(0 <= before - held() <= 2, f"{held()} of {before} still held")


def released(names):
    say("release")
    shaper("release", SENDER, "--reason", "story")
    until(lambda: held() == 0, "nothing is held")
    until(lambda: all(NextHop.arrived[n] for n in names), f"all {len(names)} arrived")
    expect(all(NextHop.arrived[n] == 1 for n in names), "each exactly once")


def wrong_configuration():
    say("a wrong configuration is not tried again and again")
    wrong = Path("/etc/mailshaper/conf.d/99-wrong.toml")
    wrong.write_text("[hop]\nlisten_on = 1\n")
    run("systemctl", "restart", "mailshaper", check=False)
    until(lambda: shown("ActiveState") == "failed", "failed")
    expect(shown("ExecMainStatus") == "78", "status 78")
    wrong.unlink()
    run("systemctl", "restart", "mailshaper")
    until(active, "mended, it runs")


def second_instance():
    say("a second instance")
    directory = Path("/etc/mailshaper/second")
    directory.mkdir()
    (directory / "mailshaper.toml").write_text(
        '[hop]\nlisten = ["127.0.0.1:11025"]\n[policy]\nlisten = []\n'
        '[metrics]\nlisten = ""\n'
    )
    run("systemctl", "enable", "--now", "mailshaper@second")
    until(lambda: active("mailshaper@second"), "active")
    (name,) = send("eve@example.org", ["bob@example.net"], 1, 11025)
    until(lambda: NextHop.arrived[name] == 1, "one mail passed it")
    status = shaper("--socket", "/run/mailshaper-second/admin.sock", "status")
    expect("second" in status, "it answers by its name")


def removal(new):
    say("remove and purge with held mail")
    list(send("thief2@example.org", [f"y{i}@near{i}.example" for i in range(MANY)]))
    until(lambda: held() > 0, "mail is held")
    done = dpkg("-r", "mailshaper")
    expect("HELD MESSAGES STAY BEHIND" in done.stderr, "removal says so")
    expect(not active() and not active("mailshaper@second"), "both instances stopped")
    left = held()
    expect(left > 0, f"{left} messages kept")
    done = dpkg("-P", "mailshaper", check=False)
    expect(done.returncode != 0 and "NOT PURGED" in done.stderr, "purge is refused")
    expect(held() == left, "nothing was destroyed")
    kept = STATE / "mailshaper.toml.removed"
    expect(kept.stat().st_size > 0, "the configuration was kept beside it")
    say("installed again, the mail is there")
    dpkg("-i", new)
    until(active, "the service is active")
    expect(
        len(rows("queue", "list")) in range(left - 2, left + 1), "queue list shows it"
    )
    shaper("release", "from:thief2@example.org", "--reason", "story")
    until(lambda: held() == 0, "released")


def purge():
    say("purge leaves nothing")
    dpkg("-P", "mailshaper")
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


def main():
    old, new = sys.argv[1:]
    server = Server(("127.0.0.1", 10026), NextHop)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    install(old)
    restrictions()
    autopkgtest()
    names = one_mail() + slowed()
    upgrade(new)
    crash()
    released(names)
    wrong_configuration()
    second_instance()
    removal(new)
    purge()
    say("all of it is as it should be")


if __name__ == "__main__":
    main()

"""The federation node beside the hop: made as root, run confined, kept, purged."""

import json
import pwd
import smtplib
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from machine import (
    STATE,
    WAIT,
    active,
    anybody_runs,
    confined,
    dpkg,
    expect,
    nothing_left,
    run,
    say,
    shown,
    until,
)

UNIT = "mailshaper-federation"
NODE = Path("/var/lib/mailshaper-federation")
CONFIG = Path("/etc/mailshaper/federation.toml")
KEYS = ("node.key", "root.key", "next-root.key")
DEAD = "gone@example.org"
THEIRS = "moved@example.org"  # whom only the second node knows to be gone
FRIEND = Path("/etc/friend.toml")


def federation(*words, check=True):
    return run("mailshaper", "federation", *words, check=check)


def rows(*words):
    return [
        json.loads(line)
        for line in federation(*words, "--json").stdout.split("\n")
        if line
    ]


def running():
    return active(UNIT)


def unmade():
    say("the federation's service is off, and waits for a node")
    enabled = run("systemctl", "is-enabled", UNIT, check=False)
    expect(enabled.stdout.strip() == "disabled", "off after installation")
    run("systemctl", "start", UNIT, check=False)
    until(lambda: shown("ActiveState", UNIT) == "failed", "without a node: failed")
    expect(shown("ExecMainStatus", UNIT) == "78", "status 78, so not tried again")


def begin():
    say("a node is made by root, and runs as mailshaper")
    text = CONFIG.read_text()
    for line in ('listen = "127.0.0.1:8641"', 'url = "https://localhost:8641"'):
        default = f'#{line.partition(" ")[0]} = ""'
        expect(default in text, f"federation.toml has {default}")
        text = text.replace(default, line, 1)
    link = 'url = "unix:///run/mailshaper/redis.sock"'
    CONFIG.write_text(text.replace('#url = ""', link, 1))
    made = federation(
        "init", "--name", "Our club", "--network", "story", "--contact", "a@b.example"
    )
    expect("Copy root.key and next-root.key" in made.stdout, "init says to copy keys")
    private()
    run("systemctl", "enable", "--now", UNIT)
    until(running, "the service is active, so READY=1 came")


def private():
    """Nothing root did there is closed to the daemon, or open to others."""
    user = pwd.getpwnam("mailshaper").pw_uid
    found = [NODE, *NODE.rglob("*")]
    expect(all((NODE / key).is_file() for key in KEYS), f"{len(found) - 1} files")
    wrong = [
        f"{one} {one.stat().st_uid} {one.stat().st_mode:o}"
        for one in found
        if one.stat().st_uid != user or one.stat().st_mode & 0o077
    ]
    expect(not wrong, f"all mailshaper's, and nobody else's {wrong}")


def restrictions():
    say("its restrictions hold")
    confined(UNIT, 15)
    expect(shown("WatchdogUSec", UNIT) not in ("", "0"), "watchdog on")


def http(path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:9466{path}", timeout=10) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def answers():
    say("it answers, and takes what root reports")
    status, text = http("/metrics")
    expect(status == 200 and "\nmailshaper_federation_" in text, "/metrics")
    expect("\nprocess_start_time_seconds " in text, "its process among them")
    expect(http("/healthz")[0] == 200, "/healthz")
    until(lambda: http("/readyz")[0] == 200, "/readyz")
    told = federation("status").stdout
    pid = shown("MainPID", UNIT)
    expect(f"runs, pid {pid}\n" in told, f"status: runs, pid {pid}")
    federation("report", DEAD, "--code", "5.1.1", "--smtp", "550", "--at-once")
    done = federation("lookup", "-q", DEAD, check=False)
    expect(done.returncode == 2, f"lookup {DEAD}: suppress")
    done = federation("lookup", "-q", "fine@example.org", check=False)
    expect(done.returncode == 0, "lookup fine@example.org: allow")


def friend(*words, check=True):
    return run("mailshaper", "federation", "--config", str(FRIEND), *words, check=check)


def invited():
    say("a second node joins, over TLS with a certificate that was made here")
    word = rows("invite", "Asso", "--level", "trusted")[0]["invitation"]
    FRIEND.write_text(
        '[node]\nstate_directory = "/var/lib/friend"\n[metrics]\nlisten = ""\n'
    )
    about = ("--name", "Asso", "--contact", "c@d.example", "--level", "trusted")
    done = friend("join", word, *about)
    expect("Our club is a peer" in done.stdout, "joined")
    expect("Copy root.key and next-root.key" in done.stdout, "join says to copy keys")
    done = friend("lookup", "-q", DEAD, check=False)
    expect(done.returncode == 1, f"one trusted host says so: caution for {DEAD}")
    expect("Asso" in federation("peers").stdout, "each knows the other")
    private()


def refused():
    """Whether the shaper refuses the address that only the other host calls dead."""
    try:
        with smtplib.SMTP("127.0.0.1", 10025, timeout=60) as client:
            client.ehlo()
            client.mail("ann@example.org")
            code, text = client.rcpt(THEIRS)
    except (OSError, smtplib.SMTPException):
        return False  # it is being restarted
    return code == 550 and b"Asso" in text


def beside_the_shaper():
    say("the shaper follows what the other host says")
    mine = Path("/etc/mailshaper/conf.d/60-federation.toml")
    mine.write_text("[federation]\nenabled = true\n")
    run("systemctl", "restart", "mailshaper")
    until(active, "the shaper is active")
    expect(not refused(), f"{THEIRS} is not refused before")
    federation("trust", "Asso", "sole")
    user = pwd.getpwnam("mailshaper")
    theirs = subprocess.Popen(
        ["/usr/bin/mailshaper-federation", "--config", str(FRIEND), "daemon"],
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        cwd="/",
        stderr=subprocess.DEVNULL,
    )
    bounce = ("report", THEIRS, "--code", "5.1.1", "--smtp", "550", "--at-once")
    # Once a peer has told it that its own log is the newest there is.
    until(lambda: not friend(*bounce, check=False).returncode, "it reports a bounce")
    until(refused, f"told by its daemon, the shaper refuses {THEIRS}")
    theirs.terminate()
    theirs.wait(WAIT)
    private()


def restarted():
    say("the federation's service is restarted, and killed")
    events = kept()
    run("systemctl", "restart", UNIT)
    until(running, "restarted")
    still(events)
    pid = shown("MainPID", UNIT)
    run("systemctl", "kill", "--kill-who=main", "-s", "KILL", UNIT)
    until(
        lambda: running() and shown("MainPID", UNIT) not in (pid, "0"),
        "killed, systemd started it again",
    )
    still(events)
    until(refused, "the shaper, which was killed too, still asks it")


def kept():
    """Return the keys and every stored event."""
    keys = {name: (NODE / name).read_bytes() for name in KEYS}
    return keys, set(federation("export").stdout.splitlines())


def still(before):
    keys, events = before
    now_keys, now_events = kept()
    expect(now_keys == keys, "its keys are the same")
    expect(len(events) > 2 and events <= now_events, f"its {len(events)} events too")


def upgraded(before, pid):
    say("the federation's service after the upgrade")
    until(running, "active")
    expect(shown("MainPID", UNIT) != pid, "another process, so the new program")
    still(before)
    private()


def removed(before):
    say("the federation's service after the removal")
    expect(not running(), "stopped")
    expect(not anybody_runs("bin/mailshaper-federation"), "no process of it is left")
    for name, key in before[0].items():
        expect((NODE / name).read_bytes() == key, f"{name} stays")


def installed_again(before):
    say("the federation's service after the program came back")
    until(running, "it was enabled, so it runs")
    CONFIG.write_bytes((STATE / "federation.toml.removed").read_bytes())
    run("systemctl", "restart", UNIT)
    until(running, "it runs with the configuration of before")
    still(before)
    expect("https://localhost:8641" in federation("status").stdout, "with its address")
    private()


def purged():
    say("purge leaves nothing, and says what that means for the keys")
    done = dpkg("-P", "mailshaper")
    expect("copy of root.key" in done.stderr, "purge says that the keys go")
    expect(not NODE.exists(), f"{NODE} is gone")
    nothing_left()
    subprocess.run(["rm", "-r", "/var/lib/friend", str(FRIEND)], check=True)

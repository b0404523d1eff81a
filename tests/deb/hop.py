"""The hop: mail goes through the daemon, whose package is upgraded, removed, purged."""

import json
import pwd
from pathlib import Path

from machine import (
    STATE,
    NextHop,
    active,
    confined,
    dpkg,
    expect,
    held,
    rows,
    run,
    say,
    send,
    shaper,
    shown,
    until,
)

SENDER = "from:thief@example.org"
MANY = 60  # strangers on the first day: more than the detector lets pass
ENOUGH = 5  # held messages, with which the story goes on


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
    names = confined("mailshaper", 15)
    expect(any(n.startswith(("redis", "valkey")) for n in names), f"Redis: {names}")
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


def removed():
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
    for name in ("mailshaper", "federation"):
        kept = STATE / f"{name}.toml.removed"
        expect(kept.stat().st_size > 0, f"{kept.name} is beside it")


def installed_again(new):
    say("installed again, the mail is there")
    left = held()
    dpkg("-i", new)
    until(active, "the service is active")
    expect(
        len(rows("queue", "list")) in range(left - 2, left + 1), "queue list shows it"
    )
    shaper("release", "from:thief2@example.org", "--reason", "story")
    until(lambda: held() == 0, "released")

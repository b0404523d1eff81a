"""Placement "policy": Postfix keeps what is held, and the queue helper lets it go."""

import json
import pwd
import re
import shutil
import smtplib
import stat
import time
from pathlib import Path

from machine import (
    NextHop,
    active,
    anybody_runs,
    as_user,
    confined,
    dpkg,
    expect,
    fail,
    nothing_left,
    rows,
    run,
    run_quiet,
    say,
    send,
    shaper,
    shown,
    until,
)

SENDER = "from:thief4@example.org"  # nobody of the first life
MANY = 60  # strangers on the first day: more than the detector lets pass
ENOUGH = 8  # messages on hold, with which the story goes on
PORT = 587
SOCKET = Path("/run/mailshaper-queue.sock")
PLACE = Path("/var/spool/postfix/mailshaper")
DROP_IN = Path("/etc/systemd/system/mailshaper.service.d/socket.conf")
HELPER = "mailshaper-queue"
CAPABILITIES = 1 << 2 | 1 << 6 | 1 << 7  # CAP_DAC_READ_SEARCH, SETGID, SETUID
MAIN = {
    "relayhost": "[127.0.0.1]:10026",
    "myhostname": "mx.example.org",
    "mydestination": "",
    "inet_interfaces": "loopback-only",
    "inet_protocols": "ipv4",
    # The story reads each attempt's answer at once.
    "smtp_tls_security_level": "none",
}
UNITS = ("postfix@-.service", "postfix.service")  # of Debian 12, of Debian 13
OURS = """
[daemon]
placement = "policy"
[feedback]
journal = ["{unit}"]
[hop]
next_hop = "127.0.0.1:10036"
[trickle]
interval = 600.0
longest_interval = 600.0
"""


def on_hold():
    listed = run_quiet("postqueue", "-j").splitlines()
    found = [json.loads(line) for line in listed]
    return {one["queue_id"] for one in found if one["queue_name"] == "hold"}


def listed():
    return {row["id"].partition("-")[0]: row for row in rows("queue", "list")}


def one_of(index=0):
    """Return queue id, recipient and Message-ID of a message on hold."""
    queue_id = sorted(on_hold())[index]
    content = run_quiet("postcat", "-qbh", queue_id)
    whole = run_quiet("postcat", "-qe", queue_id)
    name = re.search(r"(?im)^Message-ID: <(.*)>", content)[1]
    return queue_id, re.search(r"(?m)^recipient: (\S+)", whole)[1], name


def install(old):
    say("a second life: placement policy, with Debian's Postfix")
    for name, value in MAIN.items():
        run("postconf", "-e", f"{name} = {value}")
    run("postconf", "-M", "submission/inet=submission inet n - y - - smtpd")
    run("systemctl", "start", "postfix")
    dpkg("-i", old)
    until(active, "the daemon is active")
    expect(not SOCKET.exists(), "the helper's socket is not there unless wanted")
    conf = Path("/etc/mailshaper/conf.d/50-policy.toml")
    unit = next(one for one in UNITS if active(one))
    say(f"Postfix' log is the journal of {unit}")
    conf.write_text(OURS.format(unit=unit))
    run("usermod", "-aG", "systemd-journal", "mailshaper")
    run("systemctl", "enable", "--now", f"{HELPER}.socket")
    run("systemctl", "restart", "mailshaper")
    until(active, "the daemon is active in placement policy")
    asks_as_setup_says()
    status = SOCKET.stat()
    user = pwd.getpwnam("mailshaper")
    expect(
        (status.st_uid, stat.S_IMODE(status.st_mode)) == (user.pw_uid, 0o600),
        "the socket is mailshaper's alone",
    )


def one_mail():
    say("one mail passes, judged by the daemon")
    (name,) = send("dan@example.org", ["bob@example.net"], port=PORT)
    until(lambda: NextHop.arrived[name] == 1, "it arrived")
    expect(on_hold() == set(), "nothing is on hold")


def told_by_the_journal():
    say("a recipient that Postfix' log calls dead is refused")
    dead = "nobody@example.net"
    list(send("dan@example.org", [dead], 5, PORT))
    until(lambda: dead in shaper("suppress", "list"), "it is on the suppression list")
    try:
        list(send("dan@example.org", [dead], 6, PORT))
        fail("it was taken again")
    except smtplib.SMTPRecipientsRefused as refusal:
        said = str(refusal)
    expect("suppress" in said, f"Postfix says: {said}")


def by_socket():
    say("from now on Postfix asks at a socket that its chroot can see")
    PLACE.mkdir(mode=0o750)
    shutil.chown(PLACE, "mailshaper", "postfix")
    DROP_IN.parent.mkdir(parents=True)
    DROP_IN.write_text(f"[Service]\nReadWritePaths={PLACE}\n")
    conf = Path("/etc/mailshaper/conf.d/60-socket.toml")
    conf.write_text(f'[policy]\nlisten = ["{PLACE}/ask"]\n')
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "mailshaper")
    until(active, "the daemon is active")
    asks_as_setup_says()
    (name,) = send("dan@example.org", ["eve@example.net"], 7, PORT)
    until(lambda: NextHop.arrived[name] == 1, "one mail passes")
    # Its status tells of warnings that this machine deserves: no name, no clock.
    told = run_quiet("mailshaper", "doctor", "--json").splitlines()
    found = [json.loads(line) for line in told]
    asked = [one for one in found if "is asked" in one["what"]]
    expect([one["level"] for one in asked] == ["ok", "ok"], "the doctor: it is asked")
    helper = [one for one in found if "queue_helper" in one["where"]]
    expect([one["level"] for one in helper] == ["ok"], "the helper answers root, too")


def asks_as_setup_says():
    run("sh", input=shaper("setup", "postfix", "--way", "policy"))
    run("postfix", "reload")


def put_on_hold():
    say("an account writes to strangers until it is slowed")
    for number in range(MANY):
        list(send(SENDER[5:], [f"v{number}@far{number}.example"], number, PORT))
        if len(on_hold()) >= ENOUGH:
            break
    expect(len(on_hold()) == ENOUGH, f"Postfix has {ENOUGH} on hold")
    expect(set(listed()) == on_hold(), "queue list shows the same")


def helper_restrictions():
    say("the helper's restrictions hold")
    until(lambda: active(f"{HELPER}.socket"), "the socket listens")
    wake()
    confined(f"{HELPER}.service", 20, CAPABILITIES)


ASK = """
import socket
with socket.socket(socket.AF_UNIX) as s:
    s.settimeout(20)
    s.connect({path!r})
    s.sendall(b"{request}\\n")
    print(s.makefile().read())
"""


def ask(user, request):
    return as_user(user, ASK.format(path=str(SOCKET), request=request))


def wake():
    """Have systemd start the helper."""
    queue_id = min(on_hold())
    done = ask("mailshaper", f"state {queue_id}")
    expect(f"{queue_id} held\ndone" in done.stdout, f"it answers {done.stdout!r}")
    until(lambda: active(f"{HELPER}.service"), "systemd started it")


def who_may_ask():
    say("another user, and even root, is not heard")
    before = on_hold()
    request = f"drop {min(before)}"
    done = ask("nobody", request)
    expect("PermissionError" in done.stderr, "nobody cannot connect")
    done = ask("root", request)
    expect(not done.stdout.strip(), "root can, and is hung up on")
    expect(on_hold() == before, "nothing was dropped")


def upgrade(new):
    say(f"upgrade with {len(on_hold())} messages on hold and the helper running")
    before, shown_before = on_hold(), set(listed())
    pid = shown("MainPID", f"{HELPER}.service")
    expect(pid != "0", "the helper runs")
    opened = shown("InactiveExitTimestampMonotonic", f"{HELPER}.socket")
    dpkg("-i", new)
    until(active, "the daemon is active again")
    expect(active(f"{HELPER}.socket"), "the helper's socket listens")
    same = shown("InactiveExitTimestampMonotonic", f"{HELPER}.socket") == opened
    expect(same, "as it did all the time")
    expect(shown("MainPID", f"{HELPER}.service") != pid, "no old helper")
    left = on_hold()
    expect(
        left <= before and len(before - left) <= 1,
        f"{len(left)} of {len(before)} still on hold (the trickle goes on)",
    )
    expect(set(listed()) <= shown_before, "and nothing else in the list")
    wake()


def order(verb, recipient):
    shaper("queue", verb, f"rcpt={recipient}", "--reason", "story")


def let_go():
    say("one is released, one dropped, one returned")
    before = on_hold()
    queue_id, recipient, name = one_of()
    order("release", recipient)
    until(lambda: NextHop.arrived[name] == 1, f"{queue_id} arrived")
    dropped_id, recipient, dropped = one_of()
    order("drop", recipient)
    until(lambda: dropped_id not in on_hold(), f"{dropped_id} is not on hold any more")
    returned_id, recipient, returned = one_of()
    order("bounce", recipient)
    until(lambda: NextHop.bounced[SENDER[5:]] == 1, f"{returned_id} was returned")
    gone = {queue_id, dropped_id, returned_id}
    until(lambda: not gone & set(listed()), "none is in the list")
    expect(NextHop.arrived[name] == 1, "the released one arrived once")
    expect(NextHop.arrived[dropped] == 0, "the dropped one never")
    expect(NextHop.arrived[returned] == 0, "nor the returned one")
    expect(on_hold() == before - gone, f"{len(before) - 3} are still on hold")


def helper_away():
    say("an order while the helper is away")
    _, recipient, name = one_of()
    run("systemctl", "stop", f"{HELPER}.socket", f"{HELPER}.service")
    expect(not SOCKET.exists(), "stopped, its socket is gone")
    order("release", recipient)
    time.sleep(2)
    expect(NextHop.arrived[name] == 0, "it waits")
    run("systemctl", "start", f"{HELPER}.socket")
    until(lambda: NextHop.arrived[name] == 1, "carried out when the helper is back")


def removed():
    say("remove with mail on hold, Postfix still set up to ask")
    before = on_hold()
    expect(len(before) > 1, f"{len(before)} are on hold")
    done = dpkg("-r", "mailshaper")
    expect("HELD MESSAGES STAY BEHIND" in done.stderr, "removal says what is held")
    expect("on hold stays there" in done.stderr, "and that Postfix still asks")
    for unit in (f"{HELPER}.socket", f"{HELPER}.service", "mailshaper"):
        expect(not active(unit), f"{unit} stopped")
    expect(not SOCKET.exists(), "no socket")
    expect(not anybody_runs("shaper.queuehelper"), "no helper")
    (name,) = send("dan@example.org", ["bob@example.net"], 2, PORT)
    until(lambda: NextHop.arrived[name] == 1, "mail passes unjudged")
    expect(on_hold() == before, "what was on hold is")
    done = dpkg("-P", "mailshaper", check=False)
    expect(done.returncode != 0 and "NOT PURGED" in done.stderr, "purge is refused")
    expect(on_hold() == before, "what was on hold is")


def installed_again(new):
    say("installed again, and all of it goes")
    names = {}
    for index, queue_id in enumerate(sorted(on_hold())):
        names[queue_id] = one_of(index)[2]
    dpkg("-i", new)
    until(active, "the daemon is active")
    expect(active(f"{HELPER}.socket"), "the helper's socket was enabled, so it listens")
    expect(set(listed()) <= set(names), "the list has nothing else")
    shaper("release", SENDER, "--reason", "story")
    until(lambda: not on_hold(), "nothing is on hold")
    until(lambda: all(NextHop.arrived[n] for n in names.values()), "all arrived")
    expect(all(NextHop.arrived[n] == 1 for n in names.values()), "each once")
    until(lambda: not listed(), "the list is empty")


def purged():
    say("purge leaves nothing of the daemon or the helper")
    off = Path("/root/policy-off.sh")
    shutil.copy("/usr/share/mailshaper/postfix/policy-off.sh", off)
    run("sh", str(off))
    off.unlink()
    shutil.rmtree(PLACE)
    shutil.rmtree(DROP_IN.parent)
    run("postfix", "reload")
    done = dpkg("-P", "mailshaper")
    expect("root.key" not in done.stderr, "no word about keys that never were")
    expect(not SOCKET.exists(), "no socket")
    nothing_left()
    (name,) = send("dan@example.org", ["bob@example.net"], 3, PORT)
    until(lambda: NextHop.arrived[name] == 1, "and Postfix delivers as before")
    if run_quiet("postqueue", "-j"):
        fail("something is left in Postfix' queue")

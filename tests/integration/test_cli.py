"""The command line as an operator meets it: real processes, a real engine."""

import asyncio
import json
import os
import socket
import sys
import unicodedata

import pytest

from shaper.cli.lists import status_lines
from tests.support.office import cli, office

HOSTILE = "\x1b[2J\u202egpj\n[red]Won[/red]\x07"


@pytest.fixture
async def place(redis_url, tmp_path):
    async with office(redis_url, tmp_path) as found:
        yield found


@pytest.fixture
async def stolen(place):
    await place.steal("login:alice", HOSTILE)
    return place


def state(place, sender="login:alice"):
    line = place.engine.senders.known.get(sender)
    return line["state"] if line else "normal"


def harmless(text):
    return not {
        char
        for char in text.replace("\n", "")
        if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    }


# -- starting


async def test_a_command_loads_nothing_heavy(place):
    script = (
        "import sys, shaper.cli\n"
        "try:\n"
        "    shaper.cli.main()\n"
        "except SystemExit as end:\n"
        "    print(end.code, *sys.modules, file=sys.stderr)\n"
    )
    for words in (["status"], ["queue", "list"], ["show", "login:x"], ["--help"]):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            script,
            *words,
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            env={**os.environ, "MAILSHAPER_SOCKET": str(place.path)},
        )
        _, err = await process.communicate()
        loaded = set(err.decode().split())
        assert "shaper.cli.app" in loaded
        heavy = {"pydantic", "redis", "numpy", "aiosmtpd", "aiosmtplib", "asyncio"}
        assert not loaded & heavy, words
        assert not loaded & {"shaper.cli.drill", "shaper.cli.classify", "rich"}


async def test_late_commands_work(tmp_path):
    reply = tmp_path / "reply"
    reply.write_text("550 5.1.1 <x@example.org>: user unknown\n")
    done = await cli("classify", "--json", str(reply))
    assert done.code == 0, done.err
    assert (await cli("drill", "--help")).code == 0


# -- failures


async def test_no_daemon(tmp_path):
    done = await cli("--socket", str(tmp_path / "none.sock"), "status")
    assert done.code == 69
    assert "none.sock" in done.err
    assert "systemctl start mailshaper" in done.err


async def test_a_daemon_that_died(tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    assert (await cli("--socket", str(tmp_path / "dead.sock"), "status")).code == 69


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
async def test_another_user_may_not(place):
    place.path.chmod(0o600)
    script = (
        "import grp, os, shaper.cli.app as app\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "raise SystemExit(app.run(['status']))\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "MAILSHAPER_SOCKET": str(place.path)},
    )
    _, err = await process.communicate()
    assert process.returncode == 77, err
    assert b"sudo" in err


@pytest.mark.parametrize(
    "answer",
    [b"", b'{"row":{}}\n', b"220 mail.example.org ESMTP\r\n", b'{"ok":false}\n'],
)
async def test_a_daemon_that_answers_nonsense_or_dies(tmp_path, answer):
    path = tmp_path / "s"

    async def serve(reader, writer):
        await reader.readline()
        writer.write(answer)
        writer.close()

    async with await asyncio.start_unix_server(serve, path):
        done = await cli(
            "--socket", str(path), "block", "login:x", "--reason", "r", "--id", "abc"
        )
    assert done.code == 75
    assert "Traceback" not in done.err
    assert "--id abc" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense\x1b[2J"],
        ["show"],
        ["status", "--no-such"],
        ["block", "login:alice"],
        ["block", "login:alice", "--reason", "  "],
        ["exempt", "login:alice", "--reason", "r"],
        ["exempt", "login:alice", "--reason", "r", "--until", "soon"],
        ["exempt", "login:alice", "--reason", "r", "--until", "2001-01-01"],
        ["plan", "login:alice", "--reason", "r", "--to", "2h", "--messages", "0"],
        ["release", "login:alice", "--reason", "r", "--rate", "fast"],
        ["queue", "drop", "--reason", "r"],
        ["queue", "drop", "size>x", "--reason", "r"],
        ["queue", "list", "colour=red"],
    ],
)
async def test_wrong_usage_is_64_and_changes_nothing(stolen, words):
    done = await stolen.cli(*words)
    assert done.code == 64, done
    assert done.err.startswith("mailshaper: ")
    assert harmless(done.err)
    assert state(stolen) == "slowed"
    assert len(stolen.engine.held) == 3


async def test_unknown_names_are_65(place):
    for words in (["show", "login:nobody"], ["explain", "c1"], ["queue", "show", "M"]):
        done = await place.cli(*words)
        assert done.code == 65
        assert done.err


async def test_a_wrong_configuration_is_78_with_file_and_key(tmp_path):
    config = tmp_path / "mailshaper.toml"
    config.write_text("[trickle]\nintervall = 60\n")
    done = await cli("check-config", "--config", str(config))
    assert done.code == 78
    assert "mailshaper.toml" in done.err
    assert "intervall" in done.err
    config.write_text("")
    assert (await cli("--config", str(config), "check-config")).code == 0
    assert (await cli("check-config", "--config", str(tmp_path / "no"))).code == 78


# -- looking


async def test_status(stolen):
    done = await stolen.cli("status")
    assert done.code == 0
    assert "1 slowed, 0 blocked" in done.out
    assert "3 messages (30 recipients)" in done.out
    (row,) = (await stolen.cli("status", "--json")).rows()
    assert row["held"]["messages"] == 3
    assert (row["spool_full"], row["unread_sources"]) == (None, {})
    assert row["notices"] == 0


async def test_status_says_what_keeps_the_daemon_from_its_work(stolen):
    spool = stolen.engine.context.spool
    spool.limits = type(spool.limits)(messages=0)
    (status,) = (await stolen.cli("status", "--json")).rows()
    assert "FULL: the spool's limit of 0 messages" in (await stolen.cli("status")).out
    why = "/var/log/mail.log: Permission denied"
    status["unread_sources"] = {"/var/log/mail.log": why, "journal": "gone\x1b[2J"}
    assert not any("notices" in line for line in status_lines(status))
    (line,) = [x for x in status_lines(status | {"notices": 2}) if "notices" in x]
    assert line == "  notices  2 of mailshaper's own, waiting for the next hop"
    lines = [line for line in status_lines(status) if line.startswith("UNREAD")]
    assert all(map(harmless, lines))
    assert lines[0].startswith(f"UNREAD {why}: what")
    assert lines[1].startswith("UNREAD journal: gone")


async def test_the_case_is_told_in_full_and_harmlessly(stolen):
    (case,) = stolen.engine.casebook.all()
    for words in (["cases"], ["show", case.id], ["show", "login:alice"]):
        done = await stolen.cli(*words)
        assert done.code == 0, done.err
        assert harmless(done.out)
        assert case.id in done.out
        assert "3 messages (30 recipients)" in done.out
    for part in (
        "SLOWED since",
        "of the",
        "example.net 30",
        "192.0.2.7 3",
        "[red]Won[/red]",
        r"\x1b[2J\u202egpj",
        "alarm -> slowed",
        "mailshaper release login:alice --reason '...'",
    ):
        assert part in done.out


@pytest.mark.parametrize("columns", ["40", "80", "200"])
async def test_no_view_is_wider_than_the_terminal(stolen, columns):
    for words in (["show", "login:alice"], ["cases"], ["queue", "list"], ["status"]):
        done = await stolen.cli(*words, env={"COLUMNS": columns})
        assert done.code == 0
        lines = [
            line
            for line in done.out.splitlines()
            # What is to be typed or copied is never broken.
            if "mailshaper " not in line and (columns != "40" or "(" not in line)
        ]
        assert max(map(len, lines)) <= int(columns)


async def test_a_terminal_without_unicode_gets_escapes(stolen):
    await stolen.steal("login:zoé", "日本")
    done = await stolen.cli(
        "show", "login:zoé", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"}
    )
    assert done.code == 0, done.err
    assert "####" in done.out
    assert done.out.isascii()


async def test_explain_shows_every_part(stolen):
    done = await stolen.cli("explain", "login:alice")
    (data,) = (await stolen.cli("explain", "login:alice", "--json")).rows()
    assert all(part[0] in done.out for part in data["evidence"]["parts"])


async def test_held_mail_is_listed_and_shown(stolen):
    rows = (await stolen.cli("queue", "list", "--json")).rows()
    assert [row["waiting"] for row in rows] == [10, 10, 10]
    first = rows[0]["id"]
    done = await stolen.cli("queue", "list", f"id={first}")
    assert "1 message (10 recipients) held." in done.out
    assert harmless(done.out)
    shown = await stolen.cli("queue", "show", first)
    assert "Pay." in shown.out
    assert f"mailshaper queue release id={first} --reason '...'" in shown.out
    nothing = await stolen.cli("queue", "list", "--sender", "login:bob")
    assert nothing.out == "No held mail matches.\n"


async def test_content_cannot_act_on_the_terminal(place):
    await place.steal("login:alice")
    evil = b"Subject: x\r\n\r\n\x1b]0;pwned\x07\xff\xe2\x80\xae[bold]\r\n"
    await place.offer("login:alice", ("x@example.net",), "evil", evil)
    (row,) = (await place.cli("queue", "list", "subject=evil", "--json")).rows()
    done = await place.cli("queue", "show", row["id"])
    assert harmless(done.out)
    assert r"\x1b]0;pwned\x07" in done.out
    assert "[bold]" in done.out


async def test_a_sender_with_odd_octets_can_be_typed(place):
    odd = b"from:caf\xe9 $(id)'@example.org"
    await place.steal(odd.decode("utf-8", "surrogateescape"))
    done = await place.cli("show", odd)
    assert done.code == 0, done.err
    typed = next(line for line in done.out.splitlines() if " block " in line)
    script = f'mailshaper() {{ printf %s "$2"; }}; {typed}'
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out == odd


# -- changing


async def test_a_dry_run_changes_nothing(stolen):
    lines = len(list(stolen.audit.replay()))
    for words in (
        ["release", "login:alice"],
        ["release", "login:alice", "--filter", "age>=0s"],
        ["block", "login:alice"],
        ["exempt", "login:alice", "--until", "2h"],
        ["plan", "login:alice", "--to", "2h", "--messages", "5"],
        ["queue", "release", "age>=0s"],
        ["queue", "drop", "age>=0s"],
        ["queue", "bounce", "--sender", "login:alice"],
        ["forget", "alice@example.org"],
    ):
        done = await stolen.cli(*words, "--reason", "r", "--dry-run")
        assert done.code == 0, done
        assert "Nothing was changed" in done.out
    assert len(list(stolen.audit.replay())) == lines
    assert state(stolen) == "slowed"
    assert not any(message.order for message in stolen.engine.held.all())


async def test_a_release_frees_the_mail_and_the_sender(stolen):
    done = await stolen.cli(
        "release",
        "login:alice",
        "--rate",
        "20/m",
        "--reason",
        "newsletter",
        "--id",
        "a1",
    )
    assert done.code == 0, done.err
    assert "Released: 3 messages (30 recipients), 20/m." in done.out
    assert "login:alice is now normal." in done.out
    assert "a1" in done.out
    assert {message.order for message in stolen.engine.held.all()} == {"a1"}
    again = await stolen.cli(
        "release",
        "login:alice",
        "--rate",
        "20/m",
        "--reason",
        "newsletter",
        "--id",
        "a1",
    )
    assert again.code == 0
    orders = [line for line in stolen.audit.replay() if line["event"] == "order"]
    assert len(orders) == 1


async def test_a_filtered_release_leaves_the_sender_slowed(stolen):
    (first, *_) = stolen.engine.held.all()
    done = await stolen.cli(
        "release", "login:alice", "--filter", f"id={first.id}", "--reason", "fine"
    )
    assert "Released: 1 message (10 recipients)." in done.out
    assert state(stolen) == "slowed"


async def test_blocking_a_name_that_was_never_seen_says_so(stolen):
    done = await stolen.cli("block", "login:alcie", "--reason", "stolen")
    assert "No mail of this sender was seen yet" in done.out
    again = await stolen.cli("block", "login:alice", "--reason", "stolen")
    assert "was seen yet" not in again.out


async def test_block_then_drop(stolen):
    done = await stolen.cli("block", "login:alice", "--reason", "stolen")
    assert "login:alice is blocked" in done.out
    assert state(stolen) == "blocked"
    done = await stolen.cli(
        "queue", "drop", "recipients>=10", "--reason", "spam", "--json"
    )
    (row,) = done.rows()
    assert row["result"] == {"messages": 3, "recipients": 30}
    assert row["id"]
    assert len(stolen.engine.held) == 0


async def test_an_exemption_begins_and_ends(stolen):
    words = ("exempt", "login:alice", "--reason", "campaign")
    assert (await stolen.cli(*words, "--until", "2h")).code == 0
    assert "Exempt until" in (await stolen.cli("show", "login:alice")).out
    assert (await stolen.cli(*words, "--end")).code == 0
    assert "Exempt until" not in (await stolen.cli("show", "login:alice")).out


async def test_a_plan_is_shown_and_repeating_it_is_harmless(stolen):
    burst = "--from 2030-03-05T10:00Z --to 2030-03-05T12:00Z --messages 4000"
    words = ("plan", "login:alice", *burst.split(), "--reason", "Tuesday")
    for _ in range(2):
        assert (await stolen.cli(*words)).code == 0
    shown = await stolen.cli("show", "login:alice")
    assert shown.out.count("0 of 4,000 messages used") == 1


async def test_the_audit_tells_who_and_why(stolen):
    await stolen.cli(
        "block", "login:alice", "--reason", HOSTILE, env={"SUDO_USER": "carol"}
    )
    done = await stolen.cli("audit", "--since", "1h", "--sender", "login:alice")
    assert "(sudo: carol, claimed)" in done.out
    assert harmless(done.out)
    last = (await stolen.cli("audit", "--json")).rows()[-1]
    assert last["reason"] == HOSTILE


async def test_forgetting_is_reported(stolen):
    done = await stolen.cli("forget", "alice@example.org", "--reason", "asked to")
    assert done.code == 0, done.err
    assert "alice@example.org" in done.out


# -- shell


async def test_completion_knows_senders_and_stays_silent_without_daemon(stolen):
    env = {
        "_MAILSHAPER_COMPLETE": "complete_bash",
        "COMP_WORDS": "mailshaper show log",
        "COMP_CWORD": "2",
    }
    done = await stolen.cli(env=env)
    assert done.out.split() == ["login:alice"]
    gone = await cli(env={**env, "MAILSHAPER_SOCKET": "/nonexistent/s"})
    assert (gone.out.strip(), gone.err) == ("", "")


async def test_a_reader_that_has_seen_enough(stolen):
    script = (
        "import os, sys, shaper.cli.app as app\n"
        "sys.stdout.close(); sys.stdout = open(int(sys.argv[1]), 'w')\n"
        "raise SystemExit(app.run(['queue', 'list', '--json']))\n"
    )
    read, write = os.pipe()
    os.close(read)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        str(write),
        pass_fds=[write],
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "MAILSHAPER_SOCKET": str(stolen.path)},
    )
    os.close(write)
    _, err = await process.communicate()
    assert b"Traceback" not in err


async def test_json_is_ascii_and_one_object_per_line(stolen):
    for words in (["cases"], ["queue", "list"], ["audit"], ["show", "login:alice"]):
        done = await stolen.cli(*words, "--json")
        assert done.out.isascii()
        assert all(isinstance(json.loads(x), dict) for x in done.out.splitlines())


async def test_a_case_that_was_opened_by_hand_says_who_and_why(stolen):
    await stolen.cli("block", "login:carol", "--reason", "she called us\x1b[2J")
    for words in (["cases"], ["show", "login:carol"]):
        done = await stolen.cli(*words)
        assert "Blocked by root: she called us" in done.out
        assert harmless(done.out)
    *_, row = (await stolen.cli("cases", "--json")).rows()
    assert row["why"].startswith("Blocked by root")

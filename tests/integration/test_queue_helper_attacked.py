"""The privileged helper under attack: kills, crowds, planted files, sick commands."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from shaper.policy.queue import QueueHelper, QueueState, QueueTroubleError
from shaper.queuehelper import queues
from shaper.queuehelper.server import answer
from tests.integration.test_queue_helper import (
    ABSENT_ID,
    QUEUES,
    delivered,
    exim_queue,
    hold,
    postfix_queue,
)
from tests.support.queue_helper import QueueHelperProcess
from tests.support.waiting import poll_async

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

HELD, ABSENT = QueueState.HELD, QueueState.ABSENT
NOBODY = 65534


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def sick_postfix(postfix, directory, postsuper):
    """Return the queue of a Postfix whose postsuper is this shell script."""
    (directory / "postconf").symlink_to("/usr/sbin/postconf")
    script(directory / "postsuper", postsuper)
    return queues.Postfix(directory, postfix.config)


async def told(path, octets):
    """Send this and nothing more; return all that is answered."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    answer = b""
    with contextlib.suppress(ConnectionError):
        writer.write(octets)
        writer.write_eof()
        answer = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer


@pytest.mark.parametrize(("make", "options"), QUEUES)
async def test_killed_amid_a_batch_each_message_goes_once(make, options):
    async with make(**options) as queue:
        ids = await hold(queue, 12)
        child = queue.process._child
        busy = Path(f"/proc/{child.pid}/task/{child.pid}/children")
        asked = asyncio.gather(*map(queue.helper.release, ids), return_exceptions=True)

        def begun():  # or over already, on a machine that was busy elsewhere
            return busy.read_text() or asked.done()

        await poll_async(begun, "a command of the mail server")
        child.send_signal(signal.SIGKILL)
        await asked
        queue.process.stop()
        queue.process.start()
        await asyncio.gather(*map(queue.helper.release, ids))
        if queue.name == "exim":  # thawed, and nobody had begun to deliver it
            await queue.mta.run_queue()
        await queue.hop.wait_for(12)
        await poll_async(lambda: not queue.ids(), "an empty queue")
        assert set(Counter(map(tuple, delivered(queue))).values()) == {1}
        assert len(delivered(queue)) == 12


@pytest.mark.parametrize(("make", "options"), QUEUES)
async def test_of_two_that_ask_at_once_one_did_it(make, options):
    async with make(**options) as queue:
        ids = await hold(queue, 12)
        other = QueueHelper(queue.process.socket)
        both = await asyncio.gather(
            asyncio.gather(*map(queue.helper.drop, ids)),
            asyncio.gather(*map(other.drop, reversed(ids))),
        )
        pairs = zip(both[0], reversed(both[1]), strict=True)
        assert [sorted(one) for one in pairs] == [[ABSENT, HELD]] * 12
        assert not queue.ids()


async def test_a_command_that_fails_midway_leaves_what_is_known(tmp_path):
    async with postfix_queue() as queue:
        ids = await hold(queue, 3)
        sick = sick_postfix(
            queue.mta,
            tmp_path,
            # -c CONFIG -d ID: the first, then the disk is full
            '/usr/sbin/postsuper "$1" "$2" "$3" "$4" hold\n'
            "echo postsuper: fatal: No space left on device\nexit 1",
        )
        request = " ".join(["drop", *ids])
        assert answer(request, sick).startswith("failed postsuper 1: ")
        found = await queue.helper.states(ids)
        assert list(found.values()) == [ABSENT, HELD, HELD]
        found = await asyncio.gather(*map(queue.helper.drop, ids))
        assert found == [ABSENT, HELD, HELD]


async def test_a_command_that_does_not_end_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(queues, "_TIME_LIMIT", 0.2)
    async with postfix_queue() as queue:
        ids = await hold(queue, 2)
        monkeypatch.setattr(queues.Postfix, "__init__", quick(queue.mta))
        sick = queues.Postfix(tmp_path)
        script(tmp_path / "postsuper", f"echo $$ >{tmp_path}/pid\nexec sleep 1000")
        request = " ".join(["drop", *ids])
        said = answer(request, sick)
        assert said.startswith("failed ")
        assert said.endswith("does not end")
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)
        assert set((await queue.helper.states(ids)).values()) == {HELD}


def quick(postfix):
    """Return an ``__init__`` that asks no postconf: the limit is too short for it."""

    def begin(self, commands):
        self._commands, self._config = commands, ["-c", str(postfix.config)]
        self._directory = postfix.directory / "queue"

    return begin


@pytest.mark.parametrize(("make", "options"), [QUEUES[0], QUEUES[2]])
async def test_what_is_malformed_or_half_changes_nothing(make, options):
    async with make(**options) as queue:
        (held,) = await hold(queue)
        word = f"drop {held}".encode()
        for octets in (
            b"", b"\n", b"\0\n", b"drop\n", word, word + b"\r\n", word + b"\0\n",
            word + b" \n", word + b"\nstate\n", b" " + word + b"\n", word + b" -\n",
            word + b"\xef\xbc\x91\n", word + b" ALL\n", b"drop ALL\n",
            b"x" * 5000, word + b" " * 3000 + b"\n", b"\xff" * 2000 + b"\n",
        ):  # fmt: skip
            said = await told(queue.process.socket, octets)
            assert said == b"" or said.startswith(b"refused"), octets
        assert await queue.helper.states([held]) == {held: HELD}
        assert await told(queue.process.socket, word + b"\n") == b"done\n"


async def test_who_hangs_up_without_the_answer_harms_nobody():
    async with exim_queue() as queue:
        line = f"state {ABSENT_ID['exim']}\n".encode()
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(str(queue.process.socket))
                one.sendall(line)
        assert await told(queue.process.socket, line) == line[6:-1] + b" absent\ndone\n"


CROWD = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
crowd, errors = [], set()
for _ in range(1000):
    one = socket.socket(socket.AF_UNIX)
    one.setblocking(False)
    try:
        one.connect(sys.argv[1])
        one.send(b"x")
    except OSError as error:
        errors.add(type(error).__name__)
    crowd.append(one)
print(*sorted(errors), flush=True)
sys.stdin.read()
"""


@contextlib.asynccontextmanager
async def crowd(path, user):
    """A thousand connections of a user at once; yields the errors that it saw."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-c", CROWD, str(path), str(user)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield (await child.stdout.readline()).decode().split()
    finally:
        child.stdin.close()
        await child.wait()


async def test_a_crowd_of_others_does_not_come_to_the_door():
    async with exim_queue() as queue:
        queue.process.socket.parent.chmod(0o711)
        mode = stat.S_IMODE(queue.process.socket.stat().st_mode)
        assert mode & (stat.S_IRWXG | stat.S_IRWXO) == 0
        async with crowd(queue.process.socket, NOBODY) as errors:
            assert errors == ["PermissionError"]
            found = await queue.helper.states([ABSENT_ID["exim"]])
            assert set(found.values()) == {ABSENT}
        assert "refused: user id" not in queue.process.journal.read_text()


async def test_a_crowd_that_came_to_the_door_is_sent_away_at_once():
    async with exim_queue() as queue:
        queue.process.socket.parent.chmod(0o711)
        queue.process.socket.chmod(0o666)  # as if somebody had opened it
        async with crowd(queue.process.socket, NOBODY):
            # Who finds the backlog full is told so and asks again. If each of the
            # crowd were waited for, five seconds, that would be ten minutes.
            async with asyncio.timeout(20):
                while (found := await asked_again(queue.helper)) is None:
                    await asyncio.sleep(0.05)
            assert found == {ABSENT_ID["exim"]: ABSENT}


async def asked_again(helper):
    with contextlib.suppress(QueueTroubleError):
        return await helper.states([ABSENT_ID["exim"]])


@pytest.mark.parametrize("hashed", [False, True])
async def test_what_is_planted_in_the_hold_queue_is_no_message(hashed, tmp_path):
    async with postfix_queue(hashed=hashed) as queue:
        (held,) = await hold(queue)
        spool = queue.mta.directory / "queue" / "hold"
        victim = tmp_path / "victim"
        victim.write_text("precious")
        link, directory, hard = (f"4jZTvv5wwCzJrJ{letter}" for letter in "fgh")
        (spool / link).symlink_to(victim)
        (spool / directory).mkdir()
        (message,) = spool.rglob(held)
        (spool / hard).hardlink_to(message)
        helper = queue.helper
        found = await helper.states([link, directory])
        assert found == {link: ABSENT, directory: ABSENT}
        for deed in (helper.release, helper.requeue, helper.drop, helper.give_back):
            assert await deed(link) is ABSENT
            assert await deed(directory) is ABSENT
        # Where the name is hashed, postsuper does not look here: trouble, no harm.
        with contextlib.suppress(QueueTroubleError):
            await helper.drop(hard)
        assert victim.read_text() == "precious"
        assert (spool / link).is_symlink()
        assert await helper.states([held]) == {held: HELD}


async def test_nothing_of_its_environment_counts(tmp_path):
    for name in ("postsuper", "postqueue", "postconf", "exim4"):
        script(tmp_path / name, f"touch {tmp_path}/reached")
    (tmp_path / "main.cf").write_text("queue_directory = /nowhere\n")
    tainted = [
        "/usr/bin/env", f"PATH={tmp_path}", f"MAIL_CONFIG={tmp_path}",
        f"PYTHONPATH={tmp_path}", f"BASH_ENV={tmp_path}/postsuper", "LC_ALL=de_DE",
    ]  # fmt: skip
    async with postfix_queue() as queue:
        (held,) = await hold(queue)
        with QueueHelperProcess(
            *("--mta", "postfix", "--config", queue.mta.config), through=tainted
        ) as process:
            assert await QueueHelper(process.socket).drop(held) is HELD
    assert not (tmp_path / "reached").exists()


def test_very_many_recipients_hide_no_message(tmp_path):
    exim = script(
        tmp_path / "exim",
        "shift\nfor one; do\n"
        'echo " 5m  1.2K $one <a@example.test> *** frozen ***"\n'
        "yes '          somebody@example.net' | head -n 20000\necho\ndone",
    )
    ids = [f"1xWIUL-0005vW-{number:02}" for number in range(3)]
    assert queues.Exim(exim).states(ids) == dict.fromkeys(ids, "held")


async def test_a_full_journal_costs_no_answer():
    full = ["/bin/sh", "-c", 'exec "$@" 2>/dev/full', "sh"]
    async with postfix_queue() as queue:
        (held,) = await hold(queue)
        with QueueHelperProcess(
            *("--mta", "postfix", "--config", queue.mta.config), through=full
        ) as process:
            assert await QueueHelper(process.socket).drop(held) is HELD


@pytest.mark.parametrize("word", ["failed exim 1: damaged", "refused not a queue id"])
async def test_one_that_cannot_be_moved_holds_up_the_others_once(word, tmp_path):
    ids = [f"1xWIUL-0005vW-{number:02}" for number in range(60)]
    bad, heard = ids[30], []

    async def helper(reader, writer):
        asked = (await reader.readline()).decode().split()[1:]
        heard.append(len(asked))
        lines = [f"{one} done" for one in asked] if len(asked) > 1 else []
        lines = [word] if bad in asked else [*lines, "done"]
        writer.write("".join(f"{one}\n" for one in lines).encode())
        writer.close()

    async with await asyncio.start_unix_server(helper, tmp_path / "s") as server:
        client = QueueHelper(tmp_path / "s")
        for left in (50, 1):
            found = await asyncio.gather(*map(client.drop, ids), return_exceptions=True)
            trouble = [one for one in found if one is not HELD]
            assert {type(one) for one in trouble} == {QueueTroubleError}
            assert len(trouble) == left
        heard.clear()
        await asyncio.gather(*map(client.drop, ids), return_exceptions=True)
        assert sorted(heard) == [1, 1, 8, 50]
        server.close()


def test_mail_that_somebody_thawed_meanwhile_was_not_dropped(monkeypatch):
    one, other = (f"1xWIUL-0005vW-0{number}" for number in range(2))
    looks = iter([{one: "held", other: "held"}, {one: "queued", other: "absent"}])
    monkeypatch.setattr(queues.Exim, "states", lambda *_: next(looks))
    monkeypatch.setattr(queues.Exim, "_run", lambda *_: (0, ""))
    assert queues.Exim(Path("/nowhere")).drop([one, other]) == {other}

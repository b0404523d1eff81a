"""The privileged helper as a process, asked by the daemon's client; real queues."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys

import pytest

from shaper.policy.queue import QueueHelper, QueueState, QueueTroubleError
from tests.support import needs
from tests.support.ending import end
from tests.support.held_queue import exim_queue, hold, only, postfix_queue
from tests.support.submit import ALICE, submit
from tests.support.waiting import poll_async

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

ABSENT_ID = {"postfix": "4jZTvv5wwCzJrJf", "exim": "1xWIUL-0005vW-2S"}


QUEUES = [
    pytest.param(postfix_queue, {}, id="postfix"),
    pytest.param(postfix_queue, {"long_ids": False, "hashed": True}, id="short-hashed"),
    pytest.param(exim_queue, {}, id="exim"),
]


def delivered(queue):
    return [one.recipients for one in queue.hop.transactions]


@pytest.mark.parametrize(("make", "options"), QUEUES)
async def test_each_way_out_of_the_hold(make, options):
    async with make(**options) as queue:
        going, again, dropped, returned, staying = await hold(queue, 5)
        helper, held = queue.helper, QueueState.HELD
        absent = ABSENT_ID[queue.name]
        found = await helper.states([going, staying, absent])
        assert found == {going: held, staying: held, absent: QueueState.ABSENT}

        assert await helper.release(going) is held
        assert await helper.requeue(again) is held
        assert await helper.drop(dropped) is held
        assert await helper.give_back(returned) is held

        await queue.hop.wait_for(3)
        await poll_async(lambda: set(queue.ids()) == {staying}, "an empty queue")
        mails = sorted((one.sender, *one.recipients) for one in queue.hop.transactions)
        assert [one[0] for one in mails] == [
            "",
            "held@example.test",
            "held@example.test",
        ]
        assert mails[0][1] == "held@example.test"
        # each of them a second time: nothing is on hold any more
        for deed in (helper.release, helper.requeue, helper.drop, helper.give_back):
            for one in (going, again, dropped, returned):
                assert await deed(one) is QueueState.ABSENT
        assert len(queue.hop.transactions) == 3
        assert (await helper.states([staying])) == {staying: held}


@pytest.mark.parametrize(("make", "options"), QUEUES)
async def test_mail_that_is_not_on_hold_is_left_alone(make, options):
    async with make(**options) as queue:
        queue.hop.on("rcpt", "450 4.2.0 later")
        await submit(queue.port, account=ALICE, recipients=["slow@example.net"])
        (waiting,) = await poll_async(lambda: sorted(queue.ids()), "deferred mail")
        helper = queue.helper
        assert await helper.states([waiting]) == {waiting: QueueState.QUEUED}
        for deed in (helper.release, helper.requeue, helper.drop, helper.give_back):
            assert await deed(waiting) is QueueState.QUEUED
        assert set(queue.ids()) == {waiting}


async def test_many_states_need_few_requests():
    async with exim_queue() as queue:
        ids = [f"1xWIUL-0005vW-{number:02}" for number in range(60)]
        found = await queue.helper.states([*ids, *ids])
        assert found == dict.fromkeys(ids, QueueState.ABSENT)
        said = await queue.helper._ask(" ".join(["drop", *ids]))
        assert said == ["refused number of queue ids"]
        with pytest.raises(QueueTroubleError, match="refused not a queue id"):
            await queue.helper.states(["ALL"])


async def test_many_may_ask_at_once():
    async with exim_queue() as queue:
        ids = [f"1xWIUL-{number:06}-00" for number in range(140)]
        asked = (queue.helper.states([one]) for one in ids)
        found = await asyncio.gather(*asked)
        assert all(set(one.values()) == {QueueState.ABSENT} for one in found)


@pytest.mark.parametrize(("make", "options"), QUEUES)
async def test_many_changes_go_in_few_requests(make, options):
    async with make(**options) as queue:
        helper, hop = queue.helper, queue.hop
        for verb, change, arriving in (
            ("release", helper.release, 4),
            ("requeue", helper.requeue, 4),
            ("drop", helper.drop, 0),
            ("return", helper.give_back, 4),
        ):
            before = len(hop.transactions)
            told = len(queue.process.journal.read_text().splitlines())
            *going, staying = await hold(queue, 5)
            asked = [*going, ABSENT_ID[queue.name]]
            found = await asyncio.gather(*map(change, asked))
            assert found == [QueueState.HELD] * 4 + [QueueState.ABSENT], verb
            lines = queue.process.journal.read_text().splitlines()[told:]
            assert len(lines) == 2
            assert all(f"'{verb} " in one for one in lines)
            await hop.wait_for(before + arriving)
            await only(queue, staying)
            fresh = hop.transactions[before:]
            assert len(fresh) == arriving
            bounces = [one for one in fresh if one.recipients == ["held@example.test"]]
            assert len(bounces) == (4 if verb == "return" else 0)
            await helper.drop(staying)
            await only(queue)


async def test_kinds_of_changes_do_not_mix():
    async with exim_queue() as queue:
        ids = await hold(queue, 6)
        helper = queue.helper
        changes = [helper.drop, helper.release, helper.give_back] * 2
        found = await asyncio.gather(
            *(change(one) for change, one in zip(changes, ids, strict=True))
        )
        assert set(found) == {QueueState.HELD}
        await poll_async(lambda: not queue.ids(), "an empty queue")
        left = sorted(one.recipients for one in queue.hop.transactions)
        assert left == [
            ["held@example.test"], ["held@example.test"],
            ["r1@example.net"], ["r4@example.net"],
        ]  # fmt: skip
        assert len(queue.process.journal.read_text().splitlines()) <= 4


async def test_one_that_no_longer_waits_leaves_the_others_their_answer(tmp_path):
    heard = []

    async def helper(reader, writer):
        heard.append(await reader.readline())
        if len(heard) == 2:
            await reader.read()  # until whoever asks has gone
        lines = [f"{one} done" for one in heard[-1].decode().split()[1:]]
        lines = [*lines, "done"] if len(lines) > 1 else ["done"]
        writer.write("".join(f"{one}\n" for one in lines).encode())
        writer.close()

    async with await asyncio.start_unix_server(helper, tmp_path / "s") as server:
        client = QueueHelper(tmp_path / "s")
        ids = [f"1xWIUL-0005vW-{number:02}" for number in range(120)]
        tasks = [asyncio.create_task(client.release(one)) for one in ids]
        await poll_async(lambda: len(heard) == 2, "the second request")
        tasks[1].cancel()
        said = await asyncio.gather(*tasks, return_exceptions=True)
        server.close()
    assert [len(one.split()) - 1 for one in heard] == [1, 50, 50, 19]
    assert said[0] is QueueState.HELD
    assert isinstance(said[1], asyncio.CancelledError)
    assert {type(one) for one in said[2:51]} == {QueueTroubleError}
    assert set(said[51:]) == {QueueState.HELD}


async def test_a_mute_helper_is_waited_for_once_by_all_that_ask(tmp_path):
    asked, gone = [], []

    async def mute(reader, writer):
        asked.append(await reader.readline())
        await reader.read()  # until whoever asks has gone
        writer.close()
        await writer.wait_closed()
        gone.append(writer)

    async with await asyncio.start_unix_server(mute, tmp_path / "s") as server:
        client = QueueHelper(tmp_path / "s", patience=0.1)
        ids = [f"1xWIUL-0005vW-{number:02}" for number in range(20)]
        said = await asyncio.gather(
            *(client.states([one]) for one in ids),
            *(client.drop(one) for one in ids),
            return_exceptions=True,
        )
        assert {str(one) for one in said} == {
            f"queue helper at {tmp_path / 's'} does not answer"
        }
        assert len(asked) == 1
        with pytest.raises(QueueTroubleError, match="does not answer"):
            await client.release(ids[0])
        assert len(asked) == 2, "later it is asked again"
        # Else the collector finds an open connection during another test.
        await poll_async(lambda: len(gone) == 2, "the end of both connections")
        server.close()


async def test_another_user_is_not_heard():
    async with exim_queue() as queue:
        queue.process.socket.parent.chmod(0o711)
        queue.process.socket.chmod(0o666)  # the kernel's word counts, not the mode
        code = (
            "import os, socket, sys; os.setuid(65534);"
            "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(b'state 1xWIUL-0005vW-00\\n'); print(s.recv(100))"
        )
        command = [sys.executable, "-I", "-c", code, str(queue.process.socket)]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, timeout=20, check=False
        )
        assert b"absent" not in done.stdout
        assert "refused: user id 65534" in queue.process.journal.read_text()


async def test_a_mute_client_does_not_stop_the_others():
    async with exim_queue() as queue:
        _, writer = await asyncio.open_unix_connection(str(queue.process.socket))
        found = await queue.helper.states(["1xWIUL-0005vW-00"])
        assert found == {"1xWIUL-0005vW-00": QueueState.ABSENT}
        writer.close()


async def test_a_helper_that_is_away_is_trouble_and_comes_back():
    async with exim_queue() as queue:
        (held,) = await hold(queue)
        queue.process.stop()
        with pytest.raises(QueueTroubleError, match=r"[Cc]onnection refused"):
            await queue.helper.release(held)
        queue.process.start()
        assert await queue.helper.release(held) is QueueState.HELD
        await queue.hop.wait_for(1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--user", "nobody-at-all", "--socket", "/tmp/x"], "no user nobody-at-all"),
        (["--user", "root"], "give --socket PATH"),
        (["--user", "root", "--socket", "s", "--exim", "/nowhere"], "postconf"),
    ],
)
def test_what_it_cannot_start_with_it_names(arguments, words, tmp_path, monkeypatch):
    needs.root("it refuses to run otherwise")
    monkeypatch.chdir(tmp_path)
    if words == "postconf":
        arguments = [*arguments, "--mta", "postfix", "--config", "/nowhere"]
    command = [sys.executable, "-I", "-m", "shaper.queuehelper", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 78
    assert words in done.stderr


def test_a_directory_of_somebody_else_is_no_place_for_its_socket(tmp_path):
    needs.root("it refuses to run otherwise")
    os.chown(tmp_path, 65534, -1)
    command = [sys.executable, "-I", "-m", "shaper.queuehelper", "--user", "nobody"]
    done = subprocess.run(
        [*command, "--socket", str(tmp_path / "s")],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 78
    assert "must belong to root" in done.stderr
    assert list(tmp_path.iterdir()) == []


async def test_a_client_that_drips_is_hung_up_on():
    async with exim_queue() as queue:
        reader, writer = await asyncio.open_unix_connection(str(queue.process.socket))
        answer = asyncio.create_task(reader.read())
        async with asyncio.timeout(20):
            while not answer.done():
                with contextlib.suppress(OSError):
                    writer.write(b"x")
                await asyncio.wait([answer], timeout=1)
        writer.close()
        found = await queue.helper.states(["1xWIUL-0005vW-00"])
        assert found == {"1xWIUL-0005vW-00": QueueState.ABSENT}


async def test_it_takes_the_socket_that_systemd_opened(tmp_path):
    async with exim_queue() as queue:
        (held,) = await hold(queue)
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            start = (
                "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ |="
                " {'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid())};"
                "os.execv(sys.executable, [sys.executable, '-I', '-m',"
                " 'shaper.queuehelper', '--user', 'root', *sys.argv[2:]])"
            )
            mta = ["--mta", "exim", "--exim", queue.mta._binary]
            number = str(listener.fileno())
            helper = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    start,
                    number,
                    *mta,
                    "--config",
                    queue.mta.config,
                ],
                pass_fds=[listener.fileno()],
                stderr=subprocess.DEVNULL,
            )
        try:
            assert await QueueHelper(path).release(held) is QueueState.HELD
            await queue.hop.wait_for(1)
        finally:
            end(helper)

"""The client end of the admin socket, against a socket that says what it is told."""

import socket
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from shaper.cli.client import Client
from shaper.cli.failure import TEMPFAIL, CliError


@contextmanager
def saying(answer: bytes):
    """Answer one request with these octets; return the client to ask with."""
    with (
        # Not pytest's tmp_path: a socket's path is short (unix(7)).
        tempfile.TemporaryDirectory(dir="/tmp") as directory,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        path = Path(directory) / "admin.sock"
        listener.bind(str(path))
        listener.listen()

        def serve():
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as lines:
                lines.readline()
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Client(path, 10.0)
        finally:
            thread.join(10)


def test_rows_come_before_the_result():
    rows = []
    with saying(b'{"row": 1}\n{"row": 2}\n{"ok": true, "result": 2}\n') as client:
        assert client.ask("queue.list", rows.append) == 2
    assert rows == [1, 2]


def test_a_reader_that_has_seen_enough_is_no_failure_of_the_daemon():
    def head(_row):
        raise BrokenPipeError

    with (
        saying(b'{"row": 1}\n{"ok": true, "result": 1}\n') as client,
        pytest.raises(BrokenPipeError),
    ):
        client.ask("queue.list", head)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "hung up"),
        (b'{"row": 1}\n', "hung up"),
        (b"220 mail.example ESMTP\r\n", "not mailshaper"),
        (b'{"neither": 1}\n', "not mailshaper"),
    ],
)
def test_what_does_not_answer_as_the_daemon_is_named(answer, words):
    with saying(answer) as client, pytest.raises(CliError, match=words) as caught:
        client.ask("status")
    assert caught.value.code == TEMPFAIL

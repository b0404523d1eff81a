"""The password check behind Postfix' SASL, without installing Dovecot.

Speaks the server side of Dovecot's authentication protocol, version 1.1, as
Postfix' "dovecot" SASL plug-in uses it: tab-separated lines on a unix socket, a
greeting with the mechanisms, then AUTH requests answered OK or FAIL. Only PLAIN
(RFC 4616). Postfix therefore runs its own real AUTH code, and only the answer
"this password is right" is ours.
"""

import base64
import binascii
import socketserver
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from tests.support.submit import Account

_GREETING = (
    "VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\n"
    "COOKIE\t00000000000000000000000000000000\nDONE\n"
)


class DovecotAuth:
    """A socket at ``path`` that knows ``accounts``; serves from its own thread."""

    def __init__(self, path: Path, accounts: Iterable[Account]) -> None:
        """Remember who may log in; nothing is opened yet."""
        self.path = path
        self._passwords = {one.login: one.password for one in accounts}

    def __enter__(self) -> Self:
        passwords = self._passwords

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(_GREETING.encode())
                for raw in self.rfile:
                    line = raw.decode().rstrip("\n").split("\t")
                    if line[0] in {"AUTH", "CONT"}:
                        self.wfile.write(_verdict(line, passwords).encode())

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True  # Postfix keeps its connections open
            block_on_close = False

        self._server = Server(str(self.path), Handler)
        self.path.chmod(0o666)  # smtpd runs as the user postfix
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="dovecot-auth"
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.path.unlink(missing_ok=True)


def _verdict(line: list[str], passwords: dict[str, str]) -> str:
    """Answer one request: AUTH <id> PLAIN ... resp=<base64>, or CONT <id> <base64>."""
    request = line[1]
    last = line[-1]
    if line[0] == "AUTH" and not last.startswith("resp="):
        return f"CONT\t{request}\t\n"
    try:
        response = base64.b64decode(last.removeprefix("resp="), validate=True)
        _, login, password = response.decode().split("\0")
    except (binascii.Error, ValueError):
        return f"FAIL\t{request}\treason=malformed\n"
    if passwords.get(login) == password:
        return f"OK\t{request}\tuser={login}\n"
    return f"FAIL\t{request}\tuser={login}\n"

"""Measure the policy service: `python -m bench.policy [--requests 20000]`.

20 connections, each asking again as soon as it is answered, as Postfix's smtpd
processes do. Once with nothing to store, once with one call to Redis a request.
The client shares the machine, so the rate is a lower bound.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextlib import ExitStack

from bench.hop.processes import cpu_seconds, free_port, server
from tests.support.redis_server import RedisServer

_CONNECTIONS = 20
_REQUEST = (
    "request=smtpd_access_policy\nprotocol_state=END-OF-MESSAGE\nprotocol_name=ESMTP\n"
    "client_address=192.0.2.1\nclient_name=client.example.test\nclient_port=4711\n"
    "helo_name=laptop.example.test\nsender=alice@example.test\nrecipient=\n"
    "recipient_count=3\nqueue_id=4ABC{number}\ninstance=1.2.3\nsize=5000\n"
    "sasl_method=PLAIN\nsasl_username=alice@example.test\nencryption_protocol=TLSv1.3\n"
    "\n"
)


class _Client(asyncio.Protocol):
    """Asks until its share is done."""

    def __init__(self, number: int, share: int) -> None:
        self._number = number
        self._left = share
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.WriteTransport):
            self._transport = transport
        self._ask()

    def _ask(self) -> None:
        if self._transport is not None:
            number = f"{self._number}x{self._left}"
            self._transport.write(_REQUEST.format(number=number).encode())

    def data_received(self, data: bytes) -> None:
        if not data.endswith(b"\n\n"):
            return
        self._left -= 1
        if self._left > 0:
            self._ask()
        elif not self.done.done():
            self.done.set_result(None)


async def _load(port: int, requests: int) -> float:
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    clients = [_Client(n, requests // _CONNECTIONS) for n in range(_CONNECTIONS)]
    made = [
        await loop.create_connection(lambda c=client: c, "127.0.0.1", port)  # type: ignore[misc]
        for client in clients
    ]
    await asyncio.gather(*(client.done for client in clients))
    taken = time.perf_counter() - start
    for transport, _ in made:
        transport.close()
    return taken


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    count = arguments.requests // _CONNECTIONS * _CONNECTIONS
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        print(f"{'':24} {'requests/s':>10} {'CPU s/1000':>11}")
        for name, url in (("nothing to store", ""), ("one call to Redis", redis.url)):
            port = free_port()
            command = [sys.executable, "-m", "bench.policy.server", str(port)]
            pid = stack.enter_context(server([*command, *([url] * bool(url))], port))
            pids = (pid, redis.pid) if url else (pid,)
            for _ in range(arguments.rounds):
                before = sum(map(cpu_seconds, pids))
                taken = asyncio.run(_load(port, count))
                spent = sum(map(cpu_seconds, pids)) - before
                print(f"{name:24} {count / taken:10.0f} {spent / count * 1000:11.3f}")


if __name__ == "__main__":
    main()

"""One node as a process of its own: ``python -m tests.support.exchange_node JSON``.

The program's exchange, listener and store with a key made from the node's name;
what the daemon adds (facts, verdicts, metrics) is not needed to exchange. Prints
``ready`` when it serves. Fields: path, name, listen ("ADDRESS:PORT" or ""), url,
clock (seconds to add to the time), period, state (where the certificate is), names
(addresses of names, as the hosts file of this node alone).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from federation.exchange import tls
from federation.exchange.joining import Door
from federation.exchange.rounds import Exchange
from federation.exchange.schedule import Schedule
from federation.format.limits import Limits
from tests.support.exchanging import Member

PEPPER = bytes(range(32))


def know(names: dict[str, str]) -> None:
    """Resolve these names to these addresses, before any resolver is asked."""
    ask = socket.getaddrinfo

    def answer(host: Any, *words: Any, **more: Any) -> Any:
        return ask(names.get(host, host), *words, **more)

    socket.getaddrinfo = answer


async def serve(options: dict[str, Any]) -> None:
    """Run until a signal comes."""
    know(options.get("names", {}))
    limits = Limits(**options.get("limits", {}))
    member = Member(options["name"], options["path"], limits)
    door = Door(member.replica, member.own, name=member.name, peppers=lambda: [PEPPER])
    exchange = Exchange(
        member.replica,
        member.signer,
        own=member.own,
        url=options["url"],
        clock=lambda: int(time.time()) + options.get("clock", 0),
        schedule=Schedule(period=options.get("period", 60.0)),
        join=door.answer,
    )
    if options["listen"]:
        host, _, port = options["listen"].rpartition(":")
        files = tls.self_made(Path(options["state"]), host)
        await exchange.listen(host, int(port), tls.server_context(*files))
    running = asyncio.create_task(exchange.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    print("ready", flush=True)  # noqa: T201 - the test waits for it
    with contextlib.suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))

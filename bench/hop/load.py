"""The clients of a measurement: Postfix's smtp-source, and a paced one of ours."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from contextlib import ExitStack

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def tool(name: str) -> str:
    """Return the path of a Postfix test program; raises FileNotFoundError."""
    found = shutil.which(name, path=_PATH)
    if not found:
        raise FileNotFoundError(f"{name} is missing: install the package postfix")
    return found


def blast(
    port: int, messages: int, size: int, sessions: int, senders: int = 1
) -> float:
    """Send as fast as it goes over kept connections; return the seconds taken.

    Messages and connections are divided among the senders.
    """
    start = time.monotonic()
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                subprocess.Popen(
                    [
                        tool("smtp-source"),
                        *("-d", "-s", str(sessions // senders)),
                        *("-m", str(messages // senders), "-l", str(size)),
                        *("-f", f"alice{number}@example.test"),
                        *("-t", "bob@example.net", f"127.0.0.1:{port}"),
                    ]
                )
            )
            for number in range(senders)
        ]
        for client in clients:
            if status := client.wait(timeout=300):
                raise subprocess.CalledProcessError(status, client.args)
    return time.monotonic() - start


async def paced(port: int, rate: float, messages: int, size: int) -> list[float]:
    """Send at a steady rate; return each message's milliseconds, MAIL to 250."""
    body = b"Subject: x\r\n\r\n" + (b"X" * 78 + b"\r\n") * (size // 80) + b".\r\n"
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    taken: list[float] = []

    async def one() -> None:
        if idle:
            reader, writer = idle.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await reader.readline()
            writer.write(b"HELO client.example.test\r\n")
            await reader.readline()
        start = time.perf_counter()
        for line in (
            b"MAIL FROM:<alice@example.test>\r\n",
            b"RCPT TO:<bob@example.net>\r\n",
            b"DATA\r\n",
            body,
        ):
            writer.write(line)
            reply = await reader.readline()
            if reply[:1] not in b"23":
                raise RuntimeError(f"unexpected reply {reply!r}")
        taken.append((time.perf_counter() - start) * 1000)
        idle.append((reader, writer))

    begin = time.perf_counter()
    tasks = []
    for number in range(messages):
        await asyncio.sleep(max(0.0, begin + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(one()))
    await asyncio.gather(*tasks)
    for _, writer in idle:
        writer.close()
    return sorted(taken)

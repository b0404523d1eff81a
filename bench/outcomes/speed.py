"""How many Postfix log lines a second one core joins to messages and outcomes."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from shaper.feedback.history import HistoryReader
from shaper.feedback.postfix_log import PostfixLog
from shaper.feedback.table import shipped_table

MESSAGES = 20_000
_TLS = "Untrusted TLS connection established to"
_RELAY = "mx.example.org[192.0.2.1]:25"
_DELAYS = "delays=0.2/0.02/0.04/3.3"
_QUEUED = "nrcpt=1 (queue active)"
_SENT = "dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 153053D)"
_BOUNCED = (
    "dsn=5.1.1, status=bounced (host mx.example.org[192.0.2.1] said: 550 5.1.1 "
    "<r{0}@example.org>: Recipient address rejected: User unknown in virtual mailbox "
    "table (in reply to RCPT TO command))"
)


def sample(messages: int = MESSAGES) -> list[str]:
    """Return the eight lines a submission usually leaves; one in twenty bounces."""
    lines: list[str] = []
    for i in range(messages):
        queue_id = f"{0x10000000 + i * 7:X}"
        head = (
            f"Nov 25 {i // 3600 % 24:02d}:{i // 60 % 60:02d}:{i % 60:02d} mail postfix/"
        )
        host = f"host{i}.example.com[192.0.2.{i % 250}]"
        user = f"user{i % 100}@example.com"
        login = f"sasl_username={user}"
        fate = _SENT if i % 20 else _BOUNCED.format(i)
        lines += [
            f"{head}submission/smtpd[1234]: {text}"
            for text in (
                f"connect from {host}",
                f"{queue_id}: client={host}, sasl_method=PLAIN, {login}",
                f"disconnect from {host} ehlo=2 starttls=1 auth=1 mail=1 rcpt=1 data=1",
            )
        ]
        delivery = (
            f"to=<r{i}@example.org>, relay={_RELAY}, delay=3.6, {_DELAYS}, {fate}"
        )
        lines[-1:-1] = [
            f"{head}cleanup[1235]: {queue_id}: message-id=<{i}.abc@example.com>",
            f"{head}qmgr[1236]: {queue_id}: from=<{user}>, size=5360, {_QUEUED}",
        ]
        lines += [
            f"{head}smtp[1237]: {_TLS} {_RELAY}: TLSv1.3",
            f"{head}smtp[1237]: {queue_id}: {delivery}",
            f"{head}qmgr[1236]: {queue_id}: removed",
        ]
    return lines


def lines_per_second(rounds: int = 3) -> float:
    """Return the best of some rounds, by CPU seconds: the machine may be shared."""
    lines = sample()
    best = 0.0
    for _ in range(rounds):
        log = PostfixLog(shipped_table())
        begun = time.process_time()
        for line in lines:
            log.feed(line)
        best = max(best, len(lines) / (time.process_time() - begun))
    return best


def reader_lines_per_second() -> float:
    """Return the same for reading a file into messages, times included."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "mail.log"
        path.write_text("\n".join(sample()) + "\n", encoding="utf-8")
        reader = HistoryReader(year=2026)
        begun = time.process_time()
        for _ in reader.read([path]):
            pass
        return reader.lines / (time.process_time() - begun)

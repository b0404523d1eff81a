"""The story: an ordinary day, a theft, a review, a balance.

Sends mail and watches; decides nothing. Whatever the daemon does, it does by
itself or because a command line told it to.
"""

from __future__ import annotations

import asyncio
import email
import json
import random
import re
import time
from email import policy
from typing import TYPE_CHECKING

from tools.demo.books import Books, Fate, Tally, Whose
from tools.demo.hop import Hop
from tools.demo.machine import MAILBOX, MINUTE, DemoError, Machine
from tools.demo.mta import Mta
from tools.demo.people import Office, dead
from tools.demo.screen import Scene, Screen, counted

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tools.demo.books import Letter

__all__ = ["Story"]

_OFFICE = 8.0  # messages a second of all colleagues together
_ORDINARY = 4.0  # seconds of an ordinary day
_OWNER = 0.9  # seconds between two letters of the owner during the theft
_CAREFUL = 0.9  # messages a second of the thief that tries the password
_BLAST = 15.0  # and once it seems to work
_TRICKLE = 8.0  # seconds that we watch the trickle before the blast
_WALL = 2.5  # seconds that the blast goes on against a blocked sender
_LONGEST = 25.0  # seconds until the theft must have been stopped
_SETTLE = 15.0
_FAST = 0.15  # how long pauses for readers are where nobody reads


class Story:
    """One run. `run` returns what is wrong with the balance, nothing if it holds."""

    def __init__(self, machine: Machine, office: Office, seed: int) -> None:
        self._machine = machine
        self._office = office
        self._random = random.Random(seed + 1)  # noqa: S311 - pace, no secret
        self.books = Books()
        self.hop = Hop(self.books, dead, self._arrived)
        self._name = office.owner.login.partition("@")[0]
        self._scene = Scene(self.books, self._name, len(office.colleagues), MINUTE)
        self.screen = Screen(self._scene)
        self._mta = Mta(
            self.books, machine.hop_port, machine.policy_port, self._answered
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._state = "normal"
        self._problems: list[str] = []
        self._pace = 0.0  # the thief's; 0: gone
        self._at_work = True

    async def run(self) -> list[str]:
        """Play it. Raises DemoError."""
        await self._prepare()
        self.screen.board()
        self._mta.start()
        self._begin(self._draw())
        self._begin(self._poll())
        self._begin(self._colleagues())
        await self._theft()
        await self._review()
        return await self._balance()

    async def stop(self) -> None:
        """End what is under way."""
        self.screen.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._mta.stop()
        self.hop.stop()

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def _pause(self, seconds: float) -> None:
        """Give a reader time."""
        self._check()
        await asyncio.sleep(seconds if self.screen.live else seconds * _FAST)

    def _check(self) -> None:
        """Raise what a task of ours died of."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and task.exception():
                task.result()

    # -- acts --------------------------------------------------------------------

    async def _prepare(self) -> None:
        say = self.screen.say
        say("mailshaper: what it does when a mailbox is stolen. No part is acted.")
        say("Starting the daemon with its own Redis, and a next hop ...", "dim")
        await self.hop.start()
        past = asyncio.create_task(
            asyncio.to_thread(lambda: list(self._office.past(time.time())))
        )
        try:
            await self._machine.start(self.hop.port)
        except BaseException:
            past.cancel()
            raise
        records = await past
        await self._machine.load(record for record, _ in records)
        machine = self._machine
        say(
            f"  daemon    process {machine.pid}, mail in on 127.0.0.1:"
            f"{machine.hop_port}, policy requests on :{machine.policy_port}"
        )
        say(f"  next hop  127.0.0.1:{self.hop.port}, writes down what it accepts")
        say(
            f"  past      {len(records)} senders, "
            f"{sum(count for _, count in records):,} messages in five weeks, learned"
        )
        say(
            "  settings  as shipped, but for the show the trickle's minute lasts "
            f"{MINUTE:g} s"
        )
        say()
        await self._pause(1.5)

    async def _theft(self) -> None:
        screen, name = self.screen, self._name
        screen.chapter("1  An ordinary day. Everybody writes; everything passes.")
        screen.event(f"{len(self._office.people)} senders at work", "dim")
        await asyncio.sleep(_ORDINARY)
        screen.chapter(f"2  Somebody has {name}'s password and tries it out.")
        screen.event(
            "the thief's first message: forged sender, bought addresses", "red"
        )
        self._begin(self._owner())
        self._pace = _CAREFUL
        self._begin(self._thief())
        await self._until("slowed", _LONGEST)
        screen.chapter(
            f"3  {name} is slowed: mail waits, one message a minute trickles out."
        )
        await self._until("blocked", _TRICKLE, required=False)
        if self._state != "blocked":
            screen.event("the thief opens up: 15 messages a second", "red")
        self._pace = _BLAST
        await self._until("blocked", _LONGEST)
        screen.chapter(f"4  {name} is blocked: nothing leaves, nothing is lost.")
        await asyncio.sleep(_WALL)
        self._pace = 0.0
        await self._wait_for_notice("blocked")
        screen.draw()
        await self._pause(1.5)

    async def _review(self) -> None:
        screen, name = self.screen, self._name
        sender = self._office.owner.sender
        screen.review()
        screen.heading(f"5  The mail that reached {MAILBOX}")
        self._show_notice()
        await self._pause(3.0)
        screen.heading("6  The operator reviews")
        await self._type("mailshaper cases", 1.5)
        case = str(self._scene.status["case"]["id"])
        await self._type(f"mailshaper show {case}", 2.5)
        await self._type("mailshaper queue list 'subject~parcel' | head -n 6", 1.5)
        screen.comment("spam: a theft. Say so, that nothing of it is learned:")
        await self._type(f"mailshaper block {sender} --reason 'stolen account'", 1.0)
        screen.comment("The password is changed, the thief is out; drop the spam:")
        self.books.dropped = await self._waiting("subject~parcel")
        expected = counted([self.books.letters[i] for i in self.books.dropped])
        drop = "mailshaper queue drop 'subject~parcel' --reason 'stolen account'"
        await self._type(f"{drop} --dry-run", 0.8)
        said = await self._type(drop, 1.0)
        if _tally(said) != self._left(expected):
            self._problems.append(
                f"the drop speaks of {_tally(said)}, we expected {self._left(expected)}"
            )
        screen.comment(f"and what {name} wrote herself waits still:")
        await self._type(f"mailshaper queue list --sender {sender}", 1.5)
        self.books.released_at = time.time()
        await self._type(
            f"mailshaper release {sender} --reason 'password changed'", 0.0
        )
        await self._settle()
        released = [
            one
            for one in self.books.of(Whose.OWNER)
            if one.arrived and self.books.way(one) is Fate.RELEASED
        ]
        took = max(one.arrived for one in released) - self.books.released_at
        screen.event(
            f"{counted(released)} of {name}'s own arrived within {took:.1f} s", "green"
        )
        letter = self._office.owner_writes()
        self._mta.submit(letter)
        await self._mta.idle()
        verdict = "is held" if letter.held else "passes at once"
        screen.event(f'{name} writes again, "{letter.subject}": {verdict}', "green")
        await self._pause(1.0)
        await self._type(f"mailshaper audit --sender {sender} | tail -n 4", 1.5)

    def _left(self, tally: Tally) -> Tally:
        """Return the recipients of dropped mail without those refused before."""
        refused = sum(len(self.books.letters[i].refused) for i in self.books.dropped)
        return Tally(tally.messages, tally.recipients - refused)

    async def _balance(self) -> list[str]:
        screen, books = self.screen, self.books
        self._at_work = False
        await self._mta.idle()
        await self._settle()
        await self._wait_for_notice("normal")
        held = (await self._machine.ask("status"))["held"]["messages"]
        table = books.balance()
        lost = sum(table[Fate.LOST].values(), Tally())
        altered = sum(letter.altered for letter in books.letters.values())
        screen.close()
        screen.heading("7  The balance")
        screen.balance(table)
        spam = [one for one in books.of(Whose.THIEF) if one.arrived]
        late = [one for one in books.of(Whose.OFFICE) if one.held]
        early = [one for one in spam if not one.held]
        later = [one for one in spam if one.held]
        screen.say(
            f"Spam that got out: {_out(early)} before the alarm, {_out(later)} after."
        )
        screen.say(
            f"Innocent colleagues delayed: {len(late)}. "
            f"Notices to {MAILBOX}: {len(books.notices)}."
        )
        wrong = {
            "lost": lost.messages,
            "delivered twice": books.duplicates(),
            "still held": held,
            "altered on the way": altered,
            "from nowhere": len(books.strays),
        }
        screen.say(" · ".join(f"{name}: {count}" for name, count in wrong.items()))
        found = [f"{count} messages {name}" for name, count in wrong.items() if count]
        found += self._problems
        found += [f"the daemon logged {line}" for line in self._machine.complaints()]
        return found

    # -- the operator ------------------------------------------------------------

    async def _type(self, line: str, pause: float) -> str:
        self.screen.typed(line)
        columns = self.screen.width
        output, status = await self._machine.type(
            line, columns=columns, colour=self.screen.live
        )
        self.screen.output(output)
        if status:
            self._problems.append(f"`{line}` ended with status {status}")
        await self._pause(pause)
        return output

    async def _waiting(self, chosen: str) -> set[str]:
        """Return the Message-IDs of held mail, from the command line's JSON."""
        output, status = await self._machine.type(
            f"mailshaper queue list '{chosen}' --json", columns=80, colour=False
        )
        if status:
            raise DemoError(f"the queue cannot be listed: {output}")
        rows = [json.loads(line) for line in output.splitlines()]
        return {str(row["message_id"]) for row in rows if "message_id" in row}

    def _show_notice(self) -> None:
        """Show the notice of the block: what, who, why, and what to type."""
        subject, text = self._scene.mail
        self.screen.say(f"Subject: {subject}", "bold cyan")
        self.screen.say()
        parts = text.strip().split("\n\n")
        for part in parts[:2]:
            self.screen.say(part + "\n")
        if len(parts) > 3:  # noqa: PLR2004
            self.screen.say("[...]\n", "dim")
        self.screen.say(parts[-2])  # what to type; the foot follows

    # -- what happens meanwhile --------------------------------------------------

    async def _colleagues(self) -> None:
        number = 0
        while self._at_work:
            number += 1
            self._mta.submit(self._office.colleague_writes(number))
            await asyncio.sleep(self._random.expovariate(_OFFICE))

    async def _owner(self) -> None:
        """Have the owner write now and then, until the review."""
        while self._pace:
            self._mta.submit(self._office.owner_writes())
            await asyncio.sleep(_OWNER)

    async def _thief(self) -> None:
        while self._pace:
            self._mta.submit(self._office.thief_writes())
            await asyncio.sleep(1.0 / self._pace)

    async def _draw(self) -> None:
        while True:
            self.screen.draw()
            await asyncio.sleep(0.15)

    async def _poll(self) -> None:
        """Ask the daemon how it sees the owner of the account."""
        name = self._office.owner.sender
        while True:
            self._scene.status = await self._machine.ask("show", name=name)
            state = str(self._scene.status["sender"]["state"])
            if state != self._state:
                self._state = state
                self._moved(state)
            await asyncio.sleep(0.25)

    async def _until(self, state: str, within: float, *, required: bool = True) -> None:
        """Wait for a state of the owner's account. Raises DemoError."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            self._check()
            if self._state == state:
                return
            await asyncio.sleep(0.05)
        if required:
            raise DemoError(
                f"{self._office.owner.sender} is {self._state} after {within:g} s, "
                f"not {state}; this machine may be too busy, try again"
            )

    async def _wait_for_notice(self, state: str) -> None:
        """Wait until the mail about a change of state is there. Raises DemoError."""
        end = time.monotonic() + _SETTLE
        mark = f".{state}.".encode()
        while not any(mark in _message_id(one) for one in self.books.notices):
            self._check()
            if time.monotonic() > end:
                raise DemoError(f"no notice about {state!r} within {_SETTLE:g} s")
            await asyncio.sleep(0.1)

    async def _settle(self) -> None:
        """Wait until nothing waits; what still does the balance will tell."""
        end = time.monotonic() + _SETTLE
        while self.books.unsettled() and time.monotonic() < end:
            self._check()
            await asyncio.sleep(0.05)

    def _moved(self, state: str) -> None:
        if state == "slowed":
            out = [one for one in self.books.of(Whose.THIEF) if one.arrived]
            self.screen.event(
                f"SLOWED after {_out(out)} of spam; the next one is held already",
                "bold yellow",
            )
        elif state == "blocked":
            self.screen.event(
                "BLOCKED: from here on only a person lets anything out", "bold red"
            )

    def _answered(self, letter: Letter) -> None:
        if letter.refused and letter.whose is Whose.OFFICE:
            self.screen.event(
                f"typing error of a colleague: {min(letter.refused)} does not exist, "
                "the MTA is told at once",
                "dim",
            )

    def _arrived(self, letter: Letter | None, content: bytes) -> None:
        if letter is None:
            mail = email.message_from_bytes(content, policy=policy.default)
            body = mail.get_body(("plain",))
            text = str(body.get_content() if body else "").replace("\r\n", "\n")
            self._scene.mail = (str(mail["Subject"]).strip(), text)
            news = re.sub(r"^\[[^]]*\] | \([^)]*\)$", "", str(mail["Subject"]).strip())
            self.screen.event(f"mail to the admins: {news}", "cyan")
            for line in text.splitlines():
                if line.startswith("  mailshaper show "):
                    self.screen.event(f"and what to type: {line.strip()}", "cyan")
            return
        if letter.held and self.books.way(letter) is Fate.TRICKLED:
            who = f"{self._name}'s own" if letter.whose is Whose.OWNER else "spam"
            style = "cyan" if letter.whose is Whose.OWNER else "red"
            self.screen.event(
                f'trickle: {who}, "{letter.subject}" to {letter.recipients[0]}', style
            )


def _message_id(content: bytes) -> bytes:
    found = re.search(rb"(?im)^message-id:\s*(\S+)", content)
    return found[1] if found else b""


def _tally(text: str) -> Tally:
    """Read the first "N messages (M recipients)" of a command's output."""
    found = re.search(r"([\d,]+) messages? \(([\d,]+) recipients?\)", text)
    if not found:
        return Tally()
    first, second = (int(number.replace(",", "")) for number in found.groups())
    return Tally(first, second)


def _out(letters: list[Letter]) -> str:
    reached = sum(len(one.arrivals) for one in letters)
    if not letters:
        return "none"
    return f"{len(letters)} messages ({reached} recipients)"

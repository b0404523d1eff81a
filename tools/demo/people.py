"""The people: an office with its correspondents, its past, and a thief.

Everything follows from one seed: names, habits, weeks of past mail and what is
written today. All domains are of RFC 2606, all addresses of RFC 5737. The past is
judged and learned by the functions that decide in the mail path, and stored as
the daemon would have stored it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import TYPE_CHECKING

from shaper.core.contacts import contact_hash
from shaper.core.evidence import Level, acquit, learn, weigh
from shaper.core.model import Model
from shaper.core.record import Record
from tools.demo.books import Letter, Whose

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Office", "Person", "dead"]

_NAMES = (
    "claire", "adele", "bruno", "camille", "david", "elise", "farid", "gaelle", "hugo",
    "ines", "jean", "karim", "lea", "marc", "nadia", "olivier", "paula", "quentin",
    "rosa", "samir", "thea", "ugo", "vera", "william", "xenia", "yann", "zoe",
    "anton", "berthe", "cyril", "diane", "emile", "flora", "gael", "henri", "iris",
)  # fmt: skip
_FIRMS = ("nord.example", "lune.example", "moulin.example")
_PARTNERS = (
    "timber.example", "tiles.example", "cityhall.example", "bank.example",
    "school.example", "florist.example", "garage.example", "clinic.example",
)  # fmt: skip
_FREEMAIL = ("bigmail.example", "webpost.example", "inbox.example", "postino.example")
_TOPICS = (
    "Quote for the kitchen", "Minutes of Tuesday", "Invoice 2291", "Holidays",
    "Delivery on Friday", "New opening hours", "Your order", "Lunch?",
    "Plan of the second floor", "Keys", "Estimate", "Signed contract",
    "Photos of the site", "Appointment on Monday", "Price list",
)  # fmt: skip
_SPAM = (
    "Your parcel {n} is waiting", "Last notice: parcel {n}", "Parcel {n}: pay 1.99 now",
    "We could not deliver parcel {n}", "Your parcel {n} is held at customs",
)  # fmt: skip
_DAY = 86400.0
_WEEKS = 5
_NEW = 0.06  # share of a person's mail that goes to somebody new
_DEAD = 0.12  # share of a bought list that does not exist any more


def dead(address: str) -> bool:
    """Whether the next hop knows no such mailbox."""
    return address.startswith("gone.")


@dataclass(slots=True)
class Person:
    """A sender with habits: how much it writes a day, and to whom."""

    login: str
    client: str
    per_day: int
    friends: list[str]

    @property
    def sender(self) -> str:
        """What the daemon calls it."""
        return f"login:{self.login}"


class Office:
    """All people of the demonstration; the first one is robbed."""

    def __init__(self, seed: int) -> None:
        self._random = rng = random.Random(seed)  # noqa: S311 - a story, no secret
        self.key = rng.randbytes(32)
        self._count = 0
        self.people = [
            Person(
                f"{name}@{_FIRMS[i % len(_FIRMS)]}",
                f"192.0.2.{10 + i}",
                rng.randint(4, 11),
                [],
            )
            for i, name in enumerate(_NAMES)
        ]
        for person in self.people:
            inside = rng.sample([p.login for p in self.people if p is not person], 4)
            outside = {self._contact() for _ in range(rng.randint(8, 24))}
            person.friends = inside + sorted(outside)
        self.owner, self.colleagues = self.people[0], self.people[1:]

    def _contact(self) -> str:
        rng = self._random
        return f"{rng.choice(_NAMES)}.{rng.randrange(100, 999)}@{rng.choice(_PARTNERS)}"

    # -- the past ----------------------------------------------------------------

    def past(self, now: float) -> Iterator[tuple[Record, int]]:
        """Return each sender's record after weeks of mail, and how much that was.

        Five days a week, within some hours of the present hour of the day: whenever
        the demonstration runs, it is office time for them.
        """
        model = Model.default()
        for person in self.people:
            record = Record.new(person.sender, now - _WEEKS * 7 * _DAY)
            messages = 0
            for day in range(_WEEKS * 7, 0, -1):
                if day % 7 not in {2, 3}:  # their weekend, never today
                    messages += self._day(record, model, person, now - day * _DAY)
            yield record, messages

    def _day(self, record: Record, model: Model, person: Person, noon: float) -> int:
        rng = self._random
        count = max(1, round(rng.gauss(person.per_day, 2.0)))
        for at in sorted(noon + rng.uniform(-3.0, 3.0) * 3600 for _ in range(count)):
            if rng.random() < _NEW:
                person.friends.append(self._contact())
                whom = person.friends[-1:]
            else:
                whom = self._known(person)
            hashes = [contact_hash(self.key, address) for address in whom]
            evidence = weigh(record.profile, model, hashes, at)
            if evidence.level >= Level.SLOW:  # as an operator would have done
                acquit(record.profile, model, at)
            learn(record.profile, model, hashes, at)
        return count

    def _known(self, person: Person) -> list[str]:
        rng = self._random
        # Few get most of the mail, as in any mailbox.
        share = [1.0 / (1 + rank) for rank in range(len(person.friends))]
        number = rng.choices((1, 2, 3), (0.85, 0.1, 0.05))[0]
        return sorted(set(rng.choices(person.friends, share, k=number)))

    # -- today -------------------------------------------------------------------

    def colleague_writes(self, number: int) -> Letter:
        """Return innocent mail; one letter in the day has a typing error."""
        person = self._random.choice(self.colleagues)
        whom = self._known(person)
        if number == _TYPO:
            whom = ["gone.typo@bank.example"]
        return self._innocent(person, Whose.OFFICE, whom)

    def owner_writes(self) -> Letter:
        """Return the robbed owner's own mail, to people it knows."""
        return self._innocent(self.owner, Whose.OWNER, self._known(self.owner))

    def _innocent(self, person: Person, whose: Whose, whom: list[str]) -> Letter:
        rng = self._random
        again = rng.choice(("", "Re: ", "Re: "))
        return self._letter(
            whose,
            person.login,
            person.login,
            whom,
            again + rng.choice(_TOPICS),
            person.client,
        )

    def thief_writes(self) -> Letter:
        """Return spam: the owner's login, a forged sender, a bought list."""
        rng = self._random
        whom = [self._stranger() for _ in range(rng.randint(2, 4))]
        forged = f"service{rng.randrange(10, 99)}@parcels.example"
        subject = rng.choice(_SPAM).format(n=rng.randrange(10000, 99999))
        return self._letter(
            Whose.THIEF, self.owner.login, forged, whom, subject, "203.0.113.66"
        )

    def _stranger(self) -> str:
        rng = self._random
        gone = "gone." if rng.random() < _DEAD else ""
        # Counted, so that no two letters to strangers share one.
        self._count += 1
        return f"{gone}{rng.choice(_NAMES)}{self._count}@{rng.choice(_FREEMAIL)}"

    def _letter(
        self,
        whose: Whose,
        login: str,
        mail_from: str,
        whom: list[str],
        subject: str,
        client: str,
    ) -> Letter:
        rng = self._random
        mail = EmailMessage(policy=SMTP)
        mail["Date"] = formatdate(localtime=True)
        mail["From"] = mail_from
        mail["To"] = ", ".join(whom)
        mail["Subject"] = subject
        mail["Message-ID"] = f"<{rng.getrandbits(64):016x}@{mail_from.split('@')[1]}>"
        words = " ".join(rng.choice(_TOPICS) for _ in range(rng.randint(5, 120)))
        mail.set_content(f"Hello,\n\n{words}\n\n.\n{login}\n")
        return Letter(
            str(mail["Message-ID"]),
            whose,
            login,
            mail_from,
            tuple(whom),
            subject,
            client,
            mail.as_bytes(),
        )


_TYPO = 40  # which letter of the office has the typing error

"""The MTA's queue behind the helper, in memory: for kills at every step.

Keeps the promises of ``shaper.queuehelper`` (tried on real Postfix and Exim in its
own tests and in tests/e2e): only what is on hold is touched, asking twice changes
nothing. ``took`` counts what left the hold by which verb.
"""

from collections import Counter
from collections.abc import Iterable

from shaper.core.asked import Answer, Question, Stage
from shaper.core.envelope import Client
from shaper.engine.asking import Asking
from shaper.policy.queue import QueueState, QueueTroubleError

__all__ = ["MtaQueue", "offer", "question"]


class MtaQueue:
    """Implements ``shaper.engine.release.MailQueue``."""

    def __init__(self) -> None:
        """Start empty. Set ``trouble`` to make the helper mute."""
        self.held: set[str] = set()
        self.queued: set[str] = set()
        self.took: Counter[tuple[str, str]] = Counter()
        self.trouble = False

    def _check(self) -> None:
        if self.trouble:
            raise QueueTroubleError("the helper is away")

    def _state(self, queue_id: str) -> QueueState:
        if queue_id in self.held:
            return QueueState.HELD
        queued = queue_id in self.queued
        return QueueState.QUEUED if queued else QueueState.ABSENT

    def _take(self, verb: str, queue_id: str) -> QueueState:
        self._check()
        state = self._state(queue_id)
        if state is QueueState.HELD:
            self.held.discard(queue_id)
            self.took[verb, queue_id] += 1
        return state

    async def states(self, queue_ids: Iterable[str]) -> dict[str, QueueState]:
        """Tell where each message is."""
        self._check()
        return {one: self._state(one) for one in queue_ids}

    async def release(self, queue_id: str) -> QueueState:
        """Let it go on."""
        return self._take("release", queue_id)

    async def requeue(self, queue_id: str) -> QueueState:
        """Let it go on with a new life time."""
        return self._take("requeue", queue_id)

    async def drop(self, queue_id: str) -> QueueState:
        """Delete it."""
        return self._take("drop", queue_id)

    async def give_back(self, queue_id: str) -> QueueState:
        """Return it to its sender."""
        return self._take("return", queue_id)

    def verbs(self, queue_id: str) -> dict[str, int]:
        """Return how often a message left by which verb."""
        return {verb: n for (verb, one), n in self.took.items() if one == queue_id}


def question(
    ident: str,
    sender: str,
    recipients: Iterable[str] = (),
    *,
    stage: Stage = Stage.END,
    count: int = 0,
    size: int = 0,
) -> Question:
    """Return what Postfix asks about a message of a login, at one stage."""
    login = sender.partition(":")[2]
    client = Client(address="192.0.2.1", ident=ident, login=login)
    envelope = f"{login}@example.org"
    named = tuple(recipients)
    return Question(stage, f"i-{ident}", envelope, named, client, count, size)


async def offer(
    asking: Asking, queue: MtaQueue, ident: str, sender: str, *recipients: str
) -> Answer:
    """Ask at each RCPT and at END-OF-MESSAGE, as Postfix does, and obey."""
    for one in recipients:
        asked = question(ident, sender, [one], stage=Stage.RCPT)
        answer = await asking.answer(asked)
        if answer.reply is not None:
            return answer
    alone = recipients if len(recipients) == 1 else ()
    asked = question(ident, sender, alone, count=len(recipients), size=1234)
    answer = await asking.answer(asked)
    if answer.hold:
        queue.held.add(ident)
    return answer

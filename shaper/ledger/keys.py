"""Names of all keys, and which of them share a hash slot.

Sender names, queue ids and the like are text from outside: of arbitrary length,
with any octets. A key carries their BLAKE2b digest instead; the name itself is a
value. Braces mark the part that Redis Cluster hashes.

A sender's keys carry the tag of its *bucket*, one of 64, and so does the bucket's
part of the index by state. Record and index are thus in one slot and change in
one script: no crash can set them apart, and no repair is needed. 64 buckets
spread well over the nodes of a cluster, and the whole index is 64 small sets.

    mailshaper:{17}:record:<digest>    version, state, record of a sender
    mailshaper:{17}:slot:<digest>      its next trickle release
    mailshaper:{17}:slowed, :blocked   names in that state, part 17
    mailshaper:login:<digest>          login of an MTA queue id
    mailshaper:{cases}:...             parts of cases, their index, their senders
    mailshaper:{held}:...              index of held mail by instance
    mailshaper:sent:...                messages that left (shaper.ledger.sent)
    mailshaper:orders          stream of operators' orders
    mailshaper:routes          the table of routes
    mailshaper:epoch:<digest>          an instance's mark: gone when data was lost
    mailshaper:claim:<digest>          which instance tells of a step, a digest
    mailshaper:{s17}:gone:<digest>     what is known of a suppressed address
    mailshaper:suppressed              stream of the digests that changed
    mailshaper:federation:...          where the federation daemon meets us
"""

from __future__ import annotations

from hashlib import blake2b

__all__ = ["BUCKETS", "INDEXED", "Keys", "octets", "text"]

BUCKETS = 64
INDEXED = ("slowed", "blocked")


def octets(value: str) -> bytes:
    """Return text as stored, octets that are not UTF-8 included."""
    return value.encode("utf-8", "surrogateescape")


def text(value: bytes) -> str:
    """Return stored text."""
    return value.decode("utf-8", "surrogateescape")


class Keys:
    """Builds keys below a prefix, so that one Redis can serve several set-ups."""

    def __init__(self, prefix: str) -> None:
        """``prefix`` stands before every key. Raises ValueError for braces."""
        if "{" in prefix or "}" in prefix:
            raise ValueError(f"the key prefix {prefix!r} must not contain braces")
        self.orders = f"{prefix}:orders"
        self.case_index = f"{prefix}:{{cases}}:index"
        self.instances = f"{prefix}:{{held}}:instances"
        self.routes = f"{prefix}:routes"
        self.suppressed_stream = f"{prefix}:suppressed"
        self._prefix = prefix

    def sender(self, sender: str) -> tuple[str, str]:
        """Return the bucket's stem and the digest of a sender."""
        digest = _digest(sender)
        return f"{self._prefix}:{{{int(digest[:2], 16) % BUCKETS}}}", digest

    def record(self, sender: str) -> str:
        """Return the key of a sender's record."""
        stem, digest = self.sender(sender)
        return f"{stem}:record:{digest}"

    @property
    def all_records(self) -> str:
        """Return the pattern of every record's key."""
        return f"{self._prefix}:{{*}}:record:*"

    def slot(self, sender: str) -> str:
        """Return the key of a sender's next trickle release."""
        stem, digest = self.sender(sender)
        return f"{stem}:slot:{digest}"

    def of_state(self, sender: str) -> tuple[str, ...]:
        """Return the index keys of a sender's bucket, in the order of INDEXED."""
        stem, _ = self.sender(sender)
        return tuple(f"{stem}:{state}" for state in INDEXED)

    def index(self, state: str) -> list[str]:
        """Return all parts of the index of a state."""
        return [f"{self._prefix}:{{{n}}}:{state}" for n in range(BUCKETS)]

    def login(self, queue_id: str) -> str:
        """Return the key of a queue id's login."""
        return f"{self._prefix}:login:{_digest(queue_id)}"

    def case(self, case_id: str) -> str:
        """Return the key of a part of a case."""
        return f"{self._prefix}:{{cases}}:body:{_digest(case_id)}"

    def cases_of(self, sender: str) -> str:
        """Return the key of the set of a sender's cases."""
        return f"{self._prefix}:{{cases}}:of:{_digest(sender)}"

    def held(self, instance: str) -> str:
        """Return the key of an instance's held mail."""
        return f"{self._prefix}:{{held}}:of:{_digest(instance)}"

    def suppressed(self, digest: str) -> str:
        """Return the key of a suppressed address, by its digest."""
        bucket = int(digest[:2], 16) % BUCKETS
        return f"{self._prefix}:{{s{bucket}}}:gone:{digest}"

    @property
    def all_suppressed(self) -> str:
        """Return the pattern of every suppressed address's key."""
        return f"{self._prefix}:{{s*}}:gone:*"

    def sent(self, day: int, level: int, bucket: int) -> str:
        """Return the key of a bucket of messages that left on a day."""
        return f"{self._prefix}:sent:{day}:{level}:{bucket:x}"

    @property
    def all_sent(self) -> str:
        """Return the pattern of every bucket of messages that left."""
        return f"{self._prefix}:sent:*"

    def federation(self, what: str) -> str:
        """Return a key of what the federation daemon reads or writes."""
        return f"{self._prefix}:federation:{what}"

    def claim(self, what: str) -> str:
        """Return the key that says which instance does a thing."""
        return f"{self._prefix}:claim:{_digest(what)}"

    def epoch(self, token: str) -> str:
        """Return the key of an instance's mark."""
        return f"{self._prefix}:epoch:{_digest(token)}"


def _digest(name: str) -> str:
    return blake2b(octets(name), digest_size=16).hexdigest()

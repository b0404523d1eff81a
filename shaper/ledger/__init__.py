"""Shared state in Redis: senders, login table, cases, held mail, orders, facts.

``RedisLedger`` implements the port ``Ledger``; ``RedisChild`` is the daemon's own
server for when no URL is configured.
"""

from shaper.ledger.child import RedisChild, RedisChildError
from shaper.ledger.ledger import RedisLedger

__all__ = ["RedisChild", "RedisChildError", "RedisLedger"]

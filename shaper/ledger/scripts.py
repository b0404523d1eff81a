"""The Lua scripts beside this module, each one atomic step.

All are idempotent (a retried call changes nothing) and name every key in KEYS,
so that they run on Redis Cluster. EVALSHA with the source as fallback is used
rather than functions, which Redis 6.2 does not have.
"""

from __future__ import annotations

from hashlib import sha1
from importlib import resources

__all__ = ["CASE", "CLAIM", "EPOCH", "SAVE", "SENT", "SLOT", "SUPPRESS", "Script"]


class Script:
    """Source and digest of a script."""

    def __init__(self, name: str) -> None:
        """Read ``lua/NAME.lua`` from the package."""
        self.name = name
        self.source = (resources.files(__package__) / "lua" / f"{name}.lua").read_text()
        # SHA-1 is Redis' name for a script, not a protection.
        self.sha = sha1(self.source.encode(), usedforsecurity=False).hexdigest()


SAVE = Script("save")
SLOT = Script("slot")
CASE = Script("case")
EPOCH = Script("epoch")
SENT = Script("sent")
CLAIM = Script("claim")
SUPPRESS = Script("suppress")

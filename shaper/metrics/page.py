"""Writes ``docs/metrics.md``: ``python -m shaper.metrics.page > docs/metrics.md``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from shaper.metrics.declared import ALL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shaper.metrics.declared import Declared

__all__ = ["entries", "page"]

_HEAD = """\
# Metrics

<!-- Written by `python -m shaper.metrics.page > docs/metrics.md`. -->

Served at `metrics.listen` (`http://127.0.0.1:9465/metrics`), beside `/healthz` (200
while the daemon works at all) and `/readyz` (200, or 503 with one line of JSON for
each reason: `restoring`, `redis`, `spool`, `next_hop`). How to have them collected
and drawn: `docs/monitoring.md`.

Times are in seconds, sizes in octets (`_bytes`), shares between 0 and 1 (`_ratio`).
Counters end in `_total` and start at 0 with the daemon; a histogram has `_bucket`,
`_sum` and `_count`. No label holds an address or the name of a sender: those are in
`mailshaper cases`. Each instance reports its own spool; the state of senders is
shared, so add it up with `max`, not `sum`, over instances with one Redis. Python's
client adds `process_*` (memory, CPU, open files, start time).

Some are there only with their setting: `mailshaper_log_lag_bytes` and
`mailshaper_log_unreadable` with `feedback.logs` or `feedback.journal`.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *entries(ALL, "##")])


def entries(declared: Iterable[Declared], mark: str) -> Iterator[str]:
    """Give the paragraphs about metrics, with headings of this level."""
    for one in declared:
        yield f"{mark} `{one.name}`\n\n{one.kind.capitalize()}. {one.help}\n"
        if one.values:
            yield f"Labels: {one.values}.\n"
        yield f"When it moves: {one.act}\n"


if __name__ == "__main__":
    sys.stdout.write(page())

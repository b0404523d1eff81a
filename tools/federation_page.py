"""Writes docs/federation-monitoring.md: ``python -m tools.federation_page > docs/...``.

Metrics and events of the federation, from where they are declared.
"""

from __future__ import annotations

import sys

from federation import journal
from federation.declared import ALL
from shaper.metrics.page import entries

__all__ = ["page"]

_HEAD = """\
# Watching the federation

<!-- Written by `python -m tools.federation_page > docs/federation-monitoring.md`. -->

`mailshaper federation status` for people, this page for machines. Nothing here is
about mail: it goes on without the federation. Alerts:
`grafana/prometheus/federation-alerts.yml`, a page for each in
`docs/runbooks/MailshaperFederation*.md`. Dashboard: `mailshaper / Federation`.
Prometheus needs a job of its own called `mailshaper-federation`
(`grafana/prometheus/prometheus.yml` has it as a comment).

## Probes

Served at `metrics.listen` (`http://127.0.0.1:9466`): `/metrics`; `/healthz`, 200
while the daemon works at all; `/readyz`, 200, or 503 with one line of JSON for each
reason: `store` (the database cannot be written), `clock` (it differs by more than an
hour), `redis` (the shaper's cannot be used).

## Events in the log

On standard error, and so in the journal of systemd (`journalctl -u
mailshaper-federation`). With `log.format = "json"` each is an object. Names and
fields stay; other lines are for people. No event names a recipient or a sender.

"""


def page() -> str:
    """Return the page."""
    parts = [_HEAD + journal.table() + "\n## Metrics\n"]
    parts.append(
        "No label holds an address. Counters begin at 0 with the daemon; Python's "
        "client adds\n`process_*`.\n"
    )
    return "\n".join([*parts, *entries(ALL, "###")])


if __name__ == "__main__":
    sys.stdout.write(page())

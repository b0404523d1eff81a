"""Two nodes and a real Prometheus: every query of the federation's dashboard.

Each query of a panel or annotation, and each metric that an alert looks at, must
have found data or be listed in ``EMPTY`` with the reason; what is listed must be
empty, so that the list stays honest.
"""

import math
import re
import time

import pytest

from tests.support import needs
from tests.support.fednode import FederationNode
from tests.support.prometheus import Prometheus
from tests.support.redis_server import RedisServer
from tests.support.waiting import poll
from tools.grafana.federation import FEDERATION
from tools.grafana.picture import resolved

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(120)]

JOB = "mailshaper-federation"
ALERTS = needs.REPOSITORY / "grafana" / "prometheus" / "federation-alerts.yml"
SELECTOR = re.compile(r"\b(?:up|mailshaper_federation_\w+)(?:\{[^}]*\})?(?=[\s\[)])")
EMPTY = {
    "delta(mailshaper_federation_forks": "no log forks in this run",
}


def expressions():
    """Return every query of the board, and what the alerts look at."""
    found = {
        resolved(query.expr)
        for row in FEDERATION.rows
        for panel in row.panels
        for query in panel.queries
    }
    found.add(resolved(FEDERATION.marks.expr))
    # Alerts are silent on a good day: what they look at must be there.
    for expr in re.findall(r"expr: \|\n +(.*)\n", ALERTS.read_text()):
        parts = SELECTOR.findall(expr + "\n")
        assert parts, expr
        found.update(parts)
    return found


def has_data(found):
    """Whether a matrix has at least one number."""
    return any(math.isfinite(float(v)) for one in found for _, v in one["values"])


def excused(expr):
    return next((part for part in EMPTY if part in expr), "")


def equal(one, other):
    return one.events() == other.events()


def test_every_query_has_data():
    with (
        RedisServer() as redis,
        FederationNode(
            "club", listen=True, quick=True, settings={"redis": {"url": redis.url}}
        ) as club,
        FederationNode("asso", quick=True) as asso,
        Prometheus(
            [f"127.0.0.1:{node.metrics}" for node in (club, asso)], [ALERTS], job=JOB
        ) as prometheus,
    ):
        club("init", "--name", "Our club", "--network", "test")
        club.start()
        word = re.search(r"sm2tp1\.\S+", club("invite", "Asso"))[0]
        asso("join", word, "--name", "Asso")
        asso.start()
        poll(lambda: len(prometheus.query("up == 1")) == 2, "both are scraped", 30)
        start = time.time() - 1
        asso("report", "gone@example.net", "--code", "5.1.1")
        poll(lambda: equal(club, asso), "equal logs", 30)

        def silent():
            end = time.time()
            return {
                expr
                for expr in expressions()
                if not has_data(prometheus.range(expr, start, end))
            }

        end = time.monotonic() + 15
        while any(not excused(e) for e in silent()) and time.monotonic() < end:
            time.sleep(1)
        without, rules = silent(), prometheus.rules()
    assert {expr for expr in without if not excused(expr)} == set()
    unused = {part for part in EMPTY if not any(part in expr for expr in without)}
    assert unused == set(), "listed as empty, and found data"
    assert [r["name"] for r in rules if r["health"] != "ok"] == []
    assert len(rules) > 10

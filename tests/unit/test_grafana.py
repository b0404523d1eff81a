"""Dashboards, alerts and runbooks agree with each other and with the code."""

import json
import re
import subprocess
from itertools import combinations
from pathlib import Path

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from federation.declared import ALL as FEDERATED
from shaper.metrics.declared import ALL as SHAPER
from tests.support import needs
from tools.grafana.boards import BOARDS
from tools.grafana.build import dump

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "grafana"
RULES = GRAFANA / "prometheus"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
ALL = (*SHAPER, *FEDERATED)
# Counted by others than us: the client library, Prometheus itself.
FOREIGN = {
    "process_cpu_seconds_total", "process_max_fds", "process_open_fds",
    "process_resident_memory_bytes", "process_start_time_seconds", "up",
}  # fmt: skip


def known():
    names = set(FOREIGN)
    for one in ALL:
        names.add(one.name)
        if one.kind == "histogram":
            names |= {f"{one.name}_{part}" for part in ("bucket", "count", "sum")}
    return names


def named(text):
    return set(re.findall(r"(?<![:\w])(?:mailshaper|process)_\w+", text))


def alerts():
    """Return name, severity and page of each alert."""
    return re.findall(
        r"- alert: (\w+)\n.*?severity: (\w+)\n.*?runbook_url: (\S+)",
        "".join(path.read_text() for path in sorted(RULES.glob("*alerts.yml"))),
        re.DOTALL,
    )


def test_writing_the_dashboards_again_changes_nothing():
    assert [path.stem for path in FILES] == sorted(board.uid for board in BOARDS)
    for board in BOARDS:
        others = tuple(other for other in BOARDS if other is not board)
        committed = (GRAFANA / "dashboards" / f"{board.uid}.json").read_text()
        assert committed == dump(board, others), "python -m tools.grafana"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path):
    board = json.loads(path.read_text())
    panels = board["panels"]
    numbers = [panel["id"] for panel in panels]
    assert len(numbers) == len(set(numbers))
    for one, other in combinations(panels, 2):
        a, b = one["gridPos"], other["gridPos"]
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, (one["title"], other["title"])
    variables = [one["name"] for one in board["templating"]["list"]]
    assert variables == ["datasource", "placement", "instance"]
    assert len(board["annotations"]["list"]) == 1
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        if panel["type"] == "row":
            continue
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"], panel["title"]
        assert defaults["thresholds"]["steps"], panel["title"]
        assert panel["description"].rstrip(".").strip(), panel["title"]
        assert "?" in panel["description"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        (link,) = panel["links"]
        page = link["url"].rpartition("/")[2]
        assert (ROOT / "docs" / "runbooks" / page).exists(), page
        assert panel["targets"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            assert "$instance" in target["expr"], panel["title"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_schema_of_grafana_knows_every_field_of_a_dashboard(path):
    board = json.loads(path.read_text())
    for one in board["annotations"]["list"]:
        for extra in ("titleFormat", "textFormat", "tagKeys", "step"):
            del one[extra]  # of Prometheus annotations, beyond the common schema
    again = dashboard.Dashboard.from_json(json.loads(json.dumps(board)))
    assert json.loads(json.dumps(again, cls=JSONEncoder)) == board


def test_every_metric_that_dashboards_and_rules_ask_for_is_declared():
    texts = [json.dumps([q.expr for q in queries()])]
    texts += [path.read_text() for path in RULES.glob("*s.yml")]
    asked = set().union(*(named(text) for text in texts))
    assert len(asked) > 30
    assert asked - known() == set()


def queries():
    return [
        query
        for board in BOARDS
        for row in board.rows
        for panel in row.panels
        for query in panel.queries
    ]


def test_every_declared_metric_is_shown_somewhere():
    shown = named(" ".join(query.expr for query in queries()))
    shown |= named((RULES / "rules.yml").read_text())
    unseen = {
        one.name for one in ALL if not any(name.startswith(one.name) for name in shown)
    }
    assert unseen == set()


def test_every_alert_has_its_page_and_every_page_is_complete():
    pages = {path.stem: path.read_text() for path in (ROOT / "docs/runbooks").iterdir()}
    found = alerts()
    assert found
    for name, severity, url in found:
        assert severity in {"warning", "critical"}
        assert url.endswith(f"/{name}.md")
        assert name in pages
    assert set(pages) == {name for name, _, _ in found}
    for name, text in pages.items():
        heads = re.findall(r"^##? (.*)$", text, re.MULTILINE)
        assert heads == [name, "Meaning", "Impact", "Look", "Act"]
        assert "`" in text or "    " in text, f"{name} has no command"


def test_the_runbooks_type_commands_that_exist():
    said = set()
    for path in (ROOT / "docs" / "runbooks").glob("*.md"):
        said |= set(
            re.findall(r"(?<!-u )\bmailshaper ([a-z][a-z-]*)", path.read_text())
        )
    page = (ROOT / "docs" / "cli.md").read_text()
    unknown = {word for word in said if not re.search(rf"`(\w+\|)*{word}\b", page)}
    assert unknown - {"and", "in", "is", "on", "takes"} == set()


def test_the_pages_that_declarations_name_exist():
    paths = {path for one in ALL for path in re.findall(r"docs/[\w/]+\.md", one.act)}
    assert not [path for path in paths if not (ROOT / path).exists()]


def promtool(*words):
    program = needs.unpacked("prometheus/usr/bin/promtool")
    return subprocess.run(
        [program, *words], capture_output=True, text=True, cwd=RULES, check=False
    )


def test_prometheus_takes_the_rules_and_the_configuration():
    done = promtool("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    text = (RULES / "prometheus.yml").read_text()
    loaded = set(re.findall(r"^  - (\S+\.yml)$", text, re.MULTILINE))
    rules = {path.name for path in RULES.glob("*s.yml")} - {"prometheus.yml"}
    assert loaded == rules


def test_alertmanager_takes_the_routes():
    amtool = needs.unpacked("alertmanager/usr/bin/amtool")
    done = subprocess.run(
        [amtool, "check-config", "alertmanager.yml"],
        capture_output=True,
        text=True,
        cwd=RULES,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    routed = subprocess.run(
        [
            amtool, "config", "routes", "test", "--config.file=alertmanager.yml",
            "alertname=MailshaperReviewWaiting", "severity=warning",
        ],
        capture_output=True,
        text=True,
        cwd=RULES,
        check=False,
    )  # fmt: skip
    assert routed.stdout.strip() == "abuse"


def test_every_alert_fires_and_stays_silent_where_it_should():
    cases = sorted((RULES / "tests").glob("*alerts.test.yml"))
    text = "".join(path.read_text() for path in cases)
    for name, severity, _ in alerts():
        for what in ("fires", "stays silent"):
            assert f"name: {name} ({severity}) {what}" in text
    done = promtool("test", "rules", *cases)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_case_that_does_not_fire_fails_the_test_of_rules(tmp_path):
    text = (RULES / "tests" / "alerts.test.yml").read_text()
    wrong = text.split("  - name: MailshaperReviewWaiting")[0].replace(
        "../", f"{RULES}/"
    )
    path = tmp_path / "wrong.yml"
    path.write_text(wrong.replace("'0 1x3'", "'0 0x3'"))
    assert promtool("test", "rules", str(path)).returncode != 0

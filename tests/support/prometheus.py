"""A real Prometheus and a real Alertmanager, on free ports of this machine.

    with Alertmanager(configuration) as manager, Prometheus(
        targets=["127.0.0.1:9465"], rules=[...], alertmanager=manager.port
    ) as prometheus:
        prometheus.query("up")
        prometheus.range("up", start, end)

Both come from Debian's packages, unpacked by `make setup-test`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.support import needs
from tests.support.ending import end
from tests.support.waiting import poll

if TYPE_CHECKING:
    from collections.abc import Iterable

_STARTING = 30.0


class _Server:
    """A child process with a directory, an HTTP port and a readiness page."""

    name = ""

    def __init__(self) -> None:
        self.port = needs.free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir="/tmp"))
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Return its command line."""
        raise NotImplementedError

    def log(self) -> str:
        """Return what it wrote."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self) -> Self:
        try:
            with (self.directory / "log").open("wb") as sink:
                self._child = subprocess.Popen(
                    self.command(),
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                    start_new_session=True,
                )
            poll(self._ready, f"start of {self.name}", _STARTING)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            end(self._child)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _ready(self) -> bool:
        if self._child is not None and self._child.poll() is not None:
            raise RuntimeError(f"{self.name} ended:\n{self.log()}")
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2):  # noqa: S310
                return True
        except OSError:
            return False

    def get(self, path: str, **words: str) -> Any:
        """Return the JSON of a page."""
        query = f"?{urllib.parse.urlencode(words)}" if words else ""
        url = f"{self.url}{path}{query}"
        with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310
            return json.load(answer)


class Alertmanager(_Server):
    """Routes alerts by a configuration text."""

    name = "alertmanager"

    def __init__(self, configuration: str) -> None:
        super().__init__()
        (self.directory / "alertmanager.yml").write_text(configuration)

    def command(self) -> list[str]:
        """Return its command line; no cluster, no gossip."""
        return [
            str(needs.unpacked("alertmanager/usr/bin/prometheus-alertmanager")),
            f"--config.file={self.directory}/alertmanager.yml",
            f"--storage.path={self.directory}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]


class Prometheus(_Server):
    """Scrapes one job each second and evaluates rules as often."""

    name = "prometheus"

    def __init__(
        self,
        targets: Iterable[str],
        rules: Iterable[Path] = (),
        alertmanager: int = 0,
        job: str = "mailshaper",
    ) -> None:
        super().__init__()
        configuration: dict[str, object] = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [
                {
                    "job_name": job,
                    "static_configs": [{"targets": list(targets)}],
                }
            ],
        }
        if alertmanager:
            to = [{"targets": [f"127.0.0.1:{alertmanager}"]}]
            configuration["alerting"] = {"alertmanagers": [{"static_configs": to}]}
        # JSON is YAML.
        (self.directory / "prometheus.yml").write_text(json.dumps(configuration))

    def command(self) -> list[str]:
        """Return its command line."""
        return [
            str(needs.unpacked("prometheus/usr/bin/prometheus")),
            f"--config.file={self.directory}/prometheus.yml",
            f"--storage.tsdb.path={self.directory}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--rules.alert.resend-delay=1s",
        ]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the vector of now."""
        found: list[dict[str, Any]] = self.get("/api/v1/query", query=expr)["data"][
            "result"
        ]
        return found

    def range(
        self, expr: str, start: float, end: float, step: float = 1.0
    ) -> list[dict[str, Any]]:
        """Return the matrix of a time."""
        found: list[dict[str, Any]] = self.get(
            "/api/v1/query_range",
            query=expr,
            start=str(start),
            end=str(end),
            step=str(step),
        )["data"]["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule with its health."""
        groups = self.get("/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        alerts = self.get("/api/v1/alerts")["data"]["alerts"]
        return {a["labels"]["alertname"] for a in alerts if a["state"] == "firing"}

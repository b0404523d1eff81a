"""The HTTP listener for Prometheus and for probes, in threads of its own.

``/metrics``: the scrape. ``/healthz``: 200 while the event loop answers. ``/readyz``:
200, or 503 with one line of JSON for each reason. prometheus-client's own WSGI
application carries it: a web framework would cost more memory than all metrics. The
threads ask the event loop for what stands there and write the text by themselves.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from concurrent.futures import TimeoutError as LoopTimeoutError
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, TypeVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from prometheus_client import CollectorRegistry

    from shaper.metrics.standing import Gauges, Standing

__all__ = ["Listener"]

T = TypeVar("T")

_PATIENCE = 5.0  # seconds until a loop that does not answer counts as dead
_STALLED = 10.0  # seconds that a client may take for its request


class _Handler(WSGIRequestHandler):
    timeout = _STALLED

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Write no line for each scrape."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class Listener:
    """Serves one registry from construction to ``close``."""

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        standing: Standing,
        gauges: Gauges,
    ) -> None:
        """Listen at once. Call it in the event loop. Raises OSError."""
        self.patience = _PATIENCE
        self._loop = asyncio.get_running_loop()
        self._standing = standing
        self._gauges = gauges
        self._scrape = make_wsgi_app(registry)
        self._server = make_server(
            host,
            port,
            self._answer,
            _Server6 if ":" in host else _Server,
            _Handler,
        )
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()

    async def close(self) -> None:
        """Stop listening. Requests under way still get an answer of the loop."""
        await asyncio.to_thread(self._server.shutdown)
        self._server.server_close()
        await asyncio.to_thread(self._thread.join)

    def _answer(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        status, body = "404 Not Found", b"/metrics, /healthz and /readyz are here\n"
        try:
            if path == "/metrics":
                self._gauges.values = self._ask(self._standing.read())
                text: Iterable[bytes] = self._scrape(environ, start_response)
                return text
            if path == "/healthz":
                self._ask(asyncio.sleep(0))
                status, body = "200 OK", b"ok\n"
            elif path == "/readyz":
                reasons = self._ask(self._standing.reasons())
                status = "503 Service Unavailable" if reasons else "200 OK"
                body = b"".join(
                    json.dumps({"reason": reason, "message": text}).encode() + b"\n"
                    for reason, text in reasons.items()
                )
        except (LoopTimeoutError, TimeoutError, RuntimeError):
            status = "503 Service Unavailable"
            body = b'{"reason": "stuck", "message": "the event loop does not answer"}\n'
        kind = "application/x-ndjson" if path == "/readyz" else "text/plain"
        start_response(
            status, [("Content-Type", kind), ("Content-Length", str(len(body)))]
        )
        return [body]

    def _ask(self, work: Coroutine[None, None, T]) -> T:
        """Have the event loop do something. Raises TimeoutError, RuntimeError."""
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop is closed
            work.close()
            raise
        try:
            return future.result(self.patience)
        finally:
            future.cancel()

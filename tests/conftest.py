"""Fixtures every test may ask for, and how hard Hypothesis tries."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import needs
from tests.support.nexthop import NextHop
from tests.support.redis_server import RedisServer

# No deadline: two busy cores say nothing about the code. `ci` is derandomized,
# so that a red run there is red again at home: HYPOTHESIS_PROFILE=ci make test.
settings.register_profile("dev", max_examples=20, deadline=None)
settings.register_profile(
    "ci",
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
_usual = "ci" if os.environ.get("CI") else "dev"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", _usual))


@pytest.fixture(scope="session")
def _session_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_server(_session_redis: RedisServer) -> RedisServer:
    """The session's Redis, emptied. Do not kill it: make your own for that."""
    _session_redis.flush()
    return _session_redis


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Where the session's Redis, emptied, is reached."""
    return redis_server.url


@pytest.fixture
async def next_hop() -> AsyncIterator[NextHop]:
    """A next hop that accepts everything until it is told otherwise."""
    async with NextHop() as hop:
        yield hop


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file with a key and a self-signed certificate for 127.0.0.1."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = [needs.program("openssl"), "req", "-x509", "-nodes", "-days", "2"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    key = path.with_suffix(".key")
    subprocess.run(
        [*command, "-keyout", key, "-out", path], check=True, capture_output=True
    )
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path

"""The Redis that tests may mistreat behaves as its docstring says."""

import time

import pytest
import redis

from tests.support.redis_server import RedisServer


def test_what_was_written_survives_a_kill_with_aof():
    with RedisServer(aof=True) as server:
        with server.client() as client:
            client.set("k", "v")
        server.kill()
        with server.client() as client, pytest.raises(redis.ConnectionError):
            client.get("k")
        server.start()
        with server.client() as client:
            assert client.get("k") == b"v"


def test_the_fixture_is_empty(redis_server):
    with redis_server.client() as client:
        assert client.dbsize() == 0
        client.set("left", "over")


def test_the_fixture_is_empty_again(redis_server):
    with redis_server.client() as client:
        assert client.dbsize() == 0


def test_a_paused_server_answers_late():
    with RedisServer() as server, server.client() as client:
        server.pause(0.2)
        before = time.monotonic()
        client.get("k")
        assert time.monotonic() - before > 0.1


def test_a_frozen_server_never_answers():
    with RedisServer() as server:
        client = redis.Redis(
            unix_socket_path=str(server.socket), socket_timeout=0.1, retry=None
        )
        with server.frozen(), pytest.raises(redis.TimeoutError):
            client.get("k")
        client.close()

"""Hosts that say things of each other, for every test of the federation."""

from collections.abc import Iterator

import pytest

from tests.support.federated import Host


@pytest.fixture
def us() -> Iterator[Host]:
    """The host whose judgement is looked at."""
    with Host() as host:
        yield host


@pytest.fixture
def friend() -> Iterator[Host]:
    """Another organisation."""
    with Host("friend") as host:
        yield host


@pytest.fixture
def other() -> Iterator[Host]:
    """A third organisation."""
    with Host("other") as host:
        yield host


@pytest.fixture
def mallory() -> Iterator[Host]:
    """One that lies."""
    with Host("mallory") as host:
        yield host

"""The simulated network: everybody hears of everything, once, and soon."""

import time

import pytest

from bench.federation.simulation import Network, spread


def run(nodes, seed, events, **options):
    began = time.monotonic()
    network = Network(nodes, seed, **options)
    network.start()
    network.run(90)
    network.count_from_here()
    spread(network, events, over=20, until=600)
    return network, network.result(began)


def test_thirty_nodes():
    _network, result = run(30, 7, 4)
    assert result.stored_everywhere
    assert result.verifications_per_event_and_node == 1
    assert result.p95 < 5


def test_a_chain_of_seven():
    _network, result = run(7, 3, 4, chain=True)
    assert result.stored_everywhere
    assert result.p95 < 10
    assert result.verifications_per_event_and_node == 1


def test_nat_and_loss():
    _network, result = run(20, 5, 3, nat=0.3, loss=0.1)
    assert result.stored_everywhere
    assert result.p95 < 15
    assert result.slowest < 180


def test_the_same_seed_gives_the_same_run():
    first, second = (run(8, 11, 2)[1] for _ in range(2))
    assert (first.median, first.sessions) == (second.median, second.sessions)


def test_a_partition_heals():
    network = Network(12, 9)
    network.start()
    network.run(90)
    for number in range(6):
        network.nodes[number].side = 1
    network.say(0, 200)
    network.say(11, 200)
    network.run(network.now + 3600)
    assert not network.equal()
    for node in network.nodes:
        node.side = 0
    healed = network.now
    network.run(healed + 600, network.equal)
    assert network.equal()
    assert network.now - healed < 180


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_hundred_nodes():
    _network, result = run(200, 1, 10)
    assert result.stored_everywhere
    assert result.verifications_per_event_and_node == 1
    assert result.p95 < 5

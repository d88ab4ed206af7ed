"""The simulation against closed forms of queueing theory, and against what can be counted by hand."""

import math
from typing import Any

import numpy as np
import pytest

from loadtest.sizing.simulation import Balancer, Loss, Server, simulate

MU = 100.0  # requests/s of one instance
EXPONENTIAL = np.random.default_rng(5).exponential(1 / MU, 200_000)
REQUESTS = 150_000


def memoryless(instances: int) -> Server:
    """Each request takes an instance an exponential time, and no two go together."""
    return Server(instances, np.array([0.0, 1e-9]), more_s=EXPONENTIAL)


def constant(instances: int = 1, batch: int = 1, **more: Any) -> Server:
    return Server(instances, np.array([0.0] + [1 / MU] * batch), **more)


def erlang_c(servers: int, load: float) -> float:
    """The share of requests that wait in M/M/c, `load` in servers (Kleinrock, Queueing Systems I, 3.5)."""
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(load**k / math.factorial(k) for k in range(servers)) + last)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_memoryless_instance_is_m_m_1(load: float) -> None:
    answers = simulate(memoryless(1), 1, load * MU, REQUESTS)
    rest = MU * (1 - load)  # the time in the system is exponential with this rate
    assert answers.took_s.mean() == pytest.approx(1 / rest, rel=0.04)
    for percent in (50, 95, 99):
        wanted = 1000 * math.log(100 / (100 - percent)) / rest
        assert answers.percentile_ms(percent) == pytest.approx(wanted, rel=0.06)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_constant_instance_is_m_d_1(load: float) -> None:
    answers = simulate(constant(), 1, load * MU, REQUESTS)
    wanted = 1 / MU + load / (2 * MU * (1 - load))  # Pollaczek and Khinchine
    assert answers.took_s.mean() == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize(("servers", "load"), [(2, 0.7), (4, 0.8), (16, 0.9)])
def test_memoryless_instances_with_one_queue_are_m_m_c(servers: int, load: float) -> None:
    answers = simulate(memoryless(servers), 1, servers * load * MU, REQUESTS)
    waits = erlang_c(servers, servers * load)
    wanted = 1 / MU + waits / (servers * MU * (1 - load))
    assert answers.took_s.mean() == pytest.approx(wanted, rel=0.05)


def test_one_queue_for_each_server_is_worse_than_one_for_all_and_turns_worse_than_counting() -> None:
    rate = 4 * 0.8 * MU
    one = simulate(memoryless(4), 1, rate, REQUESTS).took_s.mean()
    counting = simulate(memoryless(1), 4, rate, REQUESTS, "least_outstanding").took_s.mean()
    turns = simulate(memoryless(1), 4, rate, REQUESTS, "round_robin").took_s.mean()
    assert one < counting < 0.8 * turns


def test_turns_among_servers_are_erlang_arrivals_at_each() -> None:
    """E2/M/1: the time in the system is exponential, of a rate with the root of a quadratic (Kleinrock, 6.4)."""
    load = 0.7
    answers = simulate(memoryless(1), 2, 2 * load * MU, REQUESTS, "round_robin")
    root = min(np.roots([1, -(1 + 4 * load), 4 * load**2]).real)  # (2l / (2l + 1 - s))^2 = s, without s = 1
    assert answers.took_s.mean() == pytest.approx(1 / (MU * (1 - root)), rel=0.04)


@pytest.mark.parametrize(("batch", "instances"), [(1, 1), (8, 1), (8, 2), (3, 4)])
def test_beyond_its_capacity_a_server_does_just_that(batch: int, instances: int) -> None:
    server = constant(instances, batch)
    assert server.capacity == batch * instances * MU
    answers = simulate(server, 1, 2 * server.capacity, 40_000)
    ended = (answers.arrived_s + answers.took_s).max()
    assert 40_000 / ended == pytest.approx(server.capacity, rel=0.02)


def test_requests_that_wait_go_together_and_an_idle_server_takes_one_at_once() -> None:
    busy = np.array([0.0, 0.010, 0.012, 0.014])
    answers = simulate(Server(1, busy), 1, 1000.0, 200, seed=3)
    assert answers.took_s.min() >= 0.010
    idle = simulate(Server(1, busy, way_s=np.array([0.002])), 1, 0.1, 100)
    assert np.allclose(idle.took_s, 0.012)


def test_a_queue_delay_is_waited_for_by_who_comes_first_and_not_where_the_batch_is_full() -> None:
    alone = simulate(constant(batch=8, delay_s=0.005), 1, 0.1, 100)
    assert np.allclose(alone.took_s, 0.005 + 1 / MU)
    together = simulate(constant(batch=8, delay_s=60.0), 1, 8.0, 8000)
    # Every batch is full, and the last of a batch has not waited; 8/s fill it in about a second.
    assert together.took_s.min() == pytest.approx(1 / MU)
    assert together.took_s.mean() == pytest.approx(3.5 / 8, rel=0.05)


@pytest.mark.parametrize("balancer", ["round_robin", "least_outstanding"])
def test_what_a_lost_server_had_and_got_is_sent_again_when_it_is_noticed(balancer: Balancer) -> None:
    loss = Loss(1, at_s=5.0, noticed_s=2.0)
    answers = simulate(constant(), 4, 4 * 40.0, 4000, balancer, loss)
    late = answers.took_s > 0.5
    assert answers.sent_again > 0
    assert late.sum() <= answers.sent_again
    assert answers.took_s.max() < 2.5
    assert ((answers.arrived_s[late] > 4.8) & (answers.arrived_s[late] < 7.0)).all()
    assert np.percentile(answers.took_s[answers.arrived_s > 9], 99) < 0.1, "three are enough"
    # Who counts what is owed sends little to one who answers nothing; in turn it gets its share of two seconds.
    few, many = (answers.sent_again < 20, answers.sent_again == pytest.approx(80, abs=15))
    assert few if balancer == "least_outstanding" else many


def test_the_same_seed_is_the_same_load() -> None:
    first, again, other = (simulate(memoryless(1), 2, 100.0, 1000, seed=seed).took_s for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)

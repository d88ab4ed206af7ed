"""That nothing that is sent to a guard brings it or the real Triton behind it down, or changes an honest answer."""

import asyncio
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from serving.guard.guard import Guard
from serving.guard.limits import MIB
from serving.server.server import Server
from tests.support.guarded import guarded, processes_of
from tests.support.hostile.attack import Attack, send_all
from tests.support.hostile.healthy import Honest
from tests.support.hostile.kinds import mixed
from tests.support.hostile.models import publish_all
from tests.support.nginx import INSTALL, PROGRAM

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=INSTALL)

SEED = 20261127


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of what is attacked."""
    models = publish_all(tmp_path_factory.mktemp("attacked"))
    with Server(models, http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


def fire(guard: Guard, attacks: list[Attack], rate: float) -> Counter[str]:
    """How many of each kind were answered."""
    ports = {"http": guard.places.http, "grpc": guard.places.grpc}
    numbers = {protocol: int(place.rpartition(":")[2]) for protocol, place in ports.items()}
    answers = asyncio.run(send_all(attacks, numbers, rate=rate))
    return Counter(f"{attack.protocol} {attack.kind}" for attack, answer in answers if answer)


def fire_from_elsewhere(guard: Guard, attacks: list[Attack], rate: float) -> None:
    """As `fire`, where it is the attackers' own work that must not take the cores of the server."""
    context = multiprocessing.get_context("fork")
    sender = context.Process(target=lambda: (os.nice(10), fire(guard, attacks, rate)))
    sender.start()
    sender.join()
    assert sender.exitcode == 0


def test_hostile_requests_bring_nothing_down(triton: Server, tmp_path: Path) -> None:
    """A few of each kind; the long test below sends twenty thousand."""
    with guarded(triton, tmp_path) as guard:
        before = processes_of(triton, guard)
        urls = [guard.addresses["http"], guard.addresses["grpc"]]
        with Honest(urls, rate=20) as honest:
            answered = fire(guard, mixed(6, SEED), rate=60)
            told = honest.told()
        assert processes_of(triton, guard) == before
        assert (told.failures, told.wrong) == ([], 0)
        assert len(told.seconds) > 50
        # They were requests, and came to where they were to be stopped.
        assert set(answered) >= {"http lying shape", "http brackets", "grpc lying shape", "grpc mutated protobuf"}


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_twenty_thousand_hostile_requests_beside_honest_ones(triton: Server, tmp_path: Path) -> None:
    """With `-s` it says what was measured. Calm and hostile spans alternate, so that a busy machine slows down both."""
    rounds, of_each, rate = 12, 50, 40
    with guarded(triton, tmp_path) as guard:
        before = processes_of(triton, guard)
        urls, calm, hostile = [guard.addresses["http"], guard.addresses["grpc"]], [], []
        memory, sent, failures = [], 0, []
        for number in range(rounds):
            with Honest(urls, rate=50) as honest:
                time.sleep(8)
                told = honest.told()
            calm += told.seconds
            attacks = mixed(of_each, SEED + number)
            with Honest(urls, rate=50) as honest:
                fire_from_elsewhere(guard, attacks, rate)
                told = honest.told()
            sent += len(attacks)
            hostile += told.seconds
            failures += [*told.failures, *["a wrong answer"] * told.wrong]
            memory.append(sum(psutil.Process(pid).memory_info().rss for pid in before) / MIB)
            sys.stdout.write(
                f"{sent} sent; honest p99 {np.percentile(calm, 99) * 1e3:.1f} ms calm, "
                f"{np.percentile(hostile, 99) * 1e3:.1f} ms beside them ({len(hostile)} calls); {memory[-1]:.0f} MiB\n"
            )
            assert processes_of(triton, guard) == before
        assert sent >= 20_000
        assert failures == []
        assert np.percentile(hostile, 99) < 3 * np.percentile(calm, 99)
        assert max(memory[rounds // 2 :]) < 1.2 * max(memory[: rounds // 2])

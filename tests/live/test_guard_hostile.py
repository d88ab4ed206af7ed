"""That nothing that is sent to a guard brings it or the real Triton behind it down, or changes an honest answer."""

import asyncio
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
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
VALID = ("tiny deadlines", "cancelled calls", "rapid reset", "abandoned streams")
"""Kinds of calls that are run, for they are what anybody may ask."""


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of what is attacked."""
    folder = tmp_path_factory.mktemp("attacked")
    log = folder / "triton.log"
    with Server(publish_all(folder), http_port=0, grpc_port=0, metrics_port=0, log_file=log) as server:
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
        triton.check_process()
        assert processes_of(triton, guard) == before
        assert (told.failures, told.wrong) == ([], 0)
        assert len(told.seconds) > 50
        # They were requests, and came to where they were to be stopped.
        assert set(answered) >= {"http lying shape", "http brackets", "grpc lying shape", "grpc mutated protobuf"}


@dataclass
class Spans:
    """What honest callers saw in several spans of a kind."""

    p99s: list[float] = field(default_factory=list)
    """Of each span, in ms: a moment in which the machine was somebody else's is in one of them."""
    failures: list[str] = field(default_factory=list)

    @property
    def p99(self) -> float:
        """The median, in ms."""
        return float(np.median(self.p99s))

    def add(self, guard: Guard, during: Callable[[], object]) -> None:
        """One more, for as long as `during` takes."""
        with Honest([guard.addresses["http"], guard.addresses["grpc"]], rate=50) as honest:
            during()
            told = honest.told()
        self.p99s.append(float(np.percentile(told.seconds, 99)) * 1e3)
        self.failures += [*told.failures, *["a wrong answer"] * told.wrong]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_twenty_thousand_hostile_requests_beside_honest_ones(triton: Server, tmp_path: Path) -> None:
    """With `-s` it says what was measured. Calm and hostile spans alternate, so that a busy machine slows down both.

    What is refused costs the others little. Valid calls by the dozen at once, of which nobody takes the answers, are
    run as anybody's: they take their share, and fail nobody.
    """
    rounds, of_each, sent = 12, 50, 0
    calm, refused, run, memory = Spans(), Spans(), Spans(), list[float]()
    with guarded(triton, tmp_path) as guard:
        before = processes_of(triton, guard)
        for number in range(rounds):
            attacks = mixed(of_each, SEED + number)
            valid = [attack for attack in attacks if attack.kind in VALID]
            others = [attack for attack in attacks if attack.kind not in VALID]
            calm.add(guard, partial(time.sleep, 8))
            refused.add(guard, partial(fire_from_elsewhere, guard, others, 80))
            run.add(guard, partial(fire_from_elsewhere, guard, valid, 20))
            sent += len(attacks)
            memory.append(sum(psutil.Process(pid).memory_info().rss for pid in before) / MIB)
            sys.stdout.write(
                f"{sent} sent; honest p99 {calm.p99s[-1]:.1f} ms calm, {refused.p99s[-1]:.1f} beside what is refused, "
                f"{run.p99s[-1]:.1f} beside what is run; {memory[-1]:.0f} MiB\n"
            )
            sys.stdout.flush()
            triton.check_process()  # which has its last words, where it has ended
            assert processes_of(triton, guard) == before
            assert [*calm.failures, *refused.failures, *run.failures] == []
    sys.stdout.write(f"medians {calm.p99:.1f}, {refused.p99:.1f} and {run.p99:.1f} ms\n")
    assert sent >= 20_000
    assert refused.p99 < 3 * calm.p99
    assert max(memory[rounds // 2 :]) < 1.1 * max(memory[: rounds // 2])

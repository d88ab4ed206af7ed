"""Turns the planned arrivals into work for users, on time, and watches whether it could."""

import gc
import time
from typing import Any, cast
from weakref import WeakKeyDictionary

import gevent
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from clients.access import Access, Door
from clients.address import Protocol, resolve
from loadtest.clock import PreciseSleep, now
from loadtest.planning import planned
from loadtest.pool import Pool
from loadtest.recorder import Recorder

_GENERATORS: "WeakKeyDictionary[Environment, Generator]" = WeakKeyDictionary()
MESSAGE = "conch"  # the key in the reports that workers send to their master
SETTLE_S = 0.2  # from the start of the users to the first arrival


class Generator:
    """One process's part of the load on an environment: starts and stops with Locust's test.

    Reads `model`, `rate`, `arrivals`, `replay`, `warmup`, `batch`, `seed`, `check`, `duration_s`, `scenario` and
    `workers` of the options at each start: on a worker they come from the master, and so do the addresses. `artifacts`
    and `access` are this process's own: no token or key travels to a worker.
    """

    def __init__(self, environment: Environment, access: Access) -> None:
        self.environment = environment
        self.doors: dict[str, Door] = {}
        self._access = access
        self.recorder = Recorder()
        self.pools: dict[str, Pool] = {}
        self._dispatcher: gevent.Greenlet | None = None
        self._artifacts = vars(environment.parsed_options)["artifacts"]
        self._reset()
        environment.events.test_start.add_listener(lambda **_: self.start())
        environment.events.test_stopping.add_listener(lambda **_: self.halt())
        environment.events.test_stop.add_listener(lambda **_: self.stop())
        environment.events.request.add_listener(self.recorder)
        if isinstance(environment.runner, WorkerRunner):
            environment.events.report_to_master.add_listener(self._report)
        _GENERATORS[environment] = self

    @property
    def closed(self) -> bool:
        """Whether users pace themselves, each waiting for its answer."""
        return bool(self._options().arrivals == "closed")

    def start(self) -> None:
        """Begin a run anew."""
        self._reset()
        vars(self._options())["artifacts"] = self._artifacts  # where the master has its own says nothing here
        self.recorder.begin(self._options())
        protocols = sorted({str(vars(user)["protocol"]) for user in self.environment.user_classes})
        self.doors = {
            protocol: self._access.door(resolve(vars(self._options())[protocol], cast(Protocol, protocol)))
            for protocol in protocols
        }
        self.pools.update({protocol: self.pools.get(protocol) or Pool() for protocol in protocols})
        # What is loaded by now stays: looking through all of it for garbage holds the event loop up for 50 ms.
        gc.collect()
        gc.freeze()
        self.begun = now() + SETTLE_S
        self._dispatcher = gevent.spawn(self._watch if self.closed else self._dispatch)

    def halt(self) -> None:
        """Plan no more."""
        if self._dispatcher is not None:
            self._dispatcher.kill()
        self._measure_cpu()

    def stop(self) -> None:
        """When the users have stopped: what came due and was not sent stays so."""
        for protocol, pool in self.pools.items():
            for arrival in pool.drop():
                self.recorder.unsent(protocol, arrival)
            self.recorder.pool(protocol, pool.most_users, pool.most_used, pool.exhausted)

    def drained(self) -> bool:
        """Whether everything planned was sent and answered."""
        return self.finished and not any(pool.busy for pool in self.pools.values())

    def counts(self) -> bool:
        """Whether the warm-up is over."""
        return now() >= self.begun + float(self._options().warmup)

    def _options(self) -> Any:
        """On a worker, those that came with the last start."""
        return self.environment.parsed_options

    def _reset(self) -> None:
        self.finished = False
        self.begun = now()
        self._dispatcher = None
        self._cpu: tuple[float, float] | None = None
        for pool in self.pools.values():
            pool.most_used = pool.exhausted = 0
            pool.most_users = pool.users

    def _report(self, data: dict[str, Any], **_: Any) -> None:
        data[MESSAGE] = self.recorder.send_off()

    def _watch(self) -> None:
        """Of a closed loop only the time is kept."""
        gevent.sleep(max(0.0, self.begun + self._options().warmup - now()))
        self._cpu = (time.thread_time(), now())

    def _dispatch(self) -> None:
        protocols, runner = sorted(self.pools), cast(Any, self.environment.runner)
        index = max(0, runner.worker_index)
        with PreciseSleep() as sleep:
            for arrival, protocol in planned(self._options(), self.begun, index, protocols):
                sleep.until(arrival.due)
                arrival.woken = now()
                if arrival.counted and self._cpu is None:
                    self._cpu = (time.thread_time(), arrival.woken)
                self.recorder.due(protocol, arrival)
                if arrival.step is None or arrival.step.sequence.may_go(arrival):
                    self.pools[protocol].give(arrival)
                gevent.sleep(0)  # the user sends first, and the next arrival is prepared while the server works
        self._measure_cpu()
        self.finished = True

    def _measure_cpu(self) -> None:
        if self._cpu is not None:
            cpu, since = self._cpu
            self.recorder.loop_cpu(time.thread_time() - cpu, now() - since)
            self._cpu = None


def collect(environment: Environment) -> Recorder:
    """The sum of what all workers record, on a master."""
    recorder = Recorder()

    def begin(**_: Any) -> None:
        # Sent to the workers with the start; nothing else tells them how many they are.
        vars(environment.parsed_options)["workers"] = cast(MasterRunner, environment.runner).worker_count
        recorder.begin(environment.parsed_options)

    environment.events.test_start.add_listener(begin)

    def receive(data: dict[str, Any], **_: Any) -> None:
        if MESSAGE in data:
            recorder.receive(data[MESSAGE])

    environment.events.worker_report.add_listener(receive)
    return recorder


def generator_of(environment: Environment) -> Generator:
    """The one that this environment was given."""
    return _GENERATORS[environment]

"""The arrivals of one process, ready to be sent: of one model at a rate, or of a scenario."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loadtest.arrivals import arrivals
from loadtest.golden import Golden, load_chain, load_golden
from loadtest.scenario import Part, read_scenario
from loadtest.schedule import schedule
from loadtest.streams import Arrival
from loadtest.wire import pack

FOREVER = 365 * 86400.0


def planned(options: Any, begun: float, index: int, protocols: list[str]) -> Iterator[tuple[Arrival, str]]:
    """Arrivals and the protocol of each, by the options of the run, for the index-th of `options.workers` processes.

    `begun` is the moment of `clock.now` at which the warm-up begins.
    """
    return _of_scenario(options, begun, index) if options.scenario else _of_model(options, begun, index, protocols)


def golden_of(part: Part, artifacts: Path) -> Golden:
    """What is sent to a model of a scenario; raises GoldenError."""
    return (
        load_chain(artifacts, part.model, part.stream.answers_of) if part.stream else load_golden(artifacts, part.model)
    )


def _of_model(options: Any, begun: float, index: int, protocols: list[str]) -> Iterator[tuple[Arrival, str]]:
    draw = random.Random(f"{options.seed}:{index}:inputs")
    golden = load_golden(Path(options.artifacts), options.model)
    items = range(len(golden))
    warmup = float(options.warmup)
    seconds = (options.duration_s or FOREVER) + warmup
    replay = Path(options.replay) if options.replay else None
    times = arrivals(options.arrivals, options.rate, seconds, str(options.seed), index, options.workers, replay)
    for place, offset in enumerate(times):
        arrival = Arrival(
            due=begun + offset,
            golden=golden,
            items=draw.choices(items, k=options.batch),
            counted=offset >= warmup,
            offset=offset - warmup,
            check=golden.repeatable and (options.check >= 1 or draw.random() < options.check),
        )
        protocol = protocols[place % len(protocols)]
        arrival.packed = pack(protocol, golden, arrival.items)  # here, for there is time before it is due
        yield arrival, protocol


def _of_scenario(options: Any, begun: float, index: int) -> Iterator[tuple[Arrival, str]]:
    scenario = read_scenario(Path(options.scenario))
    golden = {part.model: golden_of(part, Path(options.artifacts)) for part in scenario.parts}
    for request in schedule(scenario, index, options.workers):
        source, draw = golden[request.part.model], random.Random(request.item_seed)
        arrival = Arrival(
            due=begun + scenario.warmup_s + request.offset,
            golden=source,
            items=draw.choices(range(len(source)), k=request.batch),
            counted=request.offset >= 0,
            offset=request.offset,
            check=source.repeatable and (scenario.check >= 1 or draw.random() < scenario.check),
            step=request.step,
        )
        arrival.packed = pack(request.protocol, source, arrival.items, arrival.step)
        yield arrival, request.protocol

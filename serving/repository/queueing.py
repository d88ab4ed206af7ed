"""The queue of a model: how many requests wait in it, how long, and which of them are run first.

Without a bound a server that gets more than it can answer keeps all of it: each answer comes later than the one before,
until none is of use to anybody, and memory grows. With one it refuses at once what it could not answer in time.

By Little's law a request that finds N others waiting, where S are answered a second, waits N / S seconds. So N is S
times half of the promised p99: the other half is for the run itself, and for a machine slower than the one that
measured S. The queue's timeout is for what N does not see, requests of many items and a server that stalls. It is
several times the promise, for a stall that makes an answer late is to make it late, and not to refuse it.
"""

import logging

from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelQueuePolicy

from conch.contracts.artifacts import artifacts_folder
from conch.contracts.promises import PromiseError, promise_files, read_promises
from conch.contracts.scheduling import Scheduling
from serving.errors import ServingError

log = logging.getLogger(__name__)

UNPROMISED_S = 1.0
"""The p99 of a model that promises none."""
WAITING_SHARE = 0.5
"""Of the promised p99, for the wait."""
PATIENCE = 4
"""The timeout, in promised p99s or in the time that a full queue takes, whichever is longer."""
LEAST_TIMEOUT_S = 0.1
"""A busy machine keeps a process waiting that long, whatever is promised."""
UNPROMISED_LEAST = 64
"""Requests that may wait for a model that promises nothing, however slow it is: of a caller with so many under way."""
ASSUMED_PER_S = 1000.0
"""Answers a second of a model that could not be measured."""


def set_scheduling(
    config: ModelConfig,
    scheduling: Scheduling = Scheduling(),  # noqa: B008  # frozen
    promised_s: float | None = None,
    answers_per_s: float | None = None,
) -> None:
    """Give `config` its queue, priorities and rate limits.

    Args:
        config: With its batching and instances.
        scheduling: What was asked for.
        promised_s: The promised p99, in seconds; None where nothing is promised.
        answers_per_s: Requests of one item that are answered a second at most; None where nobody knows.

    Raises:
        ServingError: The model has a sequence batcher, which knows neither queue bounds nor priorities.
    """
    if scheduling.resources:
        limiter = config.instance_group[0].rate_limiter
        limiter.Clear()
        for name, count in scheduling.resources.items():
            limiter.resources.add(name=name, count=count)
        limiter.priority = scheduling.turn or 0
    if config.HasField("sequence_batching"):
        if scheduling.needs_queue:
            raise ServingError(
                f"model {config.name!r} keeps a state for each sequence: Triton's sequence batcher has neither a queue "
                "size nor a queue timeout nor priorities; leave them out"
            )
        return
    bound_queue(config, promised_s, answers_per_s)
    policy, batching = config.dynamic_batching.default_queue_policy, config.dynamic_batching
    if scheduling.queue_size is not None:
        policy.max_queue_size = scheduling.queue_size
    if scheduling.queue_timeout_ms is not None:
        policy.default_timeout_microseconds = round(scheduling.queue_timeout_ms * 1000)
    if scheduling.priorities:
        batching.priority_levels = scheduling.priorities
        batching.default_priority_level = scheduling.default_priority or scheduling.priorities


def bound_queue(config: ModelConfig, promised_s: float | None = None, answers_per_s: float | None = None) -> None:
    """Bound the queue of a model without states by its promise and its speed; arguments as of `set_scheduling`.

    A model without a batch axis gets a dynamic batcher too: that is where Triton has its queue policies, and of such a
    model it runs the requests one by one all the same.
    """
    promised, speed = promised_s or UNPROMISED_S, answers_per_s or ASSUMED_PER_S
    # Fewer than a batch, and none would ever be full.
    least = max(config.max_batch_size, 1 if promised_s else UNPROMISED_LEAST)
    size = max(least, int(speed * promised * WAITING_SHARE))
    policy = config.dynamic_batching.default_queue_policy
    policy.timeout_action = ModelQueuePolicy.REJECT
    policy.max_queue_size = size
    policy.default_timeout_microseconds = round(1e6 * max(PATIENCE * max(promised, size / speed), LEAST_TIMEOUT_S))
    # A client that says how long it waits is not answered after that; the kit's clients do.
    policy.allow_timeout_override = True


def promised_s(model: str) -> float | None:
    """The p99 that `conch load` would hold the model to, in seconds; None where none is promised, or can be read."""
    try:
        known = read_promises(promise_files(None, artifacts_folder()))
        promise = known.of(model) if model in known.promises or model in known.wrong else None
    except PromiseError as error:
        log.warning("model %r: its queue is bounded without its promise: %s", model, error)
        return None
    return promise.p99_ms / 1000 if promise and promise.p99_ms else None

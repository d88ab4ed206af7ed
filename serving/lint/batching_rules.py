"""Rules about how requests wait, how they are put together and how many are run at a time."""

from collections.abc import Iterator

from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from serving.backends.onnxruntime.parameters import PARAMETERS
from serving.lint.findings import Found, rule
from serving.lint.model_folder import ModelFolder
from serving.repository.queueing import bound_queue, promised_s

# Nobody waits that long for others on purpose: such a number is meant in nanoseconds.
LONGEST_QUEUE_DELAY_MICROSECONDS = 1_000_000


@rule("preferred-batch", "error")
def preferred_batch(model: ModelFolder) -> Iterator[Found]:
    """A preferred batch size is beyond max_batch_size, or not above 0: the model does not load."""
    most = model.config.max_batch_size
    batching = model.config.dynamic_batching

    def drop(config: ModelConfig) -> dict[str, bytes]:
        kept = [size for size in config.dynamic_batching.preferred_batch_size if 0 < size <= most]
        config.dynamic_batching.preferred_batch_size[:] = kept
        return {}

    if wrong := [size for size in batching.preferred_batch_size if not 0 < size <= most]:
        yield Found("dynamic_batching.preferred_batch_size", str(wrong), f"sizes from 1 to {most}", change=drop)


@rule("queue-delay", "warning")
def queue_delay(model: ModelFolder) -> Iterator[Found]:
    """Every request may wait longer than a second for others to share its run."""
    config = model.config
    for field, delay in (
        ("dynamic_batching", config.dynamic_batching.max_queue_delay_microseconds),
        ("sequence_batching.oldest", config.sequence_batching.oldest.max_queue_delay_microseconds),
        ("sequence_batching.direct", config.sequence_batching.direct.max_queue_delay_microseconds),
    ):
        if delay > LONGEST_QUEUE_DELAY_MICROSECONDS:
            yield Found(
                f"{field}.max_queue_delay_microseconds",
                f"{delay:,}: each request may wait {delay / 1e6:g} s",
                "less than a model's own time, such as 200",
                "the unit is microseconds",
            )


@rule("never-batched", "warning")
def never_batched(model: ModelFolder) -> Iterator[Found]:
    """max_batch_size alone batches nothing: requests are only put together by a batcher."""
    config = model.config
    complete = config.input and config.output  # else NVIDIA's backend adds dynamic_batching when it completes them
    if config.max_batch_size > 1 and complete and not config.WhichOneof("scheduling_choice"):

        def batch(config: ModelConfig) -> dict[str, bytes]:
            bound_queue(config, promised_s(model.name))
            return {}

        yield Found("dynamic_batching", f"none, with max_batch_size {config.max_batch_size}", "a batcher", change=batch)


@rule("unbounded-queue", "warning")
def unbounded_queue(model: ModelFolder) -> Iterator[Found]:
    """Any number of requests may wait: past what the server answers, each waits longer than the one before."""
    config = model.config
    batched_otherwise = ("sequence_batching", "ensemble_scheduling")
    if not model.has_config or model.config_error or config.WhichOneof("scheduling_choice") in batched_otherwise:
        return
    complete = config.input and config.output
    if not config.HasField("dynamic_batching") and (config.max_batch_size > 1 or not complete):
        return  # the rule never-batched has it, or the server is to complete it
    policies = [config.dynamic_batching.default_queue_policy, *config.dynamic_batching.priority_queue_policy.values()]
    if any(not policy.max_queue_size for policy in policies):

        def bound(config: ModelConfig) -> dict[str, bytes]:
            bound_queue(config, promised_s(model.name))
            size = config.dynamic_batching.default_queue_policy.max_queue_size
            for policy in config.dynamic_batching.priority_queue_policy.values():
                policy.max_queue_size = policy.max_queue_size or size
            return {}

        yield Found(
            "dynamic_batching.default_queue_policy.max_queue_size", "none", "a number of requests", change=bound
        )


@rule("queue-timeout", "warning")
def queue_timeout(model: ModelFolder) -> Iterator[Found]:
    """Requests are refused before the batcher has waited for others to share their run."""
    batching = model.config.dynamic_batching
    delay = batching.max_queue_delay_microseconds
    timeout = batching.default_queue_policy.default_timeout_microseconds
    if 0 < timeout <= delay:
        yield Found(
            "dynamic_batching.default_queue_policy.default_timeout_microseconds",
            f"{timeout:,}, with a max_queue_delay_microseconds of {delay:,}",
            "several times the delay",
            "the unit is microseconds",
        )


@rule("priority-level", "error")
def priority_level(model: ModelFolder) -> Iterator[Found]:
    """A level of priority that is none of the levels: the model does not load."""
    batching = model.config.dynamic_batching
    levels, default = batching.priority_levels, batching.default_priority_level
    allowed = f"1 to {levels}, the priority_levels" if levels else "none, for there are no priority_levels"
    if (levels or default) and not 1 <= default <= levels:
        yield Found("dynamic_batching.default_priority_level", f"{default}", allowed)
    for level in batching.priority_queue_policy:
        if not 1 <= level <= levels:
            yield Found("dynamic_batching.priority_queue_policy", f"one of level {level}", allowed)


@rule("rate-limit", "note")
def rate_limit(model: ModelFolder) -> Iterator[Found]:
    """A server heeds rate limits only with --rate-limit=execution_count; `conch serve` gives it, others have to."""
    for group in model.config.instance_group:
        limiter = group.rate_limiter
        if limiter.priority and not limiter.resources:
            yield Found(
                "instance_group.rate_limiter", f"priority {limiter.priority}, and no resources",
                "resources: without, no instance waits for its turn",
            )  # fmt: skip
        elif limiter.resources:
            names = ", ".join(resource.name for resource in limiter.resources)
            yield Found(
                "instance_group.rate_limiter", f"resources {names}", "a server with --rate-limit=execution_count"
            )


@rule("too-many-threads", "warning")
def too_many_threads(model: ModelFolder) -> Iterator[Found]:
    """Instances times threads are more than the machine has cores, so that they wait for each other."""
    config = model.config
    if not model.is_onnx or not model.has_config:
        return
    key = "intra_op_thread_count"
    text = config.parameters[key].string_value if key in config.parameters else "0"
    if not PARAMETERS[key].taken_everywhere(text):
        return  # the rule parameter-value has it
    threads = int(text) or model.cores  # 0 is one thread for each core
    instances = sum(
        group.count or 1 for group in config.instance_group if group.kind != ModelInstanceGroup.Kind.KIND_GPU
    )
    if not config.instance_group:
        instances = 2  # what the server makes of it on a CPU
    if instances > 1 and instances * threads > model.cores:
        yield Found(
            "instance_group",
            f"{instances} instances of {threads} threads",
            f"at most {model.cores} threads together, the cores of this machine",
            "fewer instances, or a smaller intra_op_thread_count in the parameters",
        )

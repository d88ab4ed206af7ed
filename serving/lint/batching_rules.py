"""Rules about how requests are put together and how many are run at a time."""

from collections.abc import Iterator

from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from serving.backends.onnxruntime.parameters import PARAMETERS
from serving.lint.findings import Found, rule
from serving.lint.model_folder import ModelFolder

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
            config.dynamic_batching.SetInParent()
            return {}

        yield Found("dynamic_batching", f"none, with max_batch_size {config.max_batch_size}", "a batcher", change=batch)


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

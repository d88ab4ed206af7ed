"""What can be set differently in a model's configuration, and the configuration that comes of it."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from tritonclient.grpc.model_config_pb2 import ModelConfig

from serving.errors import ServingError
from serving.repository.warm_up import repeat_for_batches

THREADS = "intra_op_thread_count"
DELAYS = (0, 200, 1000, 5000)
"""Queue delays tried, in microseconds."""
SMALLEST_BATCH = 4


@dataclass(frozen=True)
class Candidate:
    """One configuration of one model, by what is searched."""

    model: str
    """The model itself, or a variant of it in another precision."""
    instances: int
    threads: int
    """Intra-op threads of each instance; 0 leaves them to ONNX Runtime."""
    max_batch: int
    delay: int | None
    """Queue delay of the dynamic batcher in microseconds; None is no dynamic batching."""

    def __str__(self) -> str:
        delay = "no batching" if self.delay is None else f"{self.delay} us"
        return f"{self.model}: {self.instances} x {self.threads} threads, batch {self.max_batch}, {delay}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, config: ModelConfig) -> Self:
        """What `config` has now.

        Raises:
            ServingError: It keeps state for sequences, or a setting is not one that can be searched.
        """
        if config.HasField("sequence_batching"):
            raise ServingError(
                f"model {config.name!r} keeps a state for each sequence, whose requests follow each other: tune does "
                "not search such a model; measure it with `conch load run`"
            )
        text = config.parameters[THREADS].string_value if THREADS in config.parameters else "0"
        if not text.isdecimal():
            raise ServingError(f"model {config.name!r}: parameter {THREADS!r} is {text!r}, allowed is a number from 0")
        if len(config.instance_group) > 1:
            raise ServingError(
                f"model {config.name!r} has {len(config.instance_group)} instance groups, tune knows one: leave one"
            )
        # Triton's default on a CPU, for ONNX Runtime, is two.
        instances = (config.instance_group[0].count or 1) if config.instance_group else 2
        delay = config.dynamic_batching.max_queue_delay_microseconds if config.HasField("dynamic_batching") else None
        return cls(config.name, instances, int(text), config.max_batch_size, delay)

    def apply(self, config: ModelConfig) -> ModelConfig:
        """`config` with the settings of this candidate, and everything else as it is."""
        changed = ModelConfig()
        changed.CopyFrom(config)
        before = Candidate.of(config)
        if self.instances != before.instances:
            group = changed.instance_group[0] if changed.instance_group else changed.instance_group.add()
            group.count = self.instances
        if self.threads != before.threads:
            changed.parameters[THREADS].string_value = str(self.threads)
        if self.max_batch != before.max_batch:
            changed.max_batch_size = self.max_batch
            preferred = [size for size in changed.dynamic_batching.preferred_batch_size if size <= self.max_batch]
            if changed.HasField("dynamic_batching"):
                del changed.dynamic_batching.preferred_batch_size[:]
                changed.dynamic_batching.preferred_batch_size.extend(preferred)
            repeat_for_batches(changed)
        if self.delay != before.delay:
            if self.delay is None:
                changed.ClearField("dynamic_batching")
            else:
                changed.dynamic_batching.max_queue_delay_microseconds = self.delay
        return changed


@dataclass(frozen=True)
class Axis:
    """A dimension of the search."""

    name: str
    changes: tuple[dict[str, Any], ...]
    """Fields of `Candidate` to replace, the likely best first."""

    def around(self, candidate: Candidate) -> list[Candidate]:
        """`candidate` with each change, itself left out."""
        found = [replace(candidate, **change) for change in self.changes]
        return [one for one in dict.fromkeys(found) if one != candidate]


def axes(current: Candidate, variants: list[str], largest_batch: int, cores: int) -> list[Axis]:
    """What is searched, in the order of what usually matters most.

    Args:
        current: The configuration now.
        variants: Published variants of the model in another precision, with the same inputs and outputs.
        largest_batch: The largest batch that the model was proven with.
        cores: That the process may use.
    """
    found = [Axis("precision", tuple({"model": name} for name in (current.model, *variants)))] if variants else []
    found.append(Axis("instances x threads", tuple({"instances": i, "threads": t} for i, t in placements(cores))))
    if current.max_batch > 0:
        found.append(Axis("queue delay", tuple({"delay": delay} for delay in DELAYS)))
        sizes = [largest_batch]
        while sizes[-1] // 2 >= SMALLEST_BATCH:
            sizes.append(sizes[-1] // 2)
        found.append(Axis("maximum batch", tuple({"max_batch": size} for size in sizes)))
    return found


def placements(cores: int) -> list[tuple[int, int]]:
    """Instances and threads of each: those that fill the cores first, none with more threads than there are cores."""
    powers = [2**power for power in range(cores.bit_length()) if 2**power <= cores]
    powers += [cores] if cores not in powers else []
    pairs = [(instances, threads) for instances in powers for threads in powers if instances * threads <= cores]
    return sorted(pairs, key=lambda pair: (-pair[0] * pair[1], pair[1]))


def largest_proven_batch(version: Path, configured: int) -> int:
    """The largest batch in the parity grid of a version; what is configured where there is none."""
    try:
        cells = json.loads((version / "parity.json").read_text())
        batches = [cell["batch"] for cell in (cells if isinstance(cells, list) else cells.get("cells", []))]
        return max([configured, *(batch for batch in batches if isinstance(batch, int))])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return configured

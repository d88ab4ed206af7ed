"""What clients of a model's name rely on, and where a new version would change it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from serving.errors import ServingError
from serving.repository.class_labels import named_classes
from serving.repository.configuration import parse
from serving.repository.labels import read_labels


@dataclass(frozen=True)
class Contract:
    """Of one version, as its clients see it."""

    tensors: Mapping[str, str]
    """`input 'image'` -> `UINT8 [batch, 28, 28, 1]`; -1 is any length."""
    most_items: int
    """In a request; 0 where there is no batch axis."""
    stateful: bool
    labels: Mapping[str, Sequence[str]]
    """Output name -> its labels, or those of its values, of those that have any."""


def contract_of(config: ModelConfig, labels: Mapping[str, Sequence[str]]) -> Contract:
    """What `config` and the labels beside it promise."""
    batch = ["batch"] if config.max_batch_size else []
    tensors = {
        f"{kind} {entry.name!r}": f"{DataType.Name(entry.data_type).removeprefix('TYPE_')} "
        f"[{', '.join([*batch, *map(str, entry.dims)])}]"
        for kind, entries in (("input", config.input), ("output", config.output))
        for entry in entries
    }
    labels = {**labels, **named_classes(config)}
    return Contract(tensors, config.max_batch_size, config.HasField("sequence_batching"), labels)


def published_contract(model: Path) -> Contract | None:
    """That of the model in this folder; None where there is none that can be read, or nothing in it is said."""
    try:
        config = parse((model / "config.pbtxt").read_text(encoding="utf-8"))
        files = {output.name: output.label_filename for output in config.output if output.label_filename}
        labels = {name: read_labels(str(model / file), [name])[name] for name, file in files.items()}
    except (OSError, ValueError, ServingError):
        return None
    return contract_of(config, labels) if config.input or config.output else None


def differences(before: Contract, after: Contract) -> list[str]:
    """Where a client of `before` would be surprised by `after`, a clause each; more items, or first labels, surprise
    nobody."""
    found = []
    for name in sorted(before.tensors.keys() | after.tensors.keys()):
        was, now = before.tensors.get(name), after.tensors.get(name)
        if was != now:
            found.append(f"{name} is gone" if now is None else f"{name} {f'was {was}, is' if was else 'is new,'} {now}")
    if after.most_items < before.most_items:
        found.append(f"a request had at most {before.most_items} items, has {after.most_items or 'no batch axis'}")
    if before.stateful != after.stateful:
        found.append(f"a state is {'kept for each sequence' if after.stateful else 'no longer kept'}")
    found += [
        f"labels of {name!r}: {_other_labels(labels, after.labels.get(name, ()))}"
        for name, labels in before.labels.items()
        if list(labels) != list(after.labels.get(name, ())) and f"output {name!r}" in after.tensors
    ]
    return found


def check_same(before: Contract | None, after: Contract, name: str) -> None:
    """Raise a `ServingError` that says what differs, where anything does."""
    if before is not None and (found := differences(before, after)):
        raise ServingError(
            f"model {name!r}: clients of this name would get another contract than that of the version before: "
            f"{'; '.join(found)}. Nothing was published: choose another name, or add --replace-contract"
        )


def _other_labels(was: Sequence[str], now: Sequence[str]) -> str:
    if len(was) != len(now):
        return f"{len(was)} before, {len(now) or 'none'} now"
    index = next(index for index, (one, other) in enumerate(zip(was, now, strict=True)) if one != other)
    return f"class {index} was {was[index]!r}, is {now[index]!r}"

"""Text in, a model's answers out, where the tokenizer cannot be part of the graph: three models that are one.

    NAME             an ensemble, which is what clients call
    NAME_tokenizer   a small model of Triton's Python backend: text to tokens
    NAME_model       the ONNX model: tokens to answers

All three are published under one number, and the ensemble names it: a text's tokens never meet another version's model.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup

from conch.contracts.ensembles import PART_OF, whole_of
from serving.errors import ServingError
from serving.repository.configuration import INSTANCES, LABELS_FILE, SERVED_VERSIONS
from serving.repository.names import check_name
from serving.repository.publication import Publication, check_golden
from serving.repository.queueing import promised_s, set_scheduling

TOKENIZER, MODEL = "_tokenizer", "_model"
"""Behind the name of the whole."""
TEXT = "text"
TOKENIZER_FILE = "tokenizer.json"
MARK = "tokenizer"
"""The parameter with the file's name."""
CODE = Path(__file__).parents[1] / "backends" / "tokenizer"


def check_names(name: str, repository: Path) -> None:
    """Raise a `ServingError` where the names of the parts cannot be had, as those of somebody else's models."""
    for part in (f"{name}{TOKENIZER}", f"{name}{MODEL}"):
        check_name(part)
        if (repository / part).exists() and whole_of(repository / part) != name:
            raise ServingError(
                f"a model {part!r} is published that is no part of {name!r}, which needs that name: take another --name"
            )


def prepare_tokenizer(
    whole: str, tokenizer: Path, model: ModelConfig, manifest: Mapping[str, Any], parity: Any,
    golden: Mapping[str, np.ndarray], texts_per_s: float,
) -> Publication:  # fmt: skip
    """`NAME_tokenizer`, ready to be published.

    Args:
        whole: The name of the ensemble.
        tokenizer: A tokenizer.json of the library tokenizers, with what cuts and what fills up.
        model: The configuration of the model behind, whose inputs are this one's outputs.
        manifest, parity: As `publish` takes them.
        golden: `inputs/text` and `outputs/<tensor>`, each text of the same number of tokens.
        texts_per_s: As measured here, one by one.
    """
    config = ModelConfig(name=f"{whole}{TOKENIZER}", backend="python", max_batch_size=model.max_batch_size)
    config.input.add(name=TEXT, data_type=DataType.TYPE_STRING, dims=[1])
    for tensor in model.input:
        config.output.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    config.version_policy.latest.num_versions = SERVED_VERSIONS
    config.instance_group.add(count=INSTANCES, kind=ModelInstanceGroup.Kind.KIND_CPU)
    config.dynamic_batching.SetInParent()
    config.parameters[MARK].string_value = TOKENIZER_FILE
    set_scheduling(config, promised_s=promised_s(whole), answers_per_s=texts_per_s)
    check_golden(golden, config)
    files = {TOKENIZER_FILE: tokenizer} | {file.name: file for file in sorted(CODE.glob("*.py"))}
    return Publication(config, files, {**manifest, PART_OF: whole}, parity, golden)


def prepare_whole(
    name: str, tokenizer: ModelConfig, model: ModelConfig, manifest: Mapping[str, Any], parity: Any,
    golden: Mapping[str, np.ndarray], labels: Mapping[str, Sequence[str]],
) -> Publication:  # fmt: skip
    """`NAME`, the ensemble of two models, ready to be published behind them; arguments as `publish` takes them."""
    config = ModelConfig(name=name, platform="ensemble", max_batch_size=model.max_batch_size)
    config.input.extend(tokenizer.input)
    for tensor in model.output:
        output = config.output.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        if tensor.name in labels:
            output.label_filename = LABELS_FILE
    config.version_policy.latest.num_versions = 1
    for part in (tokenizer, model):
        step = config.ensemble_scheduling.step.add(model_name=part.name, model_version=-1)
        step.input_map.update({tensor.name: tensor.name for tensor in part.input})
        step.output_map.update({tensor.name: tensor.name for tensor in part.output})
    check_golden(golden, config)
    return Publication(config, {}, manifest, parity, golden, labels)

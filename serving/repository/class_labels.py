"""Names of classes whose numbers are an output's values, as a detector's: in the `parameters` of the configuration.

Triton's label files name the places of an output's last axis, and its server attaches them to the highest of those. It
knows nothing of values, so clients read these names themselves: `clients/class_labels.py`.
"""

import json
from collections.abc import Mapping, Sequence

from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from serving.errors import ServingError

KEY = "class_labels"
"""Its value is a JSON object: the output's name, and a list of the names, class 0 first."""


def name_classes(config: ModelConfig, class_labels: Mapping[str, Sequence[str]]) -> None:
    """Write them into `config`.

    Raises:
        ServingError: There is no such output, it is text, or a name is none.
    """
    if not class_labels:
        return
    outputs = {output.name: output for output in config.output}
    for output, names in class_labels.items():
        where = f"model {config.name!r}, class labels of output {output!r}"
        if output not in outputs:
            raise ServingError(f"{where}: there is no such output, there are {sorted(outputs)}")
        if outputs[output].data_type == DataType.TYPE_STRING:
            raise ServingError(f"{where}: it is text, whose values are no numbers of classes")
        if not names or any(name.splitlines() != [name] for name in names):
            raise ServingError(f"{where}: a label is one line of text that is not empty, got {list(names)}")
    config.parameters[KEY].string_value = json.dumps({output: [*names] for output, names in class_labels.items()})


def named_classes(config: ModelConfig) -> dict[str, tuple[str, ...]]:
    """Those that `config` has, by output; none where they cannot be read."""
    try:
        found = json.loads(config.parameters[KEY].string_value) if KEY in config.parameters else {}
        return {output: tuple(names) for output, names in found.items()}
    except (ValueError, TypeError, AttributeError):
        return {}

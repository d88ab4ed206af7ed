"""Names of classes whose numbers are an output's values, as a detector's or a segmenter's.

The server attaches labels to the highest places of an output, and knows none of values; so a model's configuration says
them in its `parameters`, as `serving/repository/class_labels.py` writes them.
"""

import json
from collections.abc import Sequence

from clients.errors import WrongKind
from clients.signature import Metadata

KEY = "class_labels"


def class_labels(metadata: Metadata, output: str) -> tuple[str, ...]:
    """The names of the classes that `output` has the numbers of, class 0 first; none where the configuration has none.

    Raises WrongKind naming the model where they cannot be read.
    """
    said = metadata.parameters.get(KEY)
    if said is None:
        return ()
    try:
        names = json.loads(said).get(output, [])
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return tuple(names)
    except (ValueError, AttributeError):
        pass
    raise WrongKind(
        f"{metadata.name}: {KEY} is {said[:100]!r}, allowed is a JSON object with a list of names for an output; "
        "correct its config.pbtxt, or give --labels"
    )


def label_of(labels: Sequence[str], number: int) -> str:
    """The name of a class, or its number where it has none."""
    return labels[number] if 0 <= number < len(labels) and labels[number] else f"class {number}"

"""Class labels of an output, read from a text file."""

from collections.abc import Sequence
from pathlib import Path

from serving.errors import ServingError


def read_labels(given: str, outputs: Sequence[str], flag: str = "--labels") -> dict[str, tuple[str, ...]]:
    """Output name -> labels, from `FILE`, or `OUTPUT=FILE` where a model has several outputs.

    Raises:
        ServingError: It does not say which output, or the file cannot be read as text.
    """
    output, equals, file = given.partition("=")
    if not equals or output not in outputs:
        if len(outputs) > 1:
            raise ServingError(f"{flag} {given}: say of which output, OUTPUT=FILE, with one of {list(outputs)}")
        output, file = outputs[0], given
    try:
        # As Triton does it: other characters that end a line elsewhere do not end a label.
        return {output: tuple(Path(file).read_text(encoding="utf-8").removesuffix("\n").split("\n"))}
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ServingError(
            f"{flag} {given}: cannot read {file} ({reason}); it is a text file, a label a line"
        ) from error

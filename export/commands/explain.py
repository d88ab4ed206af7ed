"""Say how exact a model's ONNX file is, and where it goes wrong if it does.

Without --exporter the newest published version is explained; with it, the module is converted anew with that exporter
and nothing is published. Exit code 0 when every output is right, 1 when one is wrong.

examples:
  conch export explain cnn
  conch export explain mine                                  # published from mine.py, from a module or an ONNX file
  conch export explain path/to/mine.py --exporter dynamo
"""

from collections.abc import Sequence
from typing import Literal

import tyro

from conch import command_line
from conch.command_line import out, print_json


def main(words: Sequence[str]) -> int:
    """Run `conch export explain` with these words; the exit code."""
    return command_line.run(lambda: tyro.cli(show, prog="conch export explain", description=__doc__, args=words))


def show(
    model: tyro.conf.Positional[str], exporter: Literal["dynamo", "torchscript"] | None = None, json: bool = False
) -> int:
    """Explain a model.

    Args:
        model: A published model's name, a recipe's, or the path of a .py file with one.
        exporter: Explain a new conversion by this exporter.
        json: Print one JSON document instead, for programs; docs/json.md has its keys.
    """
    from export.diagnosis.explain import explain

    documents = explain(out(json), model, exporter)
    if json:
        print_json(documents)
    return 0 if all(document["passed"] for document in documents) else 1

"""Does this machine answer what was proven on another? The golden answers, asked before a version counts as ready.

A file that is right on one machine may answer otherwise on the next: int8 without VNNI saturates, TF32 rounds to 10
bits, and another ONNX Runtime has other kernels. Some items are run through the session that will serve them.

Comparison and golden files are those of `conch.contracts`; where Conch is not installed there is no check.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
from config_values import Config, model_parameters
from execution_providers import accelerators
from parameters import given_or

try:
    from conch.contracts.comparison import EXACT, compare
    from conch.contracts.golden import FILE, GoldenError, read_golden, read_tolerances, read_version_manifest
except ImportError:  # this folder alone, copied beside another server
    FILE = ""

PARAMETER = "golden_check"
ITEMS = 4
"""Items that are asked: a departure of a processor or library is in every one of them."""


def check_golden(
    config: Config, session: ort.InferenceSession, version: Path, options: ort.RunOptions | None
) -> str:  # fmt: skip
    """Hold a session against its version's golden answers.

    Args:
        config: The model configuration.
        session: What was opened of the version's file.
        version: Its folder.
        options: Of each run.

    Returns:
        What to log; "" where all is right or nothing is known.

    Raises:
        ValueError: It answers otherwise, or the parameter `golden_check` is not one of those allowed.
    """
    default = "warn" if _asks_for_less(config) else "refuse"
    mode = given_or(default, model_parameters(config), PARAMETER)
    if mode == "off" or not FILE or not (version / FILE).is_file():
        return ""
    departed = _departure(config, session, version, options)
    if departed and mode == "refuse":
        raise ValueError(f"{departed}; export it for this machine, or set the parameter '{PARAMETER}' to 'warn'")
    return departed


def _asks_for_less(config: Config) -> bool:
    """Whether the configuration itself turns on arithmetic of fewer bits."""
    wishes = {key: value for _, options in accelerators(config, "gpu") for key, value in options.items()}
    return wishes.get("precision_mode", "FP32") != "FP32" or wishes.get("use_tf32", "0").lower() not in ("0", "false")


def _departure(config: Config, session: ort.InferenceSession, version: Path, options: ort.RunOptions | None) -> str:
    try:
        inputs, outputs = read_golden(version)
        source = read_version_manifest(version).get("source")
        if isinstance(source, dict) and source.get("repeatable") is False:
            return ""  # it draws random numbers
        batch = int(config.get("max_batch_size", 0))
        feed = _feed(session, inputs, batch)
        if feed is None:
            return ""  # the file has been changed since; what it was proven with is nothing to it
        names = [tensor.name for tensor in session.get_outputs() if tensor.name in outputs]
        answers = dict(zip(names, session.run(names, feed, options), strict=True))
        tolerances = read_tolerances(version)
    except GoldenError as error:
        return str(error)
    for name, answer in answers.items():
        got, expected = np.asarray(answer), _in_graphs_form(outputs[name], np.ndim(answer), batch)
        if got.dtype.kind in "OS":
            got = got.astype(str)
        allowed = tolerances.get(got.dtype.name, EXACT)
        difference, agrees = compare(got, expected, allowed)
        if not agrees:
            return (
                f"golden answers: output '{name}' differs by {difference:.3g} from what was proven, allowed is "
                f"{allowed[0]:g} + {allowed[1]:g} x value: this machine computes otherwise than the one of the proof "
                f"({_machines(version, session)})"
            )
    return ""


def _feed(session: ort.InferenceSession, inputs: Mapping[str, np.ndarray], batch: int) -> dict[str, np.ndarray] | None:
    """What to ask; None where the graph takes something else than the file has."""
    feed = {}
    for tensor in session.get_inputs():
        if tensor.name not in inputs:
            return None
        array = _in_graphs_form(inputs[tensor.name], len(tensor.shape), batch)
        if array.ndim != len(tensor.shape):
            return None
        feed[tensor.name] = array.astype(object) if array.dtype.kind == "U" else array
    return feed


def _in_graphs_form(array: np.ndarray, rank: int, batch: int) -> np.ndarray:
    """The first items for a tensor of so many axes; one, without an axis of items, where there is no batch."""
    array = array[: min(ITEMS, batch)] if batch else array[0]
    if array.ndim == rank + 1 and array.shape[-1] == 1:  # a number an item has an axis of its own in golden.npz
        array = array.reshape(array.shape[:-1])
    return array


def _machines(version: Path, session: ort.InferenceSession) -> str:
    here = f"here ONNX Runtime {ort.__version__} on {session.get_providers()[0]}"
    proven = read_version_manifest(version).get("processor")
    return f"{here}; proven on {json.dumps(proven)}" if proven else here

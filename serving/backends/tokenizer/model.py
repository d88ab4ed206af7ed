"""A Triton model of its own: text in, the tokens of the model behind it out.

It lies in the version's folder and stands alone: beside NumPy it needs the package `tokenizers`, wherever Triton's
Python backend runs it.

Source: triton-inference-server/python_backend README.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

TEXT = "text"


class TritonPythonModel:
    """The interface that Triton's Python backend calls: `initialize` once, then `execute` for each batch."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the tokenizer; an exception becomes the model's load error in Triton's log and repository index."""
        version = Path(args["model_repository"]) / args["model_version"]
        self.name = args["model_name"]
        config = json.loads(args["model_config"])
        self.outputs = [entry["name"] for entry in config["output"]]
        try:
            import tokenization  # a file beside this one: Triton puts the version's folder on the module path
        except ImportError as error:
            raise pb_utils.TritonModelException(
                f"{error}: the Python of this server has no tokenizers; pip install '{_proven_with(version)}'"
            ) from error
        self.decoded = tokenization.decoded
        try:
            self.tokenization = tokenization.Tokenization(version / config["parameters"]["tokenizer"]["string_value"])
            if (version / "golden.npz").is_file():
                with np.load(version / "golden.npz", allow_pickle=False) as golden:
                    departed = tokenization.departure(self.tokenization, dict(golden))
                if departed:
                    raise ValueError(f"golden answers: {departed}; pip install '{_proven_with(version)}'")
        except Exception as error:
            raise pb_utils.TritonModelException(str(error)) from error

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request, in order, each as wide as its own longest text; a failed one gets an error."""
        return [self._answer(pb_utils.get_input_tensor_by_name(request, TEXT).as_numpy()) for request in requests]

    def _answer(self, texts: np.ndarray) -> Any:
        try:
            tokens = self.tokenization(self.decoded(texts))
        except Exception as error:  # whatever a text makes the library raise
            error = pb_utils.TritonError(f"model '{self.name}', input '{TEXT}': {error}")
            return pb_utils.InferenceResponse(output_tensors=[], error=error)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, tokens[name]) for name in self.outputs])


def _proven_with(version: Path) -> str:
    """The library as the proof had it, as pip takes it."""
    try:
        packages = json.loads((version / "manifest.json").read_text(encoding="utf-8"))["packages"]
        return f"tokenizers=={packages['tokenizers']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "tokenizers"

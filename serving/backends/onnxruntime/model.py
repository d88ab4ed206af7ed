"""Triton's `onnxruntime` backend in Python: a drop-in where NVIDIA's C++ one is not installed.

Triton loads this file for each instance of each model whose configuration says `backend: "onnxruntime"`, in a process
of its own (the Python backend's stub). It stands alone: it imports the files beside it and nothing else of Conch.

Source: triton-inference-server/python_backend README, triton-inference-server/onnxruntime_backend README.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import ort_session  # a file beside this one: Triton puts the backend's folder on the module path
import triton_python_backend_utils as pb_utils
from auto_complete import auto_complete
from runner import Runner
from sequence_state import SequenceStates
from signature import check_config


class TritonPythonModel:
    """The interface that Triton's Python backend calls: `initialize` once, then `execute` for each batch."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Fill in what the configuration leaves out; called once, in a process of its own, before any instance."""
        try:
            # `add_input` knows no reshape; the stub takes over what is written into the dictionary itself.
            auto_complete(auto_complete_model_config.as_dict(), Path(pb_utils.get_model_dir()))
        except Exception as error:
            raise pb_utils.TritonModelException(str(error)) from error
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model; an exception becomes the model's load error in Triton's log and repository index."""
        config = json.loads(args["model_config"])
        self.name = config["name"]
        try:
            session = ort_session.open_session(config, args)
            check_config(config, session)
            self.runner = Runner(config, session, ort_session.run_options(config, session.get_providers()))
            stateful = bool(config.get("sequence_batching", {}).get("state"))
            self.sequences = SequenceStates(config, Path(args["model_repository"]), session) if stateful else None
        except Exception as error:
            raise pb_utils.TritonModelException(str(error)) from error  # Triton adds the model and the version
        self.outputs = [entry["name"] for entry in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request, in order; a failed request gets an error, its neighbours their outputs."""
        inputs = [{tensor.name(): tensor.as_numpy() for tensor in request.inputs()} for request in requests]
        outputs = self._asked(requests)
        if self.sequences is not None:
            answers = self.sequences.run(requests, inputs, outputs, self.runner.run)
        else:
            answers = self.runner.run(inputs, outputs)
        return [
            self._refusal(given, answer) if isinstance(answer, Exception) else _response(answer)
            for given, answer in zip(inputs, answers, strict=True)
        ]

    def _asked(self, requests: list[Any]) -> list[str]:
        """The outputs that some request asks for. The stub leaves out of a response what its own did not."""
        if len(self.outputs) == 1:
            return self.outputs
        asked = {name for request in requests for name in request.requested_output_names()}
        return [name for name in self.outputs if name in asked]

    def _refusal(self, inputs: dict[str, np.ndarray], error: Exception) -> Any:
        shapes = ", ".join(f"'{name}' {list(array.shape)}" for name, array in inputs.items())
        text = f"model '{self.name}', request with {shapes}: {error}"
        return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(text))


def _response(outputs: dict[str, np.ndarray]) -> Any:
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])

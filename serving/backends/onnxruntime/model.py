"""Triton's `onnxruntime` backend in Python: a drop-in where NVIDIA's C++ one is not installed.

Triton loads this file for each instance of each model whose configuration says `backend: "onnxruntime"`, in a process
of its own (the Python backend's stub). It stands alone: it imports the files beside it, and of Conch, where that is
installed, how golden answers are compared.

Source: triton-inference-server/python_backend README, triton-inference-server/onnxruntime_backend README.
"""

import faulthandler
import json
from pathlib import Path
from typing import Any

import onnxruntime as ort
import ort_session  # a file beside this one: Triton puts the backend's folder on the module path
import triton_python_backend_utils as pb_utils
from auto_complete import auto_complete
from cuda_graphs import GraphBatches, fixed_tensors, graph_sizes
from device_memory import DeviceRuns, Placed, on_host, take
from golden_check import check_golden
from graph_tensors import check_config
from placement import CUDA, asked_provider, stated_kinds
from runner import Runner
from sequence_state import SequenceStates

# Triton says of a process that died no more than that it is not healthy: let it say itself, in Triton's log, of what.
faulthandler.enable()

PLACEMENT = "conch_execution_provider"
"""A metric of the server, 1 for each instance of a model; its labels say what it runs on and what was asked for."""


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
            version = Path(args["model_repository"]) / args["model_version"]
            options = ort_session.run_options(config, session.get_providers())
            if departed := check_golden(config, session, version, options):
                pb_utils.Logger.log_warn(f"model '{self.name}' {departed}")
            self.runner = _runner(config, session, int(args["model_instance_device_id"]))
            self.booleans = {tensor.name for tensor in session.get_inputs() if tensor.type == "tensor(bool)"}
            # Where tensors are never on a device, asking each of them would only cost time.
            self.on_gpu = CUDA in session.get_providers()
            stateful = bool(config.get("sequence_batching", {}).get("state"))
            self.sequences = SequenceStates(config, Path(args["model_repository"]), session) if stateful else None
        except Exception as error:
            raise pb_utils.TritonModelException(str(error)) from error  # Triton adds the model and the version
        self.outputs = [entry["name"] for entry in config["output"]]
        self.placement = _placement(config, args, session.get_providers())

    def finalize(self) -> None:
        """Called before the process ends. A metric that is given back after that ends it with a segmentation fault."""
        self.placement = None

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request, in order; a failed request gets an error, its neighbours their outputs."""
        outputs = self._asked(requests)
        inputs: list[Any]
        answers: list[Any]
        if self.on_gpu:
            inputs = [{tensor.name(): take(tensor, self.booleans) for tensor in r.inputs()} for r in requests]
        else:
            inputs = [{tensor.name(): tensor.as_numpy() for tensor in r.inputs()} for r in requests]
        if self.sequences is not None:
            on_cpu = [on_host(given) for given in inputs] if self.on_gpu else inputs
            answers = self.sequences.run(requests, on_cpu, outputs, self.runner.run)
        else:
            answers = (self.runner.run_placed if self.on_gpu else self.runner.run)(inputs, outputs)
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

    def _refusal(self, inputs: Placed, error: Exception) -> Any:
        shapes = ", ".join(
            f"'{name}' {list(value.shape() if isinstance(value, ort.OrtValue) else value.shape)}"
            for name, value in inputs.items()
        )
        text = f"model '{self.name}', request with {shapes}: {error}"
        return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(text))


def _response(outputs: Placed) -> Any:
    return pb_utils.InferenceResponse(
        [
            pb_utils.Tensor.from_dlpack(name, value)
            if isinstance(value, ort.OrtValue)
            else pb_utils.Tensor(name, value)
            for name, value in outputs.items()
        ]
    )


def _runner(config: dict[str, Any], session: ort.InferenceSession, device_id: int) -> Runner:
    """What runs the requests: with CUDA graphs and in the GPU's memory where the session is on one."""
    options = ort_session.run_options(config, session.get_providers())
    graphs = bool(graph_sizes(config))
    if graphs:
        fixed_tensors(config, session)  # refused on every machine, not only where it would be used
    if CUDA not in session.get_providers():
        return Runner(config, session, options)
    batches = GraphBatches(config, session, "cuda", device_id) if graphs else None
    return Runner(config, session, options, batches, DeviceRuns(session, "cuda", device_id, options))


def _placement(config: dict[str, Any], args: dict[str, str], providers: list[str]) -> Any:
    """The metric that tells where this instance runs; it is there for as long as this object."""
    stated = stated_kinds(Path(args["model_repository"]))
    labels = {
        "model": config["name"],
        "version": args["model_version"],
        "instance": args["model_instance_name"],
        "provider": providers[0],
        "asked": asked_provider(config, args["model_instance_kind"], stated),
    }
    family = pb_utils.MetricFamily(
        name=PLACEMENT,
        description="What each model instance runs on, and what its configuration asks for",
        kind=pb_utils.MetricFamily.GAUGE,
    )
    metric = family.Metric(labels=labels)
    metric.set(1)
    return family, metric

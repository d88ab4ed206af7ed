"""One request to a server, over either protocol, as the live tests send them."""

from collections.abc import Mapping, Sequence

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import np_to_triton_dtype

from serving.server.server import Server

PROTOCOLS = ("http", "grpc")


def infer(
    server: Server,
    protocol: str,
    model: str,
    inputs: Mapping[str, np.ndarray],
    outputs: Sequence[str] | None = None,
    version: str = "",
) -> dict[str, np.ndarray]:
    """The outputs of one request, by name.

    Each call has a client of its own, so it may run in any thread: tritonclient's HTTP client is bound to its thread.

    Raises:
        tritonclient.utils.InferenceServerException: What the server refuses.
    """
    api = tritonclient.http if protocol == "http" else tritonclient.grpc
    tensors = []
    for name, array in inputs.items():
        tensors.append(api.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
        tensors[-1].set_data_from_numpy(array)
    asked = None if outputs is None else [api.InferRequestedOutput(name) for name in outputs]
    address = server.http if protocol == "http" else server.grpc
    with api.InferenceServerClient(address) as client:
        result = client.infer(model, tensors, model_version=version, outputs=asked)
        response = result.get_response()
        if protocol == "http":
            names = [output["name"] for output in response["outputs"]]
        else:
            names = [output.name for output in response.outputs]
        return {name: result.as_numpy(name) for name in names}

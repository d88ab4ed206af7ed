"""Ask a served version its golden answers, one after the other, for as long as somebody wants to know."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from conch.contracts.comparison import EXACT, compare
from conch.contracts.golden import as_text, read_golden, read_tolerances
from conch.contracts.live import config_file
from conch.contracts.requests import read_requests

ANSWER_SECONDS = 5.0


class GoldenProbe:
    """Of `version` of the model in the folder `model`, which the gRPC service at `address` has as `name`.

    Raises:
        ConchError: There are no golden answers, or no configuration.
    """

    def __init__(self, address: str, name: str, model: Path, version: int) -> None:
        requests = read_requests(config_file(model, version))
        inputs, outputs = read_golden(model / str(version))
        assert requests is not None, "what is served has a configuration"
        self._batched = requests.max_batch_size > 0
        self._inputs = {key: array for key, array in inputs.items() if key in requests.inputs}
        self._outputs = {key: array for key, array in outputs.items() if key in requests.outputs}
        self._tolerances = read_tolerances(model / str(version))
        self._items = itertools.cycle(range(len(next(iter(outputs.values())))))
        self._name, self._client = name, InferenceServerClient(address, channel_args=[("grpc.enable_http_proxy", 0)])
        self.asked = 0

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    def ask(self) -> str:
        """Ask the next one; what is wrong with the answer, or empty."""
        item = next(self._items)
        self.asked += 1
        try:
            answer = self._client.infer(self._name, list(self._sent(item)), client_timeout=ANSWER_SECONDS)
        except InferenceServerException as error:
            return f"golden item {item} is not answered: {' '.join((error.message() or '').split())}"
        for key, array in self._outputs.items():
            expected = array[item : item + 1] if self._batched else array[item]
            got = as_text(np.asarray(answer.as_numpy(key)))
            if not compare(got, expected, self._tolerances.get(expected.dtype.name, EXACT)).agrees:
                return f"the answer to golden item {item} is wrong, output {key!r}"
        return ""

    def _sent(self, item: int) -> Iterator[InferInput]:
        for key, array in self._inputs.items():
            value = array[item : item + 1] if self._batched else array[item]
            if value.dtype.kind == "U":
                value = np.char.encode(value, "utf-8", "surrogateescape").astype(object)
            tensor = InferInput(key, list(value.shape), np_to_triton_dtype(value.dtype))
            tensor.set_data_from_numpy(np.ascontiguousarray(value))
            yield tensor

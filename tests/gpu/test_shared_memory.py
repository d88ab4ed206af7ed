"""Tensors in the GPU's memory, which client and server share."""

from pathlib import Path

import numpy as np
import pytest

from clients import connect
from loadtest.golden import load_golden
from serving.server.server import Server

PROTOCOLS = ("http", "grpc")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("model", ["cnn", "lstm"])
def test_answers_are_those_of_a_client_without(on_gpu: Server, artifacts: Path, protocol: str, model: str) -> None:
    url = f"{protocol}://{getattr(on_gpu, protocol)}"
    golden = load_golden(artifacts, model)
    with connect(url, shared_memory="cuda") as client, connect(url) as without:
        for items in ([0], list(range(5)), list(range(70)), [3]):
            inputs = golden.questions([item % len(golden) for item in items])
            right, got = without.infer(model, inputs), client.infer(model, inputs)
            for name in right:
                np.testing.assert_allclose(got[name], right[name], rtol=1e-4, atol=1e-5)

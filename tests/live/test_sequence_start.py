"""A sequence whose first request fails, on a real Triton: it has begun, as with NVIDIA's backend."""

from collections.abc import Iterator

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from serving.repository.publish import publish
from serving.server.server import Server
from tests.support import graphs

# The sum of what a sequence has picked; an index outside the table fails the run.
PICKED = """
picked (int64[batch, 1] index, float[batch, 1] sum_in) => (float[batch, 1] total, float[batch, 1] sum_out)
<float[4] table = {1, 10, 100, 1000}>
{ value = Gather(table, index)
  sum_out = Add(sum_in, value)
  total = Identity(sum_out) }
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServerClient]:
    """Of a server that has the model `picked`."""
    folder = tmp_path_factory.mktemp("sequence_start")
    file = graphs.write(PICKED, folder / "picked.onnx")
    publish(
        file,
        name="picked",
        repository=folder / "models",
        max_batch_size=8,
        manifest={},
        parity=[],
        golden=graphs.golden(file),
        states=(("sum_in", "sum_out"),),
    )
    with (
        Server(folder / "models", http_port=0, grpc_port=0, metrics_port=0) as server,
        InferenceServerClient(server.grpc) as client,
    ):
        yield client


def pick(client: InferenceServerClient, sequence: int, index: int, *, start: bool = False, end: bool = False) -> float:
    """One request of a sequence; what it has picked so far."""
    tensor = InferInput("index", [1, 1], "INT64")
    tensor.set_data_from_numpy(np.array([[index]]))
    answer = client.infer("picked", [tensor], sequence_id=sequence, sequence_start=start, sequence_end=end)
    return float(answer.as_numpy("total").item())


def test_a_failed_first_request_begins_the_sequence_with_its_initial_state(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="out of data bounds"):
        pick(client, 1, 9, start=True)
    assert pick(client, 1, 1) == 10
    assert pick(client, 1, 2) == 110
    with pytest.raises(InferenceServerException, match="out of data bounds"):
        pick(client, 1, 9)
    assert pick(client, 1, 0, end=True) == 111


def test_a_failed_beginning_anew_forgets_what_was(client: InferenceServerClient) -> None:
    assert pick(client, 2, 3, start=True) == 1000
    with pytest.raises(InferenceServerException, match="out of data bounds"):
        pick(client, 2, 9, start=True)
    assert pick(client, 2, 0, end=True) == 1


def test_a_failed_first_request_that_is_the_last_leaves_nothing(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="out of data bounds"):
        pick(client, 3, 9, start=True, end=True)
    with pytest.raises(InferenceServerException, match="START"):
        pick(client, 3, 0)

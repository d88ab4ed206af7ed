"""Hostile requests that hypothesis makes: documents and messages of the right words in the wrong places."""

import json
import random
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from tests.support.hostile import over_grpc, over_http
from tests.support.hostile.attack import Attack

WORDS = st.sampled_from([
    "name", "shape", "datatype", "data", "inputs", "outputs", "parameters", "id", "binary_data_size", "classification",
    "sequence_id", "sequence_start", "priority", "timeout", "shared_memory_region", "FP32", "BYTES", "INT64", "x",
    "tokens",
])  # fmt: skip
NUMBERS = (
    st.integers() | st.sampled_from([0, 1, 4, -1, 2**31, 2**60, 2**61, 2**63 - 1, 2**64]) | st.floats(allow_nan=False)
)
LEAVES = st.none() | st.booleans() | NUMBERS | WORDS | st.text(max_size=8)
ANY = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=12
)
INT64 = st.integers(-(2**63), 2**63 - 1)
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("x") | ANY, "datatype": WORDS | ANY, "shape": st.lists(NUMBERS, max_size=5) | ANY,
        "data": st.lists(ANY, max_size=5) | ANY, "parameters": st.dictionaries(WORDS, ANY, max_size=3) | ANY,
    },
)  # fmt: skip
DOCUMENT = ANY | st.fixed_dictionaries(
    {"inputs": st.lists(TENSOR, max_size=3) | ANY},
    optional={"outputs": st.lists(TENSOR, max_size=2) | ANY, "parameters": st.dictionaries(WORDS, ANY, max_size=3)},
)


@st.composite
def requests(draw: st.DrawFn) -> Any:
    """A `ModelInferRequest` of any fields."""
    found = service_pb2.ModelInferRequest(
        model_name=draw(st.sampled_from(["affine", "lengths", "text", ""]) | st.text(max_size=8)),
        model_version=draw(st.sampled_from(["", "1", "-1", "99999999999999999999"])),
        id=draw(st.text(max_size=5)),
    )
    for _ in range(draw(st.integers(0, 3))):
        tensor = found.inputs.add(name=draw(st.sampled_from(["x", "tokens", "s"])), datatype=draw(WORDS))
        tensor.shape.extend(draw(st.lists(INT64 | st.integers(0, 4), max_size=5)))
        tensor.contents.int64_contents.extend(draw(st.lists(INT64, max_size=3)))
        if draw(st.booleans()):
            tensor.parameters[draw(WORDS)].int64_param = draw(INT64)
    found.raw_input_contents.extend(draw(st.lists(st.binary(max_size=20), max_size=3)))
    for _ in range(draw(st.integers(0, 2))):
        found.outputs.add(name=draw(WORDS)).parameters[draw(WORDS)].int64_param = draw(INT64)
    for key in draw(st.lists(WORDS, max_size=2)):
        found.parameters[key].uint64_param = draw(st.integers(0, 2**64 - 1))
    return found


def attacks(count: int, number: int) -> list[Attack]:
    """`count` over each protocol, the same ones for the same seed `number`."""
    rng = random.Random(number)
    found = []
    for document in _drawn(DOCUMENT, count, number):
        model = rng.choice(["affine", "lengths", "text"])
        body = json.dumps(document).encode()
        found.append(Attack("drawn JSON", "http", (over_http.post(f"/v2/models/{model}/infer", body),)))
    for request in _drawn(requests(), count, number):
        method = rng.choice(["ModelInfer", "ModelStreamInfer"])
        frames = over_grpc.call(method, over_grpc.message(request.SerializeToString()))
        found.append(Attack("drawn protobuf", "grpc", (over_grpc.opening() + frames,)))
    return found


def _drawn(strategy: "st.SearchStrategy[Any]", count: int, number: int) -> list[Any]:
    found: list[Any] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(value: Any) -> None:
        found.append(value)

    draw()
    return found

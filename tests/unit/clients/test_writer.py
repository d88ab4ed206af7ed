"""A text that one model reads and another writes: which two belong together, and what each of them is sent."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from clients.client import Client
from clients.errors import ClientError, UnknownModel, WrongKind
from clients.generation import KEY, Generation
from clients.signature import Metadata, TensorSpec
from clients.writer import Writer

READS = Generation(most=6, step="sums_step", pair="a1")
WRITES = Generation(end=(0,), encoder="sums_encoder", start=(7, 7), pair="a1")


def described(name: str, inputs: str, outputs: str, says: Generation | None, rows: int = 2) -> Metadata:
    """Of tensors of one open axis."""
    took, gave = (
        [TensorSpec(tensor, "INT64", (-1, -1), True) for tensor in said.split()] for said in (inputs, outputs)
    )
    parameters = {KEY: says.as_parameter()} if says else {}
    return Metadata(name, ("1",), "onnxruntime_onnx", tuple(took), tuple(gave), rows, parameters=parameters)


class Server:
    """Reads the sum of a text, and counts down from it; what it keeps are the numbers so far."""

    def __init__(self) -> None:
        self.models = {
            "sums_encoder": described("sums_encoder", "input_ids attention_mask", "source_sum", READS),
            "sums_step": described("sums_step", "input_ids source_sum past_x", "logits present_x", WRITES, rows=3),
            "other": described("other", "x", "y", None),
        }
        self.sent: list[tuple[str, dict[str, np.ndarray]]] = []

    def metadata(self, model: str) -> Metadata:
        """As a client learns it."""
        if model not in self.models:
            raise UnknownModel(model, [*self.models])
        return self.models[model]

    def infer(self, model: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One run."""
        self.sent.append((model, dict(inputs)))
        tokens = inputs["input_ids"]
        if model == "sums_encoder":
            return {"source_sum": (tokens * inputs["attention_mask"]).sum(1, keepdims=True)}
        kept = np.concatenate([inputs["past_x"], tokens], 1)
        left = inputs["source_sum"][:, 0] - (kept.shape[1] - 2)  # one place stands for nothing, two begin a text
        return {"logits": np.eye(40, dtype=np.float32)[left], "present_x": kept}


def writer(server: Server, model: str = "sums") -> Writer:
    """What writes through the server."""
    return Writer(cast(Client, server), model)


@pytest.mark.parametrize("model", ["sums", "sums_step", "sums_encoder"])
def test_two_models_are_found_by_either_and_used_as_one(model: str) -> None:
    server = Server()
    assert writer(server, model).write([[1, 2], [5], [2, 2]], length=9) == [[2, 1, 0], [4, 3, 2, 1, 0], [3, 2, 1, 0]]
    first, second = (inputs for name, inputs in server.sent if name == "sums_encoder")
    assert first["input_ids"].tolist() == [[1, 2], [5, 0]]
    assert first["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert second["input_ids"].tolist() == [[2, 2]]
    steps = [inputs for name, inputs in server.sent if name == "sums_step"]
    assert steps[0]["input_ids"].tolist() == [[7, 7], [7, 7]]
    assert steps[0]["past_x"].tolist() == [[0], [0]]
    assert steps[1]["source_sum"].tolist() == [[3], [5]]
    assert steps[3]["source_sum"].tolist() == [[5]], "a row that has ended is not sent on, and nor is its source"


ODD: Mapping[str, tuple[dict[str, Any], str, type[ClientError], str]] = {
    "another export's encoder": ({"pair": "b2"}, "sums", WrongKind, "sums_step and sums_encoder were not exported tog"),
    "an encoder of another step": ({"step": "sums"}, "sums", WrongKind, "export both again"),
    "neither one nor a half": ({}, "sum", UnknownModel, "no model 'sum'; it has: sums_encoder, sums_step, other"),
    "a model that writes nothing": ({}, "other", WrongKind, "of the tasks text-generation and text2text-generation"),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_what_cannot_write_is_refused(case: str) -> None:
    changes, model, error, reason = ODD[case]
    server = Server()
    server.models["sums_encoder"] = replace(
        server.models["sums_encoder"], parameters={KEY: replace(READS, **changes).as_parameter()}
    )
    with pytest.raises(error, match=reason):
        writer(server, model)


def test_a_source_is_as_long_as_its_encoder_has_room_for() -> None:
    assert writer(Server()).write([[1] * 6], 1) == [[5]]
    with pytest.raises(ClientError, match="text 2 has 7 tokens, sums_encoder has room for 6 in all"):
        writer(Server()).write([[1], [1] * 7])
    with pytest.raises(ClientError, match="text 1 has no tokens"):
        writer(Server()).write([[]])

"""Suppression against the greedy loop it stands for, and average precision of answers that are known."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from training.average_precision import average_precision, mean_average_precision
from training.data.canvases import Scenes
from training.suppression import intersection_over_union, suppressed


def greedy(boxes: torch.Tensor, classes: torch.Tensor, overlap: float) -> list[bool]:
    """Which boxes [n, 4] the loop of the textbooks takes away."""
    overlaps = intersection_over_union(boxes[None])[0]
    gone = [False] * len(boxes)
    for one in range(len(boxes)):
        for other in range(one + 1, len(boxes)):
            if not gone[one] and classes[one] == classes[other] and overlaps[one, other] > overlap:
                gone[other] = True
    return gone


@pytest.mark.parametrize("seed", range(20))
def test_matrices_suppress_what_the_greedy_loop_does(seed: int) -> None:
    torch.manual_seed(seed)
    corner = torch.rand(1, 16, 2) * 12
    boxes = torch.cat([corner, corner + 6 + torch.rand(1, 16, 2) * 6], 2)
    classes = torch.randint(0, 2, (1, 16))
    expected = greedy(boxes[0], classes[0], 0.4)
    assert any(expected)
    assert suppressed(boxes, classes, 0.4)[0].tolist() == expected


def test_the_third_of_a_chain_is_kept_for_the_second_is_gone() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]]])
    assert suppressed(boxes, torch.zeros(1, 3, dtype=torch.int64), 0.4).tolist() == [[False, True, False]]


def test_precision_counts_each_thing_once_and_the_surest_first() -> None:
    assert average_precision(np.array([True, True]), 2) == 1
    assert average_precision(np.array([False, True]), 1) == 0.5
    assert average_precision(np.array([], bool), 3) == 0
    box = np.array([[[0, 0, 10, 10], [0, 0, 0, 0]]], np.float32)
    truth = Scenes(np.zeros((1, 8, 8, 1), np.uint8), np.zeros((1, 8, 8), np.uint8), box, np.array([[3, -1]]))
    twice = {
        "boxes": box[:, [0, 0]], "scores": np.array([[0.9, 0.8]]), "classes": np.array([[3, 3]]),
        "count": np.array([[2]]),
    }  # fmt: skip
    assert mean_average_precision(twice, truth, 10) == 1  # the second answer comes after all things are found
    assert mean_average_precision(twice | {"classes": np.array([[4, 3]])}, truth, 10) == 1
    assert mean_average_precision(twice | {"count": np.array([[0]])}, truth, 10) == 0


def test_onnx_runtime_s_own_suppression_keeps_the_same_boxes() -> None:
    torch.manual_seed(3)
    corner = torch.rand(1, 24, 2) * 14
    boxes, classes = torch.cat([corner, corner + 6], 2), torch.randint(0, 3, (1, 24))
    scores = torch.linspace(1, 0.5, 24)
    of_class = torch.nn.functional.one_hot(classes[0], 3).T * scores
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "overlap", "least"], ["kept"])
    constants = [
        numpy_helper.from_array(np.array([value], dtype), name)
        for name, value, dtype in (("most", 24, np.int64), ("overlap", 0.4, np.float32), ("least", 0.1, np.float32))
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("boxes", "scores")]
    outputs = [helper.make_tensor_value_info("kept", TensorProto.INT64, None)]
    graph = helper.make_graph([node], "suppression", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (kept,) = session.run(None, {"boxes": boxes.numpy(), "scores": of_class[None].numpy()})
    assert 0 < len(kept) < 24
    assert sorted(kept[:, 2]) == (~suppressed(boxes, classes, 0.4)[0]).nonzero()[:, 0].tolist()

"""How fast a cost grows is read off its largest sizes, and what grows too fast is told."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.bench.growth.curve import Curve
from tests.bench.growth.graphs import write_convolutions, write_dense, write_recurrent
from tests.bench.growth.held_out import write_judged_recipe
from tests.bench.growth.page import draw, section

SIZES = (1, 10, 100, 1000)


@pytest.mark.parametrize(
    ("values", "exponent", "met"),
    [
        ((5.0, 5.1, 5.2, 5.1), 0.0, True),
        ((9.0, 10.0, 100.0, 1000.0), 1.0, True),
        ((9.0, 1.0, 100.0, 10_000.0), 2.0, False),
    ],
)
def test_the_exponent_is_that_of_the_largest_sizes(values: tuple[float, ...], exponent: float, met: bool) -> None:
    curve = Curve("start", "models", "s", SIZES, values)
    assert curve.exponent == pytest.approx(exponent, abs=0.01)
    assert curve.met == met
    assert ("grows faster than it may" in section([curve], 0.0)) != met
    told = Curve("start", "models", "s", SIZES, values, "for a reason", most=1.5)
    assert told.met == met, "what is explained is not allowed everything"
    assert ("| for a reason |" in section([told], 0.0)) == met
    assert "exponent" in draw([curve])


@pytest.mark.parametrize(
    ("write", "shapes"),
    [
        (write_dense, [(1, 16), (7, 16)]),
        (write_convolutions, [(1, 3, 16, 16), (2, 3, 32, 48)]),
        (write_recurrent, [(1, 4, 16), (3, 9, 16)]),
    ],
)
def test_one_file_takes_little_and_much(write, shapes: list[tuple[int, ...]], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    session = onnxruntime.InferenceSession(write(tmp_path / "model.onnx"))
    for shape in shapes:
        (answer,) = session.run(None, {"x": np.ones(shape, np.float32)})
        assert answer.shape[0] == shape[0]


def test_the_recipe_is_judged_by_as_many_as_asked(tmp_path: Path) -> None:
    from training.catalogue import find_recipe

    recipe = find_recipe(str(write_judged_recipe(tmp_path, 500)))
    data = recipe(epochs=1).dataset()
    assert len(data.images) == 628
    assert data.describe()["held_out"] == 500

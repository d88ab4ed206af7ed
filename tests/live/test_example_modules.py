"""Modules with dictionaries and lists at both ends, exported by their example and answered by a real Triton."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from export.commands.module import main as export_module
from serving.server.server import Server
from tests.support import example_modules
from tests.support.calls import PROTOCOLS, infer
from tests.support.loads import load_everything

MODELS = {"dictionary_of_any_length": ("--max-batch", "4"), "a_list_of_pictures": (), "a_scalar": ()}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Triton of the modules, each exported by its name alone."""
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCH_ARTIFACTS", str(folder))
        for name, words in MODELS.items():
            assert export_module([f"{example_modules.__file__}:{name}", "--name", name, *words]) == 0
    with Server(folder / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_dictionary_goes_in_and_comes_out(served: Server, protocol: str) -> None:
    """Tokens of a length that no example has."""
    tokens, mask = example_modules.tokens(3, 7), torch.tensor([[1] * 7, [1, 1, 0, 0, 0, 0, 0], [0] * 6 + [1]])
    arrays = {"mask": mask.numpy(), "tokens": tokens.numpy()}
    answers = infer(served, protocol, "dictionary_of_any_length", arrays)
    with torch.no_grad():
        expected = example_modules.Tagger()({"tokens": tokens, "mask": mask})
    np.testing.assert_allclose(answers["logits"], expected["logits"], 1e-5, 1e-6)
    np.testing.assert_allclose(answers["aux.mean"], expected["aux"]["mean"], 1e-5, 1e-6)
    with np.load(served.repository / "dictionary_of_any_length" / "1" / "golden.npz") as golden:
        assert golden["inputs/tokens"][0, :4].tolist() == example_modules.tokens(1, 4)[0].tolist()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_has_no_batch_axis_is_served_as_it_is(served: Server, protocol: str) -> None:
    image, rows = example_modules.values(3, 6, 6, seed=5), example_modules.values(5, 4, seed=5)
    found = infer(served, protocol, "a_list_of_pictures", {"images.0": image.numpy()})
    answers = infer(served, protocol, "a_scalar", {"x": rows.numpy()})
    with torch.no_grad():
        (expected,) = example_modules.Detector()([image])
        loss = example_modules.WithLoss()(rows)
    np.testing.assert_allclose(found["boxes"], expected["boxes"], 1e-5, 1e-6)
    np.testing.assert_allclose(found["scores"], expected["scores"], 1e-5, 1e-6)
    np.testing.assert_allclose(answers["y"], loss["y"], 1e-5, 1e-6)
    np.testing.assert_allclose(answers["loss"], [loss["loss"]], 1e-5, 1e-6)


def test_a_load_finds_every_answer_right(served: Server) -> None:
    run = load_everything(served, served.repository.parent)
    assert {part["model"] for part in run["parts"]} == set(MODELS)

"""Networks beyond the demo's five in one Triton: the answers that were proven, and bad requests refused.

`make test` serves those that stand for a way of serving of their own, `make test-long` all others.
"""

from collections.abc import Iterator

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from conch.contracts.comparison import EXACT, compare
from conch.contracts.golden import read_golden, read_tolerances
from export.publication.pipeline import export_checkpoint
from serving.server.server import Server
from tests.support.calls import PROTOCOLS, infer
from tests.support.digits_like import publish_judge
from tests.support.small_networks import READS, small_network
from training.catalogue import NETWORKS
from training.checkpoints.checkpoint import load_checkpoint
from training.loop.fit import train

QUICK = ("perceptron",)


@pytest.fixture(scope="module", params=["quick", pytest.param("others", marks=pytest.mark.long)])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Triton of these networks at small size, each exported with its whole grid."""
    artifacts = tmp_path_factory.mktemp("networks")
    chosen = [name for name in NETWORKS if (name in QUICK) == (request.param == "quick")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCH_ARTIFACTS", str(artifacts))
        if "cnn" in {READS.get(name) for name in chosen}:
            publish_judge()
        for name in sorted({*chosen, *(READS[name] for name in chosen if READS.get(name) in NETWORKS)}, key=_last):
            recipe = small_network(name)
            train(recipe, recipe.dataset(), hold_floors=False)
            if name in chosen:
                export_checkpoint(load_checkpoint(name))
        with Server(artifacts / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
            yield server


def _last(name: str) -> bool:
    return name in READS


def test_each_gives_its_golden_answers_and_refuses_a_bad_request(served: Server) -> None:
    models = sorted(path.name for path in served.repository.iterdir() if path.is_dir())
    assert models
    for model in models:
        version = served.repository / model / "1"
        inputs, outputs = read_golden(version)
        tolerances = read_tolerances(version)
        for protocol, rows in zip(PROTOCOLS, (1, 3), strict=True):
            got = infer(served, protocol, model, {name: array[:rows] for name, array in inputs.items()})
            for name, array in outputs.items():
                allowed = tolerances.get(array.dtype.name, EXACT)
                assert compare(got[name], array[:rows], allowed).agrees, (model, protocol, name)
        name, array = next(iter(inputs.items()))
        bad = {**{key: value[:1] for key, value in inputs.items()}, name: array[:1, ..., np.newaxis, np.newaxis]}
        with pytest.raises(InferenceServerException, match=rf"(?s){name}|shape"):
            infer(served, "http", model, bad)

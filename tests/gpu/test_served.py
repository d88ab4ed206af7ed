"""The live server with all models on the GPU: scores, golden answers under load, sequences, two instances, memory."""

from pathlib import Path

import pytest

from serving.server.server import Server
from tests.bench.gpu.callers import crowd
from tests.bench.gpu.plan import CUDA, SYSTEM
from tests.bench.serving.memory import MOST_GROWTH, REQUESTS, SETTLED, moved
from tests.gpu import served

RECIPES = ("cnn", "resnet", "lstm", "autoencoder", "gan")


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_score_through_the_server_is_the_published_one(on_gpu: Server, recipe: str) -> None:
    assert served.score_differences(on_gpu, recipe) == []


def test_golden_answers_under_load_at_mixed_batch_sizes(on_gpu: Server, artifacts: Path) -> None:
    counts = served.golden_under_load(on_gpu, artifacts, RECIPES, seconds=20)
    assert set(counts) == set(range(1, served.LARGEST + 1))


def test_golden_answers_with_cuda_graphs(artifacts: Path, tmp_path: Path) -> None:
    """Batches between the recorded sizes are padded: their rows are still their own."""
    models = ["cnn", "resnet", "autoencoder", "gan"]
    with served.serving(models, artifacts / "models", tmp_path / "models", "cuda", graphs=True) as server:
        counts = served.golden_under_load(server, artifacts, models, seconds=10)
    assert set(counts) == set(range(1, served.LARGEST + 1))


@pytest.mark.parametrize("transport", [SYSTEM, CUDA])
@pytest.mark.parametrize("model", ["cnn", "lstm"])
def test_answers_in_shared_memory(on_gpu: Server, artifacts: Path, model: str, transport: str) -> None:
    """The callers compare an answer each, and then call."""
    with crowd(transport, on_gpu.grpc, artifacts, model, 4) as callers:
        assert callers.call(0.5).requests_per_s > 0


def test_interleaved_sequences(on_gpu: Server) -> None:
    assert served.sequence_error(on_gpu, texts=200, characters=24) <= 1


def test_two_instances_on_one_gpu_share_the_work(artifacts: Path, tmp_path: Path) -> None:
    with served.serving(["resnet"], artifacts / "models", tmp_path / "models", "cuda") as server:
        assert served.busy_instances(server, artifacts, "resnet", seconds=5) == served.INSTANCES


@pytest.mark.timeout(900)
def test_memory_is_flat_over_100_000_requests(artifacts: Path, tmp_path: Path) -> None:
    """The processes' and the GPU's."""
    with served.serving(["cnn"], artifacts / "models", tmp_path / "models", "cuda") as server:
        points = served.memory_over(server, artifacts / "models", REQUESTS, SETTLED, "cuda")
    assert moved(points) < MOST_GROWTH, points

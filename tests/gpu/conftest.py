"""Models trained at small size, as the live tests have them, and a server with all of them on the GPU."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.server.server import Server
from tests.gpu.device import why_no_gpu
from tests.gpu.served import serving
from tests.live.conftest import artifacts, trained

__all__ = ["artifacts", "gpu", "on_gpu", "trained"]

MODELS = ("cnn", "resnet", "lstm", "lstm_stream", "autoencoder", "gan")


@pytest.fixture(scope="session", autouse=True)
def gpu() -> None:
    """Skips every test of this folder where there is no GPU, before anything is trained for it."""
    if reason := why_no_gpu():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def on_gpu(gpu: None, artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two instances of every model on the one GPU."""
    folder = tmp_path_factory.mktemp("on-gpu") / "models"
    with serving(MODELS, artifacts / "models", folder, "cuda") as server:
        yield server

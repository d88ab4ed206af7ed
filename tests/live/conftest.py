"""One real Triton for all live tests of a process, over one repository."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnxruntime
import pytest

from serving.repository.configuration import parse, render
from serving.repository.publish import publish
from serving.server.server import Server
from tests.support import graphs
from tests.support.trained import code, train_and_export

MAX_BATCH = 8

GRAPHS = {
    "affine": (graphs.AFFINE, MAX_BATCH),
    "pick": (graphs.PICK, MAX_BATCH),
    "classify": (graphs.CLASSIFY, MAX_BATCH),
    "lengths": (graphs.LENGTHS, MAX_BATCH),
    "unbatched": (graphs.UNBATCHED, 0),
    "dropping": (graphs.DROPPING, MAX_BATCH),
    "two_versions": (graphs.DROPPING, MAX_BATCH),
    "identities": (graphs.IDENTITIES, MAX_BATCH),
}
"""Model -> its graph and the most items a run takes."""

LABELS = {"classify": {"probabilities": ("cat", "dog", "bird")}}

# Long enough that requests sent at the same moment are sure to be batched, on a busy machine too.
BATCHED_TOGETHER_MICROSECONDS = 300_000


@pytest.fixture(scope="session")
def trained(request: pytest.FixtureRequest, worker_id: str) -> Path:
    """An artifacts folder with the five models trained and exported at small size, made once, by all together.

    It lies in pytest's cache, for another run of the same code, as `make test` starts one for what judges times.

    Source: pytest-xdist documentation, "Making session-scoped fixtures execute only once".
    """
    cache = request.config.cache
    assert cache is not None
    folders = cache.mkdir("trained")
    folder = folders / code() / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCH_ARTIFACTS", str(folder))
        train_and_export(folder, backwards=worker_id == "gw1")
    for other in folders.iterdir():
        if other.name != folder.parent.name:
            shutil.rmtree(other, ignore_errors=True)
    return folder


@pytest.fixture(scope="session")
def artifacts(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The artifacts folder of the tests of this process, a copy of `trained`."""
    folder = tmp_path_factory.mktemp("live") / "artifacts"
    shutil.copytree(trained, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCH_ARTIFACTS", str(folder))
        yield folder


@pytest.fixture(scope="session")
def repository(artifacts: Path) -> Path:
    """A model repository with every model that the live tests call: the five, and graphs made by hand."""
    repository = artifacts / "models"
    publish_graphs(repository)
    return repository


@pytest.fixture(scope="session")
def triton(repository: Path) -> Iterator[Server]:
    """A Triton that serves `repository` on free ports."""
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


@pytest.fixture(scope="session")
def sessions(repository: Path) -> Mapping[str, onnxruntime.InferenceSession]:
    """ONNX Runtime in this process over the served files: what every answer is compared with."""
    return {name: onnxruntime.InferenceSession(repository / name / "1" / "model.onnx") for name in GRAPHS}


def publish_graphs(repository: Path) -> None:
    """Publish the models made by hand."""
    for name in (*GRAPHS, "two_versions"):
        graph, max_batch = GRAPHS[name]
        onnx_file = graphs.write(graph, repository.parent / f"{name}.onnx")
        publish(
            onnx_file,
            name=name,
            repository=repository,
            max_batch_size=max_batch,
            manifest={},
            parity=[],
            golden=graphs.golden(onnx_file, batched=max_batch > 0),
            labels=LABELS.get(name),
        )
    config_file = repository / "pick" / "config.pbtxt"
    config = parse(config_file.read_text())
    config.dynamic_batching.max_queue_delay_microseconds = BATCHED_TOGETHER_MICROSECONDS
    config_file.write_text(render(config))

"""A server is told of rate limits where there are any, and completes configurations only where one is not complete."""

from pathlib import Path

import pytest

from conch.contracts.scheduling import Scheduling
from serving.errors import ServingError
from serving.repository.configuration import parse, render
from serving.repository.publish import publish
from serving.server.model_options import model_options
from tests.support import graphs

AS_IT_IS = "--disable-auto-complete-config"


def published(folder: Path, name: str, scheduling: Scheduling = Scheduling()) -> Path:  # noqa: B008  # frozen
    file = graphs.write(graphs.AFFINE, folder / "affine.onnx")
    publish(
        file, name=name, repository=folder / "models", max_batch_size=8, manifest={}, parity=[],
        golden=graphs.golden(file), scheduling=scheduling,
    )  # fmt: skip
    return folder / "models" / name


def test_rate_limits_are_heeded_where_there_are_any(tmp_path: Path) -> None:
    models = published(tmp_path, "free").parent
    assert list(model_options(models, {})) == [AS_IT_IS]
    published(tmp_path, "limited", Scheduling(resources={"memory": 1}))
    options = list(model_options(models, {"memory": 3}))
    assert options == [AS_IT_IS, "--rate-limit=execution_count", "--rate-limit-resource=memory:3"]
    with pytest.raises(ServingError, match="--resource disk: no model needs it; needed are: memory"):
        list(model_options(models, {"disk": 1}))


@pytest.mark.parametrize("harm", ["none", "broken", "no input", "no output", "another backend"])
def test_what_is_not_complete_is_completed(tmp_path: Path, harm: str) -> None:
    published(tmp_path, "complete")
    file = published(tmp_path, "other") / "config.pbtxt"
    if harm == "none":
        file.unlink()
    elif harm == "broken":
        file.write_text("what")
    else:
        said = parse(file.read_text())
        if harm == "another backend":
            said.backend = "python"
        else:
            said.ClearField(harm.removeprefix("no "))
        file.write_text(render(said))
    assert AS_IT_IS not in list(model_options(tmp_path / "models", {}))

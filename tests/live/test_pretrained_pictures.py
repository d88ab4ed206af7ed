"""A transformers folder of a picture model, exported with its image processor, served, and called with files."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clients import connect
from clients.__main__ import main as call
from clients.errors import ClientError
from export.commands.pretrained import main as export_pretrained
from export.pretrained.pictures import photographs
from serving.server.server import Server
from tests.support.pretrained_folders import OTHERS, make, transformers


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Triton of a ViT that takes PNG files."""
    folder = tmp_path_factory.mktemp("pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCH_ARTIFACTS", str(folder))
        words = ["--name", "photos", "--with-image-processor", "--max-batch", "3", "--exporter", "torchscript"]
        assert export_pretrained([str(make(folder / "vit", OTHERS["vit"])), *words]) == 0
    with Server(folder / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


def test_pictures_of_any_format_get_transformers_labels(
    served: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = served.repository.parent
    files = {"a.jpg": photographs()[0], "b.png": photographs()[3].convert("L"), "c.webp": photographs()[7]}
    for name, picture in files.items():
        picture.save(tmp_path / name)
    paths = [str(tmp_path / name) for name in files]
    assert call(["classify", *paths, "--model", "photos", "--url", served.http, "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    model = transformers.AutoModelForImageClassification.from_pretrained(folder / "vit")
    processor = transformers.AutoImageProcessor.from_pretrained(folder / "vit", backend="pil")
    for path, answers in zip(paths, found, strict=True):
        pixels = processor(Image.open(path).convert("RGB"), return_tensors="pt")
        expected = model(**pixels).logits.softmax(-1)[0].tolist()
        assert sorted(answer["index"] for answer in answers) == [0, 1, 2]
        for answer in answers:
            assert answer["label"] == ("bad", "so so", "good")[answer["index"]]
            assert answer["value"] == pytest.approx(expected[answer["index"]], abs=0.01)


def test_a_file_that_is_no_png_is_refused_and_the_server_stays(served: Server) -> None:
    """The library's decoder ends the process on a broken JPEG."""
    buffer = io.BytesIO()
    photographs()[0].save(buffer, "JPEG")
    with connect(served.http) as client:
        for data in (buffer.getvalue(), buffer.getvalue()[:100], b"hello"):
            with pytest.raises(ClientError, match="no PNG of at most 8 bits"):
                client.infer("photos", {"image": np.frombuffer(data, np.uint8)[np.newaxis]})
        buffer = io.BytesIO()
        photographs()[0].save(buffer, "PNG")
        answer = client.infer("photos", {"image": np.frombuffer(buffer.getvalue(), np.uint8)[np.newaxis]})
        assert answer["probabilities"].sum() == pytest.approx(1, abs=1e-5)


def test_version_has_the_library_and_the_proof(served: Server) -> None:
    version = served.repository / "photos" / "1"
    assert (version / "libortextensions.so").exists()
    config = (version.parent / "config.pbtxt").read_text()
    assert 'op_library_filename: "libortextensions.so"' in config
    shown = json.loads((version / "parity.json").read_text())["image_processor"]
    assert shown["passed"]
    assert shown["files"] > 20
